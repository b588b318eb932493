//! Docker's and podman's credential files, and helpers.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_registry::{Credential, CredentialFiles, Credentials, KeptIn, Secret};

/// `user:secret` in base64.
const AUTH: &str = "dXNlcjpzZWNyZXQ=";

struct Space {
    directory: tempfile::TempDir,
}

impl Space {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn files(&self) -> CredentialFiles {
        CredentialFiles {
            docker_config: Some(self.path("config.json")),
            auth_files: vec![self.path("auth.json")],
            helper_path: OsString::from(self.directory.path()),
        }
    }

    /// Writes a helper that keeps what it is given in a file beside it.
    fn helper(&self, name: &str) {
        let kept = self.path("kept");
        let script = format!(
            "#!/bin/sh\nread -r line\ncase $1 in\nstore) printf '%s' \"$line\" > {kept} ;;\n\
             erase) rm {kept} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\n\
             get) echo \"$line\" >> {kept}.asked; cat {kept} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\nesac\n",
            kept = kept.display()
        );
        let path = self.write(&format!("docker-credential-{name}"), &script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn identity(username: &str) -> Credential {
    Credential::IdentityToken { username: username.to_owned(), token: Secret::new("t") }
}

fn user() -> Credential {
    Credential::password("user", "secret")
}

#[tokio::test]
async fn the_longest_key_that_fits_decides() {
    let space = Space::new();
    let deep = "ZGVlcDpzZWNyZXQ=";
    space.write(
        "config.json",
        &format!(
            r#"{{"auths":{{
                "https://index.docker.io/v1/":{{"auth":"{AUTH}"}},
                "r.example":{{"auth":"{AUTH}"}}, "r.example/team/deep":{{"auth":"{deep}"}},
                "empty.example":{{}},
                "https://address.example/v2/":{{"username":"user","password":"secret"}},
                "refresh.example":{{"auth":"{AUTH}","identitytoken":"t"}},
                "bearer.example":{{"registrytoken":"t"}}
            }}}}"#
        ),
    );
    let deep = Credential::password("deep", "secret");
    for (registry, repository, expected) in [
        ("docker.io", "library/debian", Some(user())),
        ("r.example", "team/other", Some(user())),
        ("r.example", "team/deep", Some(deep.clone())),
        ("r.example", "team/deep/er", Some(deep)),
        ("r.example", "team/deeper", Some(user())),
        ("r.example", "", Some(user())),
        ("empty.example", "a", None),
        ("other.example", "a", None),
        ("address.example", "a", Some(user())),
        ("refresh.example", "a", Some(identity("user"))),
        ("bearer.example", "a", Some(Credential::RegistryToken(Secret::new("t")))),
    ] {
        let found = Credentials::new(space.files()).find(registry, repository).await.unwrap();
        assert_eq!(found, expected, "{registry}/{repository}");
    }
}

#[tokio::test]
async fn malformed_files_are_named_without_showing_what_they_hold() {
    let space = Space::new();
    for text in [
        "canary",
        r#"["canary"]"#,
        r#"{"auths":{"a.example":{"auth":"canary!"}}}"#,
        r#"{"auths":{"a.example":{"auth":"Y2FuYXJ5"}}}"#,
    ] {
        let path = space.write("config.json", text);
        let error = Credentials::new(space.files()).find("a.example", "x").await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(path.to_str().unwrap()) && !shown.contains("canary"), "{shown}");
    }
}

