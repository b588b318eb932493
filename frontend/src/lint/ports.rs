//! The ports of EXPOSE, cut as BuildKit cuts them: `[ip:][host:]port[/protocol]`. What cannot be a port is an error of
//! whoever plans the file.

use super::scene::{Expanded, Role, Step};
use crate::diagnostic::Edit;
use crate::source::{Source, Span};

/// A port after expansion.
pub(crate) struct Port<'s> {
    /// The word that it comes from; a word may give several.
    pub(crate) word: &'s Expanded<'s>,
    /// All of it.
    pub(crate) text: &'s str,
    /// Up to the port of the container: address and port of the host; empty, or with a colon at its end.
    pub(crate) host: &'s str,
    /// Behind the slash.
    pub(crate) protocol: Option<&'s str>,
}

/// Returns the ports of an EXPOSE; none of other instructions.
pub(crate) fn ports<'s>(step: &'s Step<'s>) -> Vec<Port<'s>> {
    let words = step.words_as(Role::Port);
    words.flat_map(|word| word.expansion.words.iter().map(|text| cut(word, text))).collect()
}

fn cut<'s>(word: &'s Expanded<'s>, text: &'s str) -> Port<'s> {
    let start = text.rfind(':').map_or(0, |at| at + 1);
    let (host, container) = text.split_at(start);
    Port { word, text, host, protocol: container.split_once('/').map(|(_, protocol)| protocol) }
}

impl Port<'_> {
    /// Returns the part of the file that is this port and nothing else; `None` where it comes out of variables or quotes.
    fn place(&self, source: &Source) -> Option<Span> {
        let word = &self.word.written;
        (word.text == self.text && source.slice(word.span) == self.text).then_some(word.span)
    }

    /// Returns the change of a part of the port. The part must lie in it.
    pub(crate) fn edit(&self, part: &str, replacement: &str, source: &Source) -> Option<Edit> {
        let place = self.place(source)?;
        let at = place.start + (part.as_ptr() as usize - self.text.as_ptr() as usize);
        Some(Edit { span: Span::new(at, at + part.len()), replacement: replacement.to_owned() })
    }
}

/// The most ports of an EXPOSE that are changed together.
const CHANGED_MAX: usize = 100;

/// Takes changes of the ports of an EXPOSE together if they are safe together: ports are handled in the order of their texts,
/// which the history of the image shows.
pub(crate) fn in_same_order(step: &Step<'_>, edits: Vec<Edit>, source: &Source) -> Vec<Edit> {
    if edits.len() > CHANGED_MAX {
        return Vec::new();
    }
    let changed = step.words_as(Role::Port).map(|word| {
        let span = word.written.span;
        let edit = edits.iter().find(|edit| span.start <= edit.span.start && edit.span.end <= span.end);
        match edit {
            Some(edit) => {
                let before = source.slice(Span::new(span.start, edit.span.start));
                let behind = source.slice(Span::new(edit.span.end, span.end));
                format!("{before}{}{behind}", edit.replacement)
            }
            None => word.written.text.clone(),
        }
    });
    if changed.collect::<Vec<_>>().is_sorted() { edits } else { Vec::new() }
}
