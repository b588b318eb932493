//! The repository's files, as the rules see them.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
pub(crate) struct TextFile {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

impl TextFile {
    /// Returns the lines before the tests at the end, with their numbers from one.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines
            .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Returns `path:line: line` for a finding.
    pub(crate) fn at(&self, number: usize, line: &str) -> String {
        format!("{}:{number}: {}", self.path, line.trim())
    }
}

/// Returns the repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every text file, in order.
pub(crate) fn all() -> Vec<TextFile> {
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
        Some(TextFile { path: path.strip_prefix(root()).unwrap().to_str()?.to_owned(), text })
    };
    paths.into_iter().filter_map(read).collect()
}

/// Returns every Rust file, in order.
pub(crate) fn rust() -> Vec<TextFile> {
    all().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir()
            && !matches!(
                entry.file_name().to_str(),
                Some("target" | ".git" | "corpus" | "proptest-regressions")
            )
        {
            collect(&path, paths);
        } else if kind.is_file() && entry.file_name() != ".git" && entry.metadata().unwrap().len() < 1 << 20 {
            paths.push(path);
        }
    }
}
