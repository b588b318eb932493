//! In what two file systems differ at a name, in words.

use kiln_layer::{ArchivePath, Aspect, Content, Difference, Entry, Kind, escape};

/// A name at which two file systems differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDifference {
    /// The name, for people: stray bytes are escaped.
    pub path: String,
    /// What is there, or was.
    pub noun: &'static str,
    /// What happened to it.
    pub change: FileChange,
}

/// What happened to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Deleted,
    /// Both have it, and it is not the same.
    Changed(Vec<FileReason>),
}

/// In what a file differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReason {
    /// `type`, `content`, `target`, `device`, `mode`, `owner`, `time`, `hard link`, or `xattr NAME`.
    pub aspect: String,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
}

impl FileDifference {
    /// Says for people what two trees have at a name.
    pub fn of(difference: &Difference<'_>) -> Self {
        let path = difference.path.to_string();
        match (difference.before, difference.after) {
            (Some(before), Some(after)) => {
                let reason = |aspect: &Aspect| reason(aspect, before, after);
                let reasons = difference.aspects.iter().map(reason).collect();
                FileDifference { path, noun: after.kind.noun(), change: FileChange::Changed(reasons) }
            }
            (Some(before), None) => {
                FileDifference { path, noun: before.kind.noun(), change: FileChange::Deleted }
            }
            (None, after) => {
                let noun = after.map_or("nothing", |entry| entry.kind.noun());
                FileDifference { path, noun, change: FileChange::Added }
            }
        }
    }
}

fn reason(aspect: &Aspect, before: &Entry, after: &Entry) -> FileReason {
    let both = |aspect: &str, show: &dyn Fn(&Entry) -> String| FileReason {
        aspect: aspect.to_owned(),
        before: show(before),
        after: show(after),
    };
    match aspect {
        Aspect::Kind => both("type", &|entry| entry.kind.noun().to_owned()),
        Aspect::Content => both(
            match after.kind {
                Kind::Symlink(_) => "target",
                Kind::CharDevice(_) | Kind::BlockDevice(_) => "device",
                Kind::File(_) | Kind::Directory | Kind::Fifo => "content",
            },
            &|entry| payload(&entry.kind),
        ),
        Aspect::Mode => both("mode", &|entry| format!("{:04o}", entry.metadata.mode)),
        Aspect::Owner => both("owner", &|entry| format!("{}:{}", entry.metadata.uid, entry.metadata.gid)),
        Aspect::Time => both("time", &|entry| {
            let time = entry.metadata.mtime;
            match time.nanoseconds {
                0 => time.seconds.to_string(),
                nanoseconds => format!("{}.{nanoseconds:09}", time.seconds),
            }
        }),
        Aspect::Xattr(name) => both(&format!("xattr {}", escape(name)), &|entry| {
            entry.metadata.xattrs.get(name).map_or_else(|| "none".to_owned(), escape)
        }),
        Aspect::Links { before, after } => {
            let name = |first: &Option<ArchivePath>| {
                first.as_ref().map_or_else(|| "none".to_owned(), |first| format!("/{first}"))
            };
            FileReason { aspect: "hard link".to_owned(), before: name(before), after: name(after) }
        }
    }
}

fn payload(kind: &Kind) -> String {
    match kind {
        Kind::File(Content { size, digest, .. }) => match digest {
            Some(digest) => format!("{size} bytes, {digest}"),
            None => format!("{size} bytes"),
        },
        Kind::Symlink(target) => escape(target),
        Kind::CharDevice(device) | Kind::BlockDevice(device) => format!("{}:{}", device.major, device.minor),
        Kind::Directory | Kind::Fifo => String::new(),
    }
}
