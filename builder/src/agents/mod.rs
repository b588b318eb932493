//! Agents of the secure shell that steps may use.
//!
//! A step never sees the socket of the user's agent. Each mount has a socket of kiln's own, with the owner and mode that the
//! Dockerfile asks for, and what speaks to it is passed on. An agent asks the kernel who calls (OpenSSH's refuses all but its own
//! user), and the step's user is somebody else; and a step cannot change the mode or the owner of what it does not see.
//!
//! ```text
//! step ──► /run/buildkit/ssh_agent.0 = scratch/agent-…/socket ──► serve() in this process ──► $SSH_AUTH_SOCK
//! ```

mod keys;
mod protocol;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use kiln_store::{Scratch, Store, StoreError};
use tokio::net::{UnixListener, UnixStream};

use keys::KeyAgent;
pub use keys::KeyError;

/// The id that is meant where none is named; git repositories are fetched with this agent.
pub const DEFAULT_AGENT: &str = "default";

/// Where an agent comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// The socket of one that runs.
    Socket(PathBuf),
    /// Files of keys, for which one is started.
    Keys(Vec<PathBuf>),
}

/// The agents that a build may use, by id.
pub type AgentSources = BTreeMap<String, AgentSource>;

/// Agents that answer as long as this is kept.
#[derive(Debug, Default)]
pub struct Agents {
    sockets: BTreeMap<String, PathBuf>,
    _started: Vec<KeyAgent>,
}

/// Why an agent of `--ssh` cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its keys cannot be served.
    #[error("cannot hand on the keys of the ssh agent `{id}`")]
    Keys {
        /// Its id.
        id: String,
        /// What failed.
        source: KeyError,
    },
    /// There is no place for its socket.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Agents {
    /// Starts agents for those that are files of keys. Their programs are looked up in `search_path`.
    ///
    /// # Errors
    /// [`AgentError`]: a key cannot be used, or there is no `ssh-agent`.
    pub async fn start(
        sources: &AgentSources,
        store: &Store,
        search_path: &OsStr,
    ) -> Result<Self, AgentError> {
        let mut agents = Self::default();
        for (id, source) in sources {
            let socket = match source {
                AgentSource::Socket(path) => path.clone(),
                AgentSource::Keys(keys) => {
                    let started = KeyAgent::start(store.scratch("keys")?, keys, search_path).await;
                    let started = started.map_err(|source| AgentError::Keys { id: id.clone(), source })?;
                    let socket = started.socket();
                    agents._started.push(started);
                    socket
                }
            };
            agents.sockets.insert(id.clone(), socket);
        }
        Ok(agents)
    }

    /// Returns the socket of an agent.
    pub fn socket(&self, id: &str) -> Option<&Path> {
        self.sockets.get(id).map(PathBuf::as_path)
    }
}

/// Connections that are passed on at once; further ones wait in the socket's queue.
const CONNECTIONS_MAX: usize = 64;

/// Time before another attempt, when no connection can be taken: the process has no descriptor left.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A socket in scratch behind which an agent answers, as long as [`serve`] runs.
#[derive(Debug)]
pub struct AgentSocket {
    /// What it is known by: where it is in the step.
    pub target: String,
    path: PathBuf,
    listener: UnixListener,
    agent: PathBuf,
    _place: Scratch,
}

impl AgentSocket {
    /// Makes a socket in `place` for the agent whose own socket is `agent`. Must be called within the runtime.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(target: &str, place: Scratch, agent: &Path, mode: u32) -> io::Result<Self> {
        let directory = fs_err::File::open(place.path())?;
        // The address of a socket has room for 107 bytes, and the store may lie deep.
        let short = format!("/proc/self/fd/{}/socket", directory.as_raw_fd());
        let listener = std::os::unix::net::UnixListener::bind(short)?;
        listener.set_nonblocking(true)?;
        let path = place.path().join("socket");
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { target: target.to_owned(), path, listener, agent: agent.to_owned(), _place: place })
    }

    /// Returns where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Passes on what is said to the sockets, until it is dropped.
pub async fn serve(sockets: &[AgentSocket]) -> Infallible {
    if sockets.is_empty() {
        return std::future::pending().await;
    }
    let mut connections = FuturesUnordered::new();
    loop {
        let accept = select_all(sockets.iter().map(|socket| {
            Box::pin(
                async move { socket.listener.accept().await.map(|(stream, _)| (stream, &*socket.agent)) },
            )
        }));
        tokio::select! {
            (accepted, ..) = accept, if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, agent)) => connections.push(pass_on(stream, agent)),
                Err(_) => tokio::time::sleep(RETRY_AFTER).await,
            },
            Some(()) = connections.next() => {}
        }
    }
}

/// Passes on one connection. What fails here ends it, and the step sees that.
async fn pass_on(mut stream: UnixStream, agent: &Path) {
    if let Ok(mut agent) = UnixStream::connect(agent).await {
        protocol::pass_on(&mut stream, &mut agent).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use kiln_store::Store;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_said_to_a_socket_reaches_its_agent_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("deep/".repeat(20))).unwrap();
        let agents = ["one", "two"].map(|name| folder.path().join(name));
        let listeners = agents.clone().map(|path| UnixListener::bind(path).unwrap());
        let sockets: Vec<AgentSocket> = agents
            .iter()
            .map(|agent| AgentSocket::open("/agent", store.scratch("agent").unwrap(), agent, 0o640).unwrap())
            .collect();
        let mode = std::fs::metadata(sockets[0].path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        let echo = async {
            for (listener, answer) in listeners.iter().zip([b'1', b'2']) {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 5];
                stream.read_exact(&mut asked).await.unwrap();
                assert_eq!(asked, [0, 0, 0, 1, 11]);
                stream.write_all(&[0, 0, 0, 1, answer]).await.unwrap();
            }
        };
        let ask = async {
            for (socket, answer) in sockets.iter().zip([b'1', b'2']) {
                let place = std::fs::File::open(socket.path().parent().unwrap()).unwrap();
                let short = format!("/proc/self/fd/{}/socket", place.as_raw_fd());
                let mut stream = UnixStream::connect(short).await.unwrap();
                stream.write_all(&[0, 0, 0, 1, 11]).await.unwrap();
                let mut heard = [0; 5];
                stream.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, [0, 0, 0, 1, answer]);
            }
        };
        tokio::select! {
            never = serve(&sockets) => match never {},
            _ = async { tokio::join!(echo, ask) } => {}
        }
    }
}
