//! COPY and ADD → a copy step; WORKDIR → a step that makes a directory.

use kiln_frontend::ast::{AddInstruction, CopyInstruction, Instruction, Transfer, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::Span;

use super::attempt::Attempt;
use super::names::{absolute, clean, working_directory};
use super::stages::StageState;
use crate::plan::{CopyOp, CopySource, HistoryLine, HttpOp, MakeDirOp, Op, StepId, Unpack};
use crate::request::WebUrl;

/// What distinguishes one transfer from another besides its [`Transfer`].
struct Shape {
    keyword: &'static str,
    from: StepId,
    parents: bool,
    unpack: Unpack,
    checksum: Option<kiln_oci::Digest>,
}

impl Attempt<'_> {
    pub(super) fn workdir(&mut self, state: &mut StageState, instruction: &Instruction, word: &Word) {
        let written = self.expander.word(word, &state.variables);
        let kept = working_directory(&state.config.config.working_dir, &written);
        let created_by = format!("WORKDIR {kept}");
        let path = clean(&kept);
        state.config.config.working_dir = kept;
        if path == "/" {
            state.note(created_by);
            return;
        }
        let op = MakeDirOp { parent: state.root, path, user: state.config.config.user.clone() };
        self.transform(state, instruction, Op::MakeDir(op), created_by);
    }

    pub(super) fn copy(&mut self, state: &mut StageState, instruction: &Instruction, copy: &CopyInstruction) {
        let from = match &copy.from {
            None => Some(self.context()),
            Some(from) => self.copy_from(from),
        };
        let Some(from) = from else { return };
        let shape = Shape {
            keyword: "COPY",
            from,
            parents: copy.keeps_parents,
            unpack: Unpack::Never,
            checksum: None,
        };
        self.transfer(state, instruction, &copy.transfer, &shape);
    }

    pub(super) fn add(&mut self, state: &mut StageState, instruction: &Instruction, add: &AddInstruction) {
        if add.keep_git_directory.is_some() {
            self.unsupported(
                instruction.span,
                "`ADD --keep-git-dir`",
                "add the files from a checked-out directory",
            );
        }
        let checksum = add.checksum.as_ref().and_then(|word| self.checksum(state, word, &add.transfer));
        let unpack = match add.unpack {
            None => Unpack::Local,
            Some(true) => Unpack::All,
            Some(false) => Unpack::Never,
        };
        let shape = Shape { keyword: "ADD", from: self.context(), parents: false, unpack, checksum };
        self.transfer(state, instruction, &add.transfer, &shape);
    }

    fn checksum(&mut self, state: &StageState, word: &Word, transfer: &Transfer) -> Option<kiln_oci::Digest> {
        let text = self.expander.word(word, &state.variables);
        if text.is_empty() {
            return None;
        }
        if transfer.sources.len() + transfer.files.len() != 1 {
            self.expander.error("checksum", word.span, "checksum can't be specified for multiple sources");
        }
        let sources: Vec<_> =
            transfer.sources.iter().map(|source| self.expander.word(source, &state.variables)).collect();
        if !sources.iter().all(|source| is_url(source) || is_git(source)) || sources.is_empty() {
            self.expander.error("checksum", word.span, "checksum requires HTTP(S) or Git sources");
            return None;
        }
        if sources.iter().any(|source| is_git(source)) {
            return None;
        }
        match text.parse() {
            Ok(digest) => Some(digest),
            Err(error) => {
                self.expander.error("checksum", word.span, format!("invalid checksum: {error}"));
                None
            }
        }
    }

    fn transfer(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
        transfer: &Transfer,
        shape: &Shape,
    ) {
        let (sources, texts) = self.sources(state, transfer, shape);
        let written = self.expander.word(&transfer.destination, &state.variables);
        let chown = transfer.chown.as_ref().map(|word| self.expander.word(word, &state.variables));
        let chmod = transfer.chmod.as_ref().map(|word| self.mode(state, word));
        let chown = chown.filter(|text| !text.is_empty());
        let chmod = chmod.filter(|text| !text.is_empty());

        let mut created_by = shape.keyword.to_owned();
        if shape.parents {
            created_by.push_str(" --parents");
        }
        for (flag, value) in [("--chown=", &chown), ("--chmod=", &chmod)] {
            if let Some(value) = value {
                created_by.push_str(&format!(" {flag}{value}"));
            }
        }
        for text in texts.iter().chain([&written]) {
            created_by.push_str(&format!(" {text}"));
        }

        let directory = match state.config.config.working_dir.as_str() {
            "" => "/",
            directory => directory,
        };
        let op = CopyOp {
            parent: state.root,
            sources,
            destination: absolute(directory, &written),
            // BuildKit copies onto what is there as soon as modes are to change (`dispatchCopy` in dockerfile2llb).
            link: transfer.is_link && chmod.is_none(),
            chown,
            chmod,
            parents: shape.parents,
            exclude: transfer.excludes.iter().map(|word| word.text.clone()).collect(),
            unpack: shape.unpack,
        };
        self.transform(state, instruction, Op::Copy(Box::new(op)), self.with_suffix(created_by));
    }

    fn mode(&mut self, state: &StageState, word: &Word) -> String {
        let text = self.expander.word(word, &state.variables);
        if !text.is_empty()
            && let Err(error) = kiln_layer::Chmod::parse(&text)
        {
            self.expander.error("chmod", word.span, error.to_string());
        }
        text
    }

    /// Returns the sources and how the history names them.
    fn sources(
        &mut self,
        state: &StageState,
        transfer: &Transfer,
        shape: &Shape,
    ) -> (Vec<CopySource>, Vec<String>) {
        let (mut sources, mut texts) = (Vec::new(), Vec::new());
        for word in &transfer.sources {
            let text = self.expander.word(word, &state.variables);
            sources.extend(self.source(word.span, &text, shape));
            texts.push(without_logins(&text));
        }
        for file in &transfer.files {
            let text = if file.is_expanded {
                self.expander.body(&file.content, file.span, &state.variables)
            } else {
                file.content.clone()
            };
            texts.push(format!("<<{}", file.name));
            // As a path in an empty root, where there are no directories to lead into.
            let name = clean(&format!("/{}", file.name)).trim_start_matches('/').to_owned();
            sources.push(CopySource::Inline { name, text });
        }
        (sources, texts)
    }

    fn source(&mut self, span: Span, text: &str, shape: &Shape) -> Option<CopySource> {
        let is_copy = shape.keyword == "COPY";
        if is_git(text) {
            if is_copy {
                self.expander.push(
                    Diagnostic::error("copy-source", span, "source can't be a git ref for COPY")
                        .with_help("ADD takes git repositories"),
                );
            } else {
                self.unsupported(
                    span,
                    "`ADD` of a git repository",
                    "add the files from a checked-out directory",
                );
            }
            return None;
        }
        if is_url(text) {
            if is_copy {
                self.expander.push(
                    Diagnostic::error("copy-source", span, "source can't be a URL for COPY")
                        .with_help("ADD takes URLs"),
                );
                return None;
            }
            let url: WebUrl = match text.parse() {
                Ok(url) => url,
                Err(error) => {
                    self.expander.error("copy-source", span, format!("invalid URL: {error}"));
                    return None;
                }
            };
            let origin = self.origin_of_source(&url.to_string(), span);
            let from = self.plan.push(Op::Http(HttpOp { url, checksum: shape.checksum }), origin);
            return Some(CopySource::Remote { from });
        }
        Some(CopySource::Path { from: shape.from, pattern: text.to_owned() })
    }

    /// Adds a step that changes the stage's file system.
    pub(super) fn transform(
        &mut self,
        state: &mut StageState,
        instruction: &Instruction,
        op: Op,
        created_by: String,
    ) {
        let origin = self.origin(state, &without_logins(&instruction.text), instruction.span);
        let step = self.plan.push(op, origin);
        state.root = step;
        state.history.push(HistoryLine { created_by, step: Some(step) });
    }
}

