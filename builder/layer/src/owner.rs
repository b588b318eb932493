//! Names to numbers: `--chown` and `USER` against the image's own `/etc/passwd` and `/etc/group`.
//!
//! The files come from an image, so they may hold anything: lines that make no sense are skipped, as the C library does.

/// How many names an error carries.
const LISTED_MAX: usize = 1000;

/// An owner and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// What `USER` means for a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its user and group.
    pub owner: Owner,
    /// Further groups, sorted; only when `USER` named no group.
    pub groups: Vec<u32>,
    /// The home directory, if the user is listed.
    pub home: Option<Vec<u8>>,
}

/// The two files of an image, when it has them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accounts<'a> {
    /// `/etc/passwd`.
    pub passwd: Option<&'a [u8]>,
    /// `/etc/group`.
    pub group: Option<&'a [u8]>,
}

/// Which file an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountFile {
    /// `/etc/passwd`.
    Passwd,
    /// `/etc/group`.
    Group,
}

/// Why a name has no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// The image has no such file.
    #[error("unknown {what} `{name}`: the image has no `{file}` to look it up in", what = file.what())]
    NoFile {
        /// The name.
        name: String,
        /// The missing file.
        file: AccountFile,
    },
    /// The file does not list the name.
    #[error("unknown {what} `{name}`: the image's `{file}` does not list it", what = file.what())]
    Unknown {
        /// The name.
        name: String,
        /// The file.
        file: AccountFile,
        /// Names that it lists, in its order; not all of a long one.
        listed: Vec<String>,
    },
    /// A number beyond 2^32 - 2.
    #[error("`{text}` is no user or group number: it must be below 4294967295")]
    Number {
        /// The text as given.
        text: String,
    },
    /// More than one `:`, or nothing at all.
    #[error("`{text}` is not of the form `user[:group]`")]
    Malformed {
        /// The text as given.
        text: String,
    },
}

impl AccountFile {
    fn what(self) -> &'static str {
        match self {
            Self::Passwd => "user",
            Self::Group => "group",
        }
    }
}

impl std::fmt::Display for AccountFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Passwd => "/etc/passwd",
            Self::Group => "/etc/group",
        })
    }
}

/// Tells which files [`resolve_owner`] reads for `text`: they are part of the step's key.
pub fn files_needed(text: &str) -> Vec<AccountFile> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let is_name = |part: &str| !part.is_empty() && !is_number(part);
    let mut files = Vec::new();
    if is_name(user) {
        files.push(AccountFile::Passwd);
    }
    if group.is_some_and(is_name) {
        files.push(AccountFile::Group);
    }
    files
}

/// Resolves the value of `--chown`: `user`, `user:group`, `:group`, `user:`; names or numbers. A number without a group is the
/// group too; a name without a group has its group from passwd; an empty part is 0.
///
/// # Errors
/// Names that the image does not know, and what is no number.
pub fn resolve_owner(text: &str, accounts: Accounts<'_>) -> Result<Owner, OwnerError> {
    let (user, group) = split(text)?;
    let (uid, own_gid) = match (user, number(user)?) {
        ("", _) => (0, 0),
        (_, Some(uid)) => (uid, uid),
        (name, None) => {
            let line = find_user(accounts.passwd, name)?;
            (line.uid, line.gid)
        }
    };
    let gid = match group {
        None => own_gid,
        Some(group) => resolve_group(group, accounts)?,
    };
    Ok(Owner { uid, gid })
}

/// Resolves the value of `USER` for a process. A number need not be listed; a name must be. Without a group, the user's own
/// group from passwd counts (0 when not listed) and every group that lists the user.
///
/// # Errors
/// Names that the image does not know, and what is no number.
pub fn resolve_user(text: &str, accounts: Accounts<'_>) -> Result<User, OwnerError> {
    let (user, group) = split(text)?;
    let line = match (user, number(user)?) {
        ("", _) => by_number(accounts.passwd, 0),
        (_, Some(uid)) => by_number(accounts.passwd, uid),
        (name, None) => Some(find_user(accounts.passwd, name)?),
    };
    let uid = match (&line, number(user)?) {
        (Some(line), _) => line.uid,
        (None, uid) => uid.unwrap_or(0),
    };
    let home = line.as_ref().map(|line| line.home.to_vec());
    if let Some(group) = group {
        let gid = resolve_group(group, accounts)?;
        return Ok(User { owner: Owner { uid, gid }, groups: Vec::new(), home });
    }
    let gid = line.as_ref().map_or(0, |line| line.gid);
    let name = line.as_ref().map_or(&b""[..], |line| line.name);
    Ok(User { owner: Owner { uid, gid }, groups: memberships(accounts.group, name, gid), home })
}

fn split(text: &str) -> Result<(&str, Option<&str>), OwnerError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if text.is_empty() || group.is_some_and(|group| group.contains(':')) {
        return Err(OwnerError::Malformed { text: text.to_owned() });
    }
    Ok((user, group))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(text: &str) -> Result<Option<u32>, OwnerError> {
    if !is_number(text) {
        return Ok(None);
    }
    match text.parse() {
        // The last number means "unchanged" to the kernel.
        Ok(u32::MAX) | Err(_) => Err(OwnerError::Number { text: text.to_owned() }),
        Ok(value) => Ok(Some(value)),
    }
}

