//! The other ways to a repository: git's own protocol, the secure shell, plain files on the web.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Scene;
use crate::support::http::{HttpServer, Response};
use crate::support::ports::Port;
use crate::support::registry::answers;
use crate::support::waiting::until;
use crate::support::{requires, users};

/// A server program that is stopped with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).unwrap();
    }
}

fn start(command: &mut Command, port: &Port) -> Server {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut server = Server(child);
    assert!(answers(&mut server.0, port), "the server does not start: {command:?}");
    server
}

#[test]
fn gits_own_protocol_works() {
    requires!("git");
    let scene = Scene::new();
    let port = Port::claim();
    // The program itself: `git daemon` would be its parent, and leave it behind when it is killed.
    let programs = Command::new("git").arg("--exec-path").output().unwrap();
    let programs = PathBuf::from(String::from_utf8(programs.stdout).unwrap().trim());
    let mut command = Command::new(programs.join("git-daemon"));
    let trusted = [("COUNT", "1"), ("KEY_0", "safe.directory"), ("VALUE_0", "*")];
    command.envs(trusted.map(|(name, value)| (format!("GIT_CONFIG_{name}"), value)));
    command.args(["--export-all", "--listen=127.0.0.1", "--reuseaddr"]);
    command
        .arg(format!("--port={}", port.number))
        .arg(format!("--base-path={}", scene.space.path("srv").display()));
    let _server = start(&mut command, &port);
    scene.add(&format!("git://{}/repo.git#main:sub /d/", port.host())).run().success();
    assert_eq!(scene.listing(), ["d/inner inner\\n"]);
    scene.add(&format!("git://{}/none /d/", port.host())).run().fails_with(1).says(&["cannot ask"]);
}

#[test]
fn a_server_of_plain_files_works() {
    requires!("git");
    let scene = Scene::new();
    let first = scene.repository.git(&["rev-parse", "HEAD"]);
    scene.repository.write("README", "second\n").commit();
    scene.repository.git(&["update-server-info"]);
    let root = scene.space.path("srv");
    let server = HttpServer::start(move |request| {
        match std::fs::read(root.join(request.path.trim_start_matches('/'))) {
            Ok(content) => Response::new(200, content),
            Err(_) => Response::new(404, ""),
        }
    });
    for (fragment, expected) in [("", "second"), (&*format!("#{first}"), "first")] {
        scene.add(&format!("{}/repo.git{fragment} /d", server.url())).run().success();
        assert!(scene.listing()[0].starts_with(&format!("d/README {expected}")), "{fragment}");
    }
}

/// Makes the keys of a server and of a user, and starts the server.
fn shell_server(scene: &Scene, port: &Port) -> Server {
    let place = scene.space.path("ssh");
    std::fs::create_dir_all(&place).unwrap();
    let key = |path: &Path| {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path);
        assert!(command.status().unwrap().success());
    };
    key(&place.join("host"));
    let folder = scene.space.path("home/.ssh");
    std::fs::create_dir_all(&folder).unwrap();
    key(&folder.join("id_ed25519"));
    std::fs::copy(folder.join("id_ed25519.pub"), place.join("authorized")).unwrap();
    let config = format!(
        "Port {1}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\n",
        place.display(),
        port.number
    );
    let config = scene.space.file("ssh/config", config);
    if rustix::process::getuid().is_root() {
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    start(Command::new("/usr/sbin/sshd").args(["-D", "-f"]).arg(config), port)
}