fn is_url(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://")) && !is_git(text)
}

/// Whether ADD takes the text for a git repository: by its scheme, as `user@host:path`, or as a URL whose path ends in
/// `.git`.
fn is_git(text: &str) -> bool {
    if ["git://", "ssh://"].iter().any(|scheme| text.starts_with(scheme)) {
        return true;
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        let path = text.split(['#', '?']).next().unwrap_or_default();
        return path.ends_with(".git");
    }
    match text.split_once('@') {
        Some((user, rest)) => {
            let is_word = |text: &str| {
                !text.is_empty()
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
            };
            is_word(user)
                && rest.split_once(':').is_some_and(|(host, path)| is_word(host) && !path.is_empty())
        }
        None => false,
    }
}

/// Returns a text without user and password in its addresses: it is shown, and kept in the image's history.
fn without_logins(text: &str) -> String {
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + "://".len());
        clean.push_str(before);
        let end = behind.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c)).unwrap_or(behind.len());
        rest = &behind[behind[..end].rfind('@').map_or(0, |at| at + 1)..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_not_repeated() {
        for (text, clean) in [
            ("ADD https://me:pass@host/x@y /", "ADD https://host/x@y /"),
            (
                "ADD [\"https://token@host\", \"http://a:b@c/d\", \"/\"]",
                "ADD [\"https://host\", \"http://c/d\", \"/\"]",
            ),
            ("ADD https://$USER:$PASS@host/x /", "ADD https://host/x /"),
            ("ADD https://host/x?me@y a@b /", "ADD https://host/x?me@y a@b /"),
            ("COPY a /", "COPY a /"),
        ] {
            assert_eq!(without_logins(text), clean);
        }
    }

    #[test]
    fn repositories_and_urls_are_told_from_paths() {
        for (text, git, url) in [
            ("git@github.com:a/b.git", true, false),
            ("ssh://git@host/a", true, false),
            ("git://host/a", true, false),
            ("https://host/a.git#main:sub", true, false),
            ("https://host/a.git?tag=v1", true, false),
            ("https://host/a.tar.gz", false, true),
            ("http://host/", false, true),
            ("a.git", false, false),
            ("me@home", false, false),
            ("dir/file", false, false),
        ] {
            assert_eq!((is_git(text), is_url(text)), (git, url), "{text}");
        }
    }
}
