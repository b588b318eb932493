//! COPY and ADD → a copy step; WORKDIR → a step that makes a directory.

use kiln_frontend::ast::{AddInstruction, CopyInstruction, Instruction, Transfer, Word};
use kiln_frontend::diagnostic::Diagnostic;
use kiln_frontend::source::Span;
use kiln_frontend::suggest;

use super::attempt::Attempt;
use super::names::{absolute, clean, working_directory};
use super::stages::StageState;
use crate::git_reference::{GitReference, GitReferenceError, KEYS, Standing};
use crate::plan::{CopyOp, CopySource, GitOp, HistoryLine, HttpOp, MakeDirOp, Op, StepId, Unpack};
use crate::request::WebUrl;
use crate::secrets::without_logins;

/// What distinguishes one transfer from another besides its [`Transfer`].
struct Shape {
    keyword: &'static str,
    from: StepId,
    parents: bool,
    unpack: Unpack,
    checksum: Option<Checksum>,
    keep_git_directory: Option<bool>,
}

/// What `--checksum` says: of a file, or of a git repository.
enum Checksum {
    File(kiln_oci::Digest),
    Commit(String),
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
            keep_git_directory: None,
        };
        self.transfer(state, instruction, &copy.transfer, &shape);
    }

    pub(super) fn add(&mut self, state: &mut StageState, instruction: &Instruction, add: &AddInstruction) {
        let checksum = add.checksum.as_ref().and_then(|word| self.checksum(state, word, &add.transfer));
        let unpack = match add.unpack {
            None => Unpack::Local,
            Some(true) => Unpack::All,
            Some(false) => Unpack::Never,
        };
        let shape = Shape {
            keyword: "ADD",
            from: self.context(),
            parents: false,
            unpack,
            checksum,
            keep_git_directory: add.keep_git_directory,
        };
        self.transfer(state, instruction, &add.transfer, &shape);
    }

    fn checksum(&mut self, state: &StageState, word: &Word, transfer: &Transfer) -> Option<Checksum> {
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
            return Some(Checksum::Commit(text));
        }
        match text.parse() {
            Ok(digest) => Some(Checksum::File(digest)),
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
        if shape.keep_git_directory == Some(true) && !texts.iter().any(|text| is_git(text)) {
            let message = "`--keep-git-dir` has no effect: no source is a git repository";
            let error = Diagnostic::error("git-source", instruction.span, message);
            self.expander.push(error.with_help("leave it out"));
        }
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
        if let Some(parsed) = GitReference::parse(text, Standing::Source) {
            if is_copy {
                self.expander.push(
                    Diagnostic::error("copy-source", span, "source can't be a git ref for COPY")
                        .with_help("ADD takes git repositories"),
                );
                return None;
            }
            return self.repository(span, parsed, shape);
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
            let checksum = match &shape.checksum {
                Some(Checksum::File(digest)) => Some(*digest),
                Some(Checksum::Commit(_)) | None => None,
            };
            let origin = self.origin_of_source(&url.to_string(), span);
            let from = self.plan.push(Op::Http(HttpOp { url, checksum }), origin);
            return Some(CopySource::Remote { from });
        }
        Some(CopySource::Path { from: shape.from, pattern: text.to_owned() })
    }

    /// Returns the files of a git repository, all that are in its root.
    fn repository(
        &mut self,
        span: Span,
        parsed: Result<GitReference, GitReferenceError>,
        shape: &Shape,
    ) -> Option<CopySource> {
        let with_checksum = |reference: GitReference| match &shape.checksum {
            Some(Checksum::Commit(text)) => reference.with_checksum(text),
            Some(Checksum::File(_)) | None => Ok(reference),
        };
        let with_directory = |reference: GitReference| reference.with_git_directory(shape.keep_git_directory);
        match parsed.and_then(with_checksum).and_then(with_directory).and_then(GitReference::checked) {
            Ok(reference) => {
                let origin = self.origin_of_source(&reference.shown(), span);
                let from = self.plan.push(Op::Git(Box::new(GitOp { reference })), origin);
                Some(CopySource::Path { from, pattern: "/".to_owned() })
            }
            Err(error) => {
                let mut wrong = Diagnostic::error("git-source", span, error.to_string());
                if let GitReferenceError::UnknownKey { key } = &error {
                    wrong = wrong.with_help(match suggest::nearest(key, KEYS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("the keys are {}", KEYS.join(", ")),
                    });
                }
                self.expander.push(wrong);
                None
            }
        }
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

/// Whether ADD takes the text for a git repository.
fn is_git(text: &str) -> bool {
    GitReference::parse(text, Standing::Source).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

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
