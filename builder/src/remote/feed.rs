//! Blobs of a registry for work that blocks: it asks for one, and reads chunks that a future beside it fetches.
//!
//! The future is the only one that waits for sockets. When it is given up, because somebody pressed Ctrl-C, reading fails; a thread
//! that waited for the runtime itself would meet one that is gone.

use std::io::{self, Read};

use bytes::Bytes;
use futures_util::future::{Either, select};
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{Client, ProgressSink};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::RemoteError;
use crate::lanes::blocking;

/// Chunks that wait to be read at most: enough that neither side stops when the other is kept from running for a moment.
const CHUNKS_MAX: usize = 32;

/// What fetches blobs for a job.
#[derive(Debug, Clone)]
pub(super) struct Feed(Sender<Wanted>);

/// A blob that a job reads.
struct Wanted {
    blob: Descriptor,
    progress: ProgressSink,
    /// Takes chunks, and at the right end an empty one.
    chunks: Sender<Result<Bytes, io::Error>>,
}

/// Runs `job`, which blocks, and fetches the blobs that it asks for, one after the other.
pub(super) async fn fed<T: Send + 'static>(
    client: &Client,
    from: &Reference,
    job: impl FnOnce(Feed) -> T + Send + 'static,
) -> T {
    let (ask, mut asked) = channel::<Wanted>(1);
    let fetch = async {
        while let Some(wanted) = asked.recv().await {
            let chunks = wanted.chunks.clone();
            if let Err(error) = pass_on(client, from, wanted).await {
                // Who does not read any more does not want to know either.
                chunks.send(Err(io::Error::other(RemoteError::read(from)(error)))).await.unwrap_or_default();
            }
        }
    };
    let job = blocking(move || job(Feed(ask)));
    futures_util::pin_mut!(job, fetch);
    // A job that fails does not wait for what it would have read.
    match select(job, fetch).await {
        Either::Left((done, _)) => done,
        Either::Right(((), job)) => job.await,
    }
}

async fn pass_on(client: &Client, from: &Reference, wanted: Wanted) -> Result<(), kiln_registry::Error> {
    let mut stream = client.blob(from, &wanted.blob)?.on_progress(wanted.progress);
    loop {
        let chunk = stream.next_chunk().await?;
        let is_end = chunk.is_none();
        // An empty chunk in between would be taken for the end.
        let chunk = chunk.unwrap_or_default();
        if chunk.is_empty() && !is_end {
            continue;
        }
        if wanted.chunks.send(Ok(chunk)).await.is_err() || is_end {
            return Ok(());
        }
    }
}

impl Feed {
    /// Asks for a blob. Its end comes only when its bytes were right.
    pub(super) fn open(&self, blob: &Descriptor, progress: ProgressSink) -> io::Result<Arriving> {
        let (chunks, arriving) = channel(CHUNKS_MAX);
        let wanted = Wanted { blob: blob.clone(), progress, chunks };
        self.0.blocking_send(wanted).map_err(|_| given_up())?;
        Ok(Arriving { chunks: arriving, chunk: Bytes::new(), failure: None, is_whole: false })
    }
}

/// A blob that comes from a registry, for a thread that reads it.
pub(super) struct Arriving {
    chunks: Receiver<Result<Bytes, io::Error>>,
    /// What came last, and was not taken yet.
    chunk: Bytes,
    /// What happened after what was given last.
    failure: Option<io::Error>,
    /// Whether the end was seen.
    is_whole: bool,
}

impl Read for Arriving {
    /// Fills the whole buffer, if it can: the chunks of a connection are small.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && !self.is_whole && self.failure.is_none() {
            if self.chunk.is_empty() {
                match self.chunks.blocking_recv().unwrap_or_else(|| Err(given_up())) {
                    Ok(chunk) => {
                        self.is_whole = chunk.is_empty();
                        self.chunk = chunk;
                    }
                    Err(error) => self.failure = Some(error),
                }
                continue;
            }
            let count = self.chunk.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&self.chunk.split_to(count));
            filled += count;
        }
        match self.failure.take_if(|_| filled == 0) {
            Some(failure) => Err(failure),
            None => Ok(filled),
        }
    }
}

fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the transfer was given up")
}