#[tokio::test]
async fn a_login_is_kept_for_its_owner_only_and_everything_else_stays() {
    let space = Space::new();
    space.write("real.json", r#"{"psFormat":"x","auths":{"b.example":{"auth":"Yjpi"}},"plugins":{"k":{}}}"#);
    std::os::unix::fs::symlink(space.path("real.json"), space.path("config.json")).unwrap();
    let credentials = Credentials::new(space.files());
    let kept = credentials.store("docker.io", &user()).await.unwrap();
    assert_eq!(kept, KeptIn::File(space.path("config.json")));
    let expected = serde_json::json!({
        "psFormat": "x",
        "auths": {"b.example": {"auth": "Yjpi"}, "https://index.docker.io/v1/": {"auth": AUTH}},
        "plugins": {"k": {}},
    });
    assert_eq!(json(&space.path("real.json")), expected);
    assert_eq!(mode(&space.path("real.json")), 0o600);
    assert!(space.path("config.json").is_symlink());
    assert_eq!(credentials.find("docker.io", "x").await.unwrap(), Some(user()));

    assert_eq!(credentials.erase("docker.io").await.unwrap(), [KeptIn::File(space.path("config.json"))]);
    assert_eq!(credentials.erase("docker.io").await.unwrap(), []);
    assert_eq!(credentials.find("docker.io", "x").await.unwrap(), None);
    assert!(credentials.find("b.example", "x").await.unwrap().is_some());
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_login_is_kept_where_it_will_be_found() {
    let space = Space::new();
    space.write("auth.json", r#"{"auths":{"a.example":{"auth":"b2xkOm9sZA=="}}}"#);
    let credentials = Credentials::new(space.files());
    assert_eq!(credentials.store("a.example", &user()).await.unwrap(), KeptIn::File(space.path("auth.json")));
    assert_eq!(credentials.find("a.example", "x").await.unwrap(), Some(user()));
}

#[tokio::test]
async fn an_identity_token_is_kept_as_docker_keeps_it() {
    for (username, expected) in [
        ("user", serde_json::json!({"auth": "dXNlcjo=", "identitytoken": "t"})),
        ("", serde_json::json!({"identitytoken": "t"})),
    ] {
        let space = Space::new();
        let credentials = Credentials::new(space.files());
        credentials.store("r.example", &identity(username)).await.unwrap();
        assert_eq!(json(&space.path("config.json"))["auths"]["r.example"], expected);
        assert_eq!(credentials.find("r.example", "x").await.unwrap(), Some(identity(username)));
    }
}

#[tokio::test]
async fn a_helper_keeps_finds_and_forgets() {
    let space = Space::new();
    space.helper("test");
    space.write("config.json", r#"{"credsStore":"test"}"#);
    let credentials = Credentials::new(space.files());
    assert_eq!(credentials.find("docker.io", "x").await.unwrap(), None);
    for credential in [user(), identity("")] {
        let kept = credentials.store("docker.io", &credential).await.unwrap();
        assert_eq!(kept, KeptIn::Helper("test".to_owned()));
        assert_eq!(credentials.find("docker.io", "x").await.unwrap(), Some(credential));
    }
    let server = "https://index.docker.io/v1/";
    let expected = serde_json::json!({"ServerURL": server, "Username": "<token>", "Secret": "t"});
    assert_eq!(json(&space.path("kept")), expected);
    assert_eq!(credentials.erase("docker.io").await.unwrap(), [KeptIn::Helper("test".to_owned())]);
    assert_eq!(credentials.erase("docker.io").await.unwrap(), []);
    assert_eq!(fs::read_to_string(space.path("config.json")).unwrap(), r#"{"credsStore":"test"}"#);
}

#[tokio::test]
async fn helpers_that_fail_are_named() {
    let space = Space::new();
    space.write("docker-credential-bad", "#!/bin/sh\necho 'the vault is locked'; exit 1\n");
    space.write("docker-credential-odd", "#!/bin/sh\necho 'canary'\n");
    for name in ["bad", "odd"] {
        let path = space.path(&format!("docker-credential-{name}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (name, says) in [
        ("bad", "credential helper `docker-credential-bad`: it failed: the vault is locked"),
        (
            "odd",
            "credential helper `docker-credential-odd`: its answer to `get` is not what the protocol asks for",
        ),
        ("gone", "credential helper `docker-credential-gone`: there is no such program in the search path"),
        ("../x", "credential helper `docker-credential-../x`: that is not the name of a helper"),
    ] {
        space.write("config.json", &format!(r#"{{"credHelpers":{{"a.example":"{name}"}}}}"#));
        let error = Credentials::new(space.files()).find("a.example", "x").await.unwrap_err();
        assert_eq!(error.to_string(), says);
    }
}