struct PasswdLine<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

fn passwd_lines(file: &[u8]) -> impl Iterator<Item = PasswdLine<'_>> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let uid = parse(fields.nth(1)?)?;
        let gid = parse(fields.next()?)?;
        Some(PasswdLine { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

fn parse(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn find_user<'a>(file: Option<&'a [u8]>, name: &str) -> Result<PasswdLine<'a>, OwnerError> {
    let at = AccountFile::Passwd;
    let file = file.ok_or_else(|| OwnerError::NoFile { name: name.to_owned(), file: at })?;
    passwd_lines(file)
        .find(|line| line.name == name.as_bytes())
        .ok_or_else(|| unknown(name, at, passwd_lines(file).map(|line| line.name)))
}

fn by_number(file: Option<&[u8]>, uid: u32) -> Option<PasswdLine<'_>> {
    passwd_lines(file?).find(|line| line.uid == uid)
}

/// Name, number and members of each group.
fn group_lines(file: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let gid = parse(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn resolve_group(group: &str, accounts: Accounts<'_>) -> Result<u32, OwnerError> {
    if group.is_empty() {
        return Ok(0);
    }
    if let Some(gid) = number(group)? {
        return Ok(gid);
    }
    let at = AccountFile::Group;
    let file = accounts.group.ok_or_else(|| OwnerError::NoFile { name: group.to_owned(), file: at })?;
    group_lines(file)
        .find(|(name, _, _)| *name == group.as_bytes())
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| unknown(group, at, group_lines(file).map(|(name, _, _)| name)))
}

fn unknown<'a>(name: &str, file: AccountFile, listed: impl Iterator<Item = &'a [u8]>) -> OwnerError {
    let listed = listed.take(LISTED_MAX).map(crate::path::escape).collect();
    OwnerError::Unknown { name: name.to_owned(), file, listed }
}

fn memberships(file: Option<&[u8]>, user: &[u8], own: u32) -> Vec<u32> {
    if user.is_empty() {
        return Vec::new();
    }
    let mut groups: Vec<u32> = group_lines(file.unwrap_or_default())
        .filter(|(_, gid, members)| {
            *gid != own && members.split(|byte| *byte == b',').any(|name| name == user)
        })
        .map(|(_, gid, _)| gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:77:88::/home/app:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:app,other\naudio:x:29:app\napp:x:88:app\n";

    #[test]
    fn chown_takes_names_and_numbers() {
        let accounts = Accounts { passwd: Some(PASSWD), group: Some(GROUP) };
        for (text, expected) in [
            ("1000:2000", Ok((1000, 2000))),
            ("1000", Ok((1000, 1000))),
            (":2000", Ok((0, 2000))),
            ("0", Ok((0, 0))),
            ("app", Ok((77, 88))),
            ("app:", Ok((77, 0))),
            ("app:staff", Ok((77, 50))),
            ("1000:staff", Ok((1000, 50))),
            ("nobody", Err("unknown user `nobody`: the image's `/etc/passwd` does not list it")),
            ("root:strangers", Err("unknown group `strangers`: the image's `/etc/group` does not list it")),
            ("4294967295", Err("`4294967295` is no user or group number: it must be below 4294967295")),
            ("a:b:c", Err("`a:b:c` is not of the form `user[:group]`")),
        ] {
            let result = resolve_owner(text, accounts).map(|owner| (owner.uid, owner.gid));
            assert_eq!(result.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{text}");
        }
        let error = resolve_owner("app", Accounts::default()).unwrap_err();
        assert_eq!(error.to_string(), "unknown user `app`: the image has no `/etc/passwd` to look it up in");
    }

    #[test]
    fn only_names_need_files() {
        for (text, files) in [
            ("1:2", vec![]),
            ("app", vec![AccountFile::Passwd]),
            ("1:staff", vec![AccountFile::Group]),
            ("app:", vec![AccountFile::Passwd]),
            ("app:staff", vec![AccountFile::Passwd, AccountFile::Group]),
        ] {
            assert_eq!(files_needed(text), files, "{text}");
        }
    }

    #[test]
    fn a_process_gets_further_groups_only_without_a_named_one() {
        let accounts = Accounts { passwd: Some(PASSWD), group: Some(GROUP) };
        for (text, uid, gid, groups) in [
            ("app", 77, 88, vec![29, 50]),
            ("77", 77, 88, vec![29, 50]),
            ("app:staff", 77, 50, vec![]),
            ("1234", 1234, 0, vec![]),
            ("1234:5", 1234, 5, vec![]),
        ] {
            let user = resolve_user(text, accounts).unwrap();
            assert_eq!((user.owner.uid, user.owner.gid, user.groups), (uid, gid, groups), "{text}");
        }
        assert!(resolve_user("nobody", accounts).is_err());
    }
}