#[test]
fn the_secure_shell_uses_keys_and_known_hosts_of_the_home() {
    requires!("git", "ssh", "sshd");
    let scene = Scene::new();
    let port = Port::claim();
    let _server = shell_server(&scene, &port);
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let repository = scene.space.path("srv/repo");
    let url = format!("ssh://{user}@{}{}", port.host(), repository.display());
    let add = format!("{url}?subdir=sub /d/");
    let unknown = scene.add(&add).run().fails_with(1);
    unknown.says(&["Host key verification failed", "help: add the host's key to `~/.ssh/known_hosts`"]);
    let host = std::fs::read_to_string(scene.space.path("ssh/host.pub")).unwrap();
    scene.space.file("home/.ssh/known_hosts", format!("[127.0.0.1]:{} {host}", port.number));
    scene.add(&add).run().success();
    assert_eq!(scene.listing(), ["d/inner inner\\n"]);

    let other: PathBuf = scene.space.path("home/key");
    std::fs::rename(scene.space.path("home/.ssh/id_ed25519"), &other).unwrap();
    scene.add(&add).arg("--no-cache").run().fails_with(1).says(&["Permission denied", "a key in the agent"]);
    let known = scene.space.path("home/.ssh/known_hosts");
    let command =
        format!("ssh -F /dev/null -i {} -o UserKnownHostsFile={}", other.display(), known.display());
    scene.add(&add).env("GIT_SSH_COMMAND", command).arg("--no-cache").run().success();
}

#[test]
fn the_secure_shell_uses_the_agent() {
    requires!("git", "ssh", "sshd");
    let scene = Scene::new();
    let port = Port::claim();
    let _server = shell_server(&scene, &port);
    let host = std::fs::read_to_string(scene.space.path("ssh/host.pub")).unwrap();
    scene.space.file("home/.ssh/known_hosts", format!("[127.0.0.1]:{} {host}", port.number));
    let socket = scene.space.path("agent");
    let agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Server(agent);
    // The file is there a moment before somebody listens.
    until("the agent listens", || UnixStream::connect(&socket).is_ok());
    let key = scene.space.path("home/.ssh/id_ed25519");
    let mut command = Command::new("ssh-add");
    command.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
    let moved = scene.space.path("moved-key");
    std::fs::rename(&key, &moved).unwrap();
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let url = format!("ssh://{user}@{}{}", port.host(), scene.space.path("srv/repo").display());
    scene.add(&format!("{url} /d/")).env("SSH_AUTH_SOCK", &socket).run().success();
    assert!(scene.listing()[0].starts_with("d/README first"));
    std::fs::remove_dir_all(scene.space.store().join("repositories")).unwrap();
    for chosen in [&socket, &moved] {
        let flag = format!("--ssh=default={}", chosen.display());
        let call = scene.add(&format!("{url} /e/")).args(["--no-cache", &flag]);
        call.env("SSH_AUTH_SOCK", "/nowhere").run().success();
        assert!(scene.listing()[0].starts_with("e/README first"));
        std::fs::remove_dir_all(scene.space.store().join("repositories")).unwrap();
    }
}

#[test]
fn an_ordinary_user_gets_the_same_image_with_keys_of_its_home() {
    requires!("git", "ssh", "sshd", "root", "setpriv");
    let scene = Scene::new();
    std::fs::set_permissions(scene.space.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let port = Port::claim();
    let _server = shell_server(&scene, &port);
    let host = std::fs::read_to_string(scene.space.path("ssh/host.pub")).unwrap();
    scene.space.file("home/.ssh/known_hosts", format!("[127.0.0.1]:{} {host}", port.number));
    let url = format!("ssh://root@{}{}", port.host(), scene.space.path("srv/repo").display());
    let file = format!("FROM scratch\nADD --keep-git-dir=true {url} /d\n");
    let context = scene.space.context("context", &[("Dockerfile", &file)]);
    let expected = scene.space.build(&context).run().success().digest();
    for user in [users::with_subordinate_ids(&scene.space), users::with_single_id(&scene.space)] {
        let folder = user.home.join(".ssh");
        let mut copy = Command::new("cp");
        assert!(copy.arg("-r").arg(scene.space.path("home/.ssh")).arg(&folder).status().unwrap().success());
        user.own(&folder);
        let call = scene.space.build(&context).user(&user).store(&user.path("store"));
        assert_eq!(call.run().success().digest(), expected, "{}", user.name);
    }
}
