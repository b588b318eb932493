use super::*;

/// `address | ref | subdirectory | options`.
fn outcome(text: &str, standing: Standing) -> String {
    match GitReference::parse(text, standing).map(|parsed| parsed.and_then(GitReference::checked)) {
        None => "no".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(reference)) => {
            let mut parts = vec![reference.remote.address, reference.name.unwrap_or_default()];
            parts.push(reference.subdirectory);
            parts.extend(reference.checksum.map(|checksum| format!("={checksum}")));
            parts.extend(reference.keep_git_directory.map(|keep| format!("git={keep}")));
            parts.extend((!reference.submodules).then(|| "no submodules".to_owned()));
            parts.extend((reference.mtime == Mtime::Commit).then(|| "commit times".to_owned()));
            parts.extend(reference.fetch_by_commit.then(|| "by commit".to_owned()));
            parts.join(" | ")
        }
    }
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn repositories_are_told_from_paths_and_files_on_the_web() {
    for (text, expected) in [
        ("https://h/a.git", "https://h/a.git |  | "),
        ("HTTPS://h/a.git", "https://h/a.git |  | "),
        ("https://h/", "no"),
        ("https://h/a", "no"),
        ("https://h/a.git/", "no"),
        ("https://h/a.git.x", "no"),
        ("https://h.git", "no"),
        ("http://h/a.git:#main", "no"),
        ("git://h/a", "git://h/a |  | "),
        ("ssh://git@h:22/a", "ssh://git@h:22/a |  | "),
        ("git@h:a/b", "git@h:a/b |  | "),
        ("me@h.example:b.git#main:/sub/", "me@h.example:b.git | main | sub"),
        ("git@h:", "no"),
        ("me@home", "no"),
        ("file:///a.git", "no"),
        ("ext::sh -c x", "no"),
        ("a.git", "no"),
        ("./a@b:c", "no"),
        ("../x.git", "no"),
        ("dir/file", "no"),
        ("github.com/a/b", "no"),
    ] {
        assert_eq!(outcome(text, Standing::Source), expected, "{text}");
    }
    assert_eq!(outcome("github.com/a/b#v1", Standing::Context), "https://github.com/a/b | v1 | ");
}

#[test]
fn fragments_and_queries_say_what_is_wanted() {
    let by_commit = format!("https://h/a.git?fetch-by-commit&checksum={COMMIT}#refs/heads/b");
    let by_commit_expected = format!("https://h/a.git | refs/heads/b |  | ={COMMIT} | by commit");
    for (text, expected) in [
        ("https://h/a.git#b/c:d/e", "https://h/a.git | b/c | d/e"),
        ("https://h/a.git#:d", "https://h/a.git |  | d"),
        ("https://h/a.git#b:../../d/./e/..", "https://h/a.git | b | d"),
        ("https://h/a.git#b%20", "invalid git ref `b `"),
        ("https://h/a.git?ref=v1&subdir=/d", "https://h/a.git | v1 | d"),
        ("https://h/a.git?subdir=/d#v1:d", "https://h/a.git | v1 | d"),
        ("https://h/a.git?tag=v1", "https://h/a.git | refs/tags/v1 | "),
        ("https://h/a.git?branch=refs/heads/v1", "https://h/a.git | refs/heads/v1 | "),
        ("git@h:a.git?tag=v1", "git@h:a.git | refs/tags/v1 | "),
        ("https://h/a.git?commit=ABC", "https://h/a.git |  |  | =abc"),
        ("https://h/a.git?commit=ab&checksum=AB", "https://h/a.git |  |  | =ab"),
        ("https://h/a.git?keep-git-dir", "https://h/a.git |  |  | git=true"),
        ("https://h/a.git?keep-git-dir=0&submodules=f", "https://h/a.git |  |  | git=false | no submodules"),
        ("https://h/a.git?mtime=commit", "https://h/a.git |  |  | commit times"),
        (&by_commit, &by_commit_expected),
    ] {
        assert_eq!(outcome(text, Standing::Source), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (query, expected) in [
        ("?x=1", "unexpected query `x`"),
        ("?tag", "query `tag` has no value"),
        ("?tag=a&tag=a", "query `tag` has multiple values"),
        ("?tag=a&branch=a", "ref conflicts: `refs/tags/a` and `refs/heads/a`"),
        ("?ref=a&tag=a", "ref conflicts: `a` and `refs/tags/a`"),
        ("?ref=a#b", "ref conflicts: `b` and `a`"),
        ("?subdir=a#b:c", "subdir conflicts: `c` and `a`"),
        ("?commit=a&checksum=b", "checksum conflicts: `a` and `b`"),
        ("?submodules=no", "invalid submodules value: `no` (must be `true` or `false`)"),
        ("?mtime=now", "invalid mtime value: `now` (must be `checkout` or `commit`)"),
        (
            "?commit=main",
            "invalid checksum `main` of a git repository: it must be the id of a commit, or its beginning",
        ),
        ("?fetch-by-commit", "fetch-by-commit needs the whole id of a commit as `checksum` or `ref`"),
        ("#--upload-pack=x", "invalid git ref `--upload-pack=x`"),
        ("#a..b", "invalid git ref `a..b`"),
    ] {
        assert_eq!(outcome(&format!("https://h/a.git{query}"), Standing::Source), expected, "{query}");
    }
    let host = "the address of the git repository has no valid host";
    for text in ["ssh://-oProxyCommand=x/a", "ssh://-x@h/a", "https://$(x)/a.git", "ssh:///a"] {
        assert_eq!(outcome(text, Standing::Source), host, "{text}");
    }
}

#[test]
fn what_is_given_besides_must_agree() {
    let reference = || GitReference::parse("https://h/a.git?commit=ab&keep-git-dir=false", Standing::Source);
    let reference = || reference().unwrap().unwrap();
    assert_eq!(reference().with_checksum("AB").unwrap().checksum.as_deref(), Some("ab"));
    assert!(reference().with_checksum("abc").is_err());
    assert!(reference().with_checksum("sha256:ab").is_err());
    assert!(reference().with_git_directory(None).is_ok());
    assert!(reference().with_git_directory(Some(true)).is_err());
}

#[test]
fn user_and_password_leave_the_address() {
    let parse = |text: &str| Remote::parse(text).unwrap();
    let remote = parse("https://me:p%40ss@h:8080/a.git");
    assert_eq!((remote.address.as_str(), remote.host.as_str()), ("https://h:8080/a.git", "h:8080"));
    let user = remote.user.unwrap();
    assert_eq!((user.name.reveal(), user.password.unwrap().reveal()), (&b"me"[..], &b"p@ss"[..]));
    assert_eq!(parse("https://token@h/a.git").user.unwrap().password, None);
    assert_eq!(parse("ssh://git:p@h/a").address, "ssh://git@h/a");
    assert_eq!(parse("h:a").address, "h:a");
    assert_eq!(Remote::parse("ext::sh -c x"), Err(RemoteError::Character));
    assert_eq!(Remote::parse("file:///a"), Err(RemoteError::Protocol));
    assert_eq!(Remote::parse("/a/b:c"), Err(RemoteError::Protocol));
}
