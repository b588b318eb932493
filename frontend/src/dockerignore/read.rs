//! From the text of an ignore file to cleaned patterns.

/// Takes the mark of UTF-8 off the start of a file.
pub(super) fn without_mark(file: &[u8]) -> &[u8] {
    file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file)
}

/// Prepares a line of an ignore file: comments go, blanks around go, the path is cleaned, one leading `/` goes.
pub(super) fn line(line: &[u8]) -> Option<Vec<u8>> {
    if line.starts_with(b"#") {
        return None;
    }
    let line = trim(line);
    let (is_exception, path) = match line.strip_prefix(b"!") {
        Some(path) => (true, trim(path)),
        None => (false, line),
    };
    if line.is_empty() {
        return None;
    }
    let mut pattern = if is_exception { b"!".to_vec() } else { Vec::new() };
    if !path.is_empty() {
        let cleaned = clean(path);
        let relative = cleaned.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
        pattern.extend_from_slice(relative);
    }
    Some(pattern)
}

/// Takes blanks off both ends, those of Unicode too.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut chunks = bytes.utf8_chunks();
    // Blanks end where the first bytes that are not UTF-8 begin.
    let head = chunks.next().map_or("", |chunk| chunk.valid());
    let start = head.len() - head.trim_start().len();
    let rest = &bytes[start..];
    let tail = rest.utf8_chunks().last().filter(|chunk| chunk.invalid().is_empty());
    let end = tail.map_or(0, |chunk| chunk.valid().len() - chunk.valid().trim_end().len());
    &rest[..rest.len() - end]
}

/// Returns the shortest name of the same path, as Go's `filepath.Clean`: no `.`, no `..` that can be resolved, no repeated
/// or trailing `/`; `.` for nothing.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let is_absolute = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => {
                names.pop();
            }
            b".." if is_absolute => {}
            name => names.push(name),
        }
    }
    let joined = names.join(&b'/');
    match (is_absolute, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}
