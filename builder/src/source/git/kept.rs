//! The git directory that comes with the files when it is asked for. Its bytes are the same on every machine, which those of
//! `git clone` are not: no hooks of an installation, no logs with times, no times of files in the index, and one pack whose
//! objects are stored as they are.
//!
//! | File | Content |
//! |---|---|
//! | `HEAD` | the commit |
//! | `config` | the remote `origin`, without user and password; submodules |
//! | `packed-refs` | the branch or tag that was asked for |
//! | `shallow` | the commit, where it has parents: they are not there |
//! | `index` | the files, without anything about those on a disk |
//! | `objects/pack/` | the commit, its tag, its files |

use std::ffi::OsString;
use std::path::Path;

use super::GitError;
use super::bare::Bare;
use super::program::Input;

/// Most bytes of a list of objects.
const OBJECTS_BYTES_MAX: usize = 512 << 20;

/// What a git directory is made of.
pub(super) struct GitDirectory<'a> {
    /// The commit.
    pub(super) commit: &'a str,
    /// The commit, or the tag that leads to it.
    pub(super) object: &'a str,
    /// The full name of the ref, where one was asked for.
    pub(super) name: Option<&'a str>,
    /// Where the repository is.
    pub(super) address: &'a str,
    /// Whether commits are left out.
    pub(super) is_shallow: bool,
    /// The submodules that are there.
    pub(super) submodules: Vec<KeptSubmodule>,
}

/// A submodule that is there, too.
pub(super) struct KeptSubmodule {
    /// Its name in `.gitmodules`.
    pub(super) name: String,
    /// Where it is.
    pub(super) address: String,
}

impl GitDirectory<'_> {
    /// Writes the directory.
    pub(super) async fn write(&self, bare: &Bare, place: &Path) -> Result<(), GitError> {
        for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
            fs_err::create_dir_all(place.join(folder)).map_err(|error| bare.io(error))?;
        }
        let shallow = self.is_shallow.then(|| format!("{}\n", self.commit));
        let files = [
            ("HEAD", Some(format!("{}\n", self.commit))),
            ("config", Some(self.config())),
            ("packed-refs", self.packed_refs()),
            ("shallow", shallow),
        ];
        for (name, content) in files {
            if let Some(content) = content {
                fs_err::write(place.join(name), content).map_err(|error| bare.io(error))?;
            }
        }
        self.write_pack(bare, &place.join("objects/pack/pack")).await?;
        let mut environment = bare.environment();
        environment.set("GIT_INDEX_FILE", place.join("index"));
        let words = ["read-tree", self.commit].map(OsString::from).to_vec();
        bare.call("write the index of", words, environment, bare.claim()?, 0).await.map(drop)
    }

    async fn write_pack(&self, bare: &Bare, place: &Path) -> Result<(), GitError> {
        let words = ["rev-list", "--objects", "--no-object-names", "--no-walk", self.object];
        let listing = bare.local("list the objects of", &words, Input::Empty, OBJECTS_BYTES_MAX).await?;
        let mut objects: Vec<&[u8]> = listing.split_inclusive(|byte| *byte == b'\n').collect();
        objects.sort_unstable();
        let words =
            ["pack-objects", "--quiet", "--threads=1", "--window=0", "--compression=0", "--no-reuse-object"];
        let words = words.iter().map(OsString::from).chain([place.into()]).collect();
        let input = Input::Bytes(objects.concat());
        bare.call("pack the objects of", words, bare.environment(), input, 1 << 10).await.map(drop)
    }

    fn config(&self) -> String {
        let mut config = match self.commit.len() {
            64 => "[core]\n\trepositoryformatversion = 1\n".to_owned(),
            _ => "[core]\n\trepositoryformatversion = 0\n".to_owned(),
        };
        config.push_str("\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n");
        if self.commit.len() == 64 {
            config.push_str("[extensions]\n\tobjectformat = sha256\n");
        }
        let address = quoted(self.address);
        config.push_str(&format!(
            "[remote \"origin\"]\n\turl = {address}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        ));
        for KeptSubmodule { name, address } in &self.submodules {
            let (name, address) = (quoted(name), quoted(address));
            config.push_str(&format!("[submodule {name}]\n\tactive = true\n\turl = {address}\n"));
        }
        config
    }

    fn packed_refs(&self) -> Option<String> {
        let name = self.name?;
        let peeled = match self.object == self.commit {
            true => String::new(),
            false => format!("^{}\n", self.commit),
        };
        let head = "# pack-refs with: peeled fully-peeled sorted \n";
        Some(format!("{head}{} {name}\n{peeled}", self.object))
    }
}

/// Quotes a value, or the name of a section, for a configuration file. Line breaks are in neither.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_and_refs_say_what_was_asked_for() {
        let submodules = vec![KeptSubmodule { name: "a\"b\\".to_owned(), address: "https://h/b".to_owned() }];
        let (commit, object) = ("c0", "7a");
        let name = Some("refs/tags/v1");
        let address = "https://h/a.git";
        let directory = GitDirectory { commit, object, name, address, is_shallow: true, submodules };
        let expected = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
            [remote \"origin\"]\n\turl = \"https://h/a.git\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
            [submodule \"a\\\"b\\\\\"]\n\tactive = true\n\turl = \"https://h/b\"\n";
        assert_eq!(directory.config(), expected);
        let expected = "# pack-refs with: peeled fully-peeled sorted \n7a refs/tags/v1\n^c0\n";
        assert_eq!(directory.packed_refs().as_deref(), Some(expected));
        let plain = GitDirectory { name: None, submodules: Vec::new(), ..directory };
        assert_eq!(plain.packed_refs(), None);
    }
}
