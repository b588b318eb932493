//! A blob that passes through: what comes from one registry, or is read from files, is sent to another while it comes. Nothing is
//! kept but a chunk.
//!
//! The end of a blob is passed on only when its digest was right, so that wrong bytes never make a whole upload. Uploads go in parts,
//! each of which asks for the content at its offset: mostly that is where the download stands. Where an upload has to go back, the
//! download begins again at the last checkpoint before, of which one is kept every [`CHECKPOINT_BYTES`]; files are read again from
//! their beginning.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use kiln_oci::{Descriptor, Hasher};
use kiln_registry::{BlobStream, ByteStream};
use tokio::sync::Mutex;

use super::origin::Origin;
use crate::far::chunks;
use crate::lanes::blocking;

/// How far the places lie apart to which a download can go back.
const CHECKPOINT_BYTES: u64 = 32 << 20;

/// A blob on its way to a registry, to be read at any offset.
#[derive(Clone)]
pub(super) struct Passage {
    from: Origin,
    blob: Descriptor,
    state: Arc<Mutex<State>>,
}

/// Why a blob cannot be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// What the registry says.
    Registry(Box<kiln_registry::Error>),
    /// What the file system says, or what is wrong with the bytes.
    Files(io::Error),
}

/// A blob that is read from where it was begun.
enum Coming {
    Registry(Box<BlobStream>),
    Files(ByteStream),
}

#[derive(Default)]
struct State {
    stream: Option<Coming>,
    /// What came last, and was perhaps not taken.
    last: Bytes,
    /// Where `last` ends.
    position: u64,
    /// The next chunk: the last of all is given only when the end was right.
    ahead: Option<Bytes>,
    checkpoints: Vec<(u64, Hasher)>,
    /// Why it cannot go on.
    failure: Option<Failure>,
}

impl Passage {
    pub(super) fn new(from: &Origin, blob: &Descriptor) -> Self {
        Self { from: from.clone(), blob: blob.clone(), state: Arc::default() }
    }

    /// Opens the content at an offset. The stream that was opened before gives nothing from then on.
    pub(super) fn open(&self, offset: u64) -> BoxFuture<'static, io::Result<ByteStream>> {
        let passage = self.clone();
        Box::pin(async move {
            let first = passage.go_to(offset).await?;
            let first = futures_util::stream::iter((!first.is_empty()).then_some(Ok(first)));
            let rest = futures_util::stream::try_unfold(passage, |passage| async move {
                let chunk = passage.state.lock().await.next().await?;
                Ok(chunk.map(|chunk| (chunk, passage)))
            });
            Ok(first.chain(rest).boxed() as ByteStream)
        })
    }

    /// Returns why the blob could not be read, if so.
    pub(super) async fn failure(&self) -> Option<Failure> {
        self.state.lock().await.failure.take()
    }

    /// Brings the download to `offset`; returns what of it was read beyond.
    async fn go_to(&self, offset: u64) -> io::Result<Bytes> {
        let mut state = self.state.lock().await;
        if state.failure.is_some() {
            return Err(failed());
        }
        let start = state.position - state.last.len() as u64;
        if state.stream.is_some() && (start..=state.position).contains(&offset) {
            return Ok(state.last.slice(within(offset - start)..));
        }
        state.begin_before(self, offset).await?;
        loop {
            if state.position >= offset {
                let beyond = state.position - offset;
                let last = state.last.clone();
                return Ok(last.slice(last.len() - within(beyond).min(last.len())..));
            }
            if state.next().await?.is_none() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl State {
    /// Begins the download at the last checkpoint up to `offset`.
    async fn begin_before(&mut self, passage: &Passage, offset: u64) -> io::Result<()> {
        let checkpoint = self.checkpoints.iter().rev().find(|(at, _)| *at <= offset).cloned();
        let (at, hasher) = checkpoint.unwrap_or_default();
        self.stream = Some(match &passage.from {
            Origin::Registry { client, name } => {
                let stream = client.blob(name, &passage.blob).map_err(io::Error::other)?;
                Coming::Registry(Box::new(stream.resume(at, hasher)))
            }
            Origin::Files { files, .. } => {
                let (files, blob) = (Arc::clone(files), passage.blob.clone());
                match blocking(move || files.open_blob(&blob)).await {
                    // Its end is asked for more than once.
                    Ok(reader) => Coming::Files(chunks(reader).fuse().boxed()),
                    Err(error) => {
                        self.failure = Some(Failure::Files(error));
                        return Err(failed());
                    }
                }
            }
        });
        self.position = at;
        self.last = Bytes::new();
        self.ahead = None;
        Ok(())
    }

    /// Returns the next chunk. A request that breaks gives this up wherever it waits, so a chunk is taken only when the one behind it
    /// is known.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.ahead.is_none() {
            self.ahead = self.read().await?;
        }
        if self.ahead.is_none() {
            return Ok(None);
        }
        let behind = self.read().await?;
        let Some(chunk) = std::mem::replace(&mut self.ahead, behind) else { return Ok(None) };
        self.position += chunk.len() as u64;
        self.last = chunk.clone();
        Ok(Some(chunk))
    }

    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let chunk = match stream.next_chunk().await {
            Ok(chunk) => chunk,
            Err(error) => {
                self.stream = None;
                self.failure = Some(error);
                return Err(failed());
            }
        };
        let latest = self.checkpoints.last().map_or(0, |(at, _)| *at);
        if let Some((offset, hasher)) = stream.checkpoint()
            && offset >= latest + CHECKPOINT_BYTES
        {
            self.checkpoints.push((offset, hasher));
        }
        Ok(chunk)
    }
}

impl Coming {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Registry(stream) => {
                stream.next_chunk().await.map_err(|error| Failure::Registry(Box::new(error)))
            }
            Self::Files(chunks) => chunks.next().await.transpose().map_err(Failure::Files),
        }
    }

    /// Returns where it can be begun again. What is near is read from the beginning.
    fn checkpoint(&self) -> Option<(u64, Hasher)> {
        match self {
            Self::Registry(stream) => stream.checkpoint(),
            Self::Files(_) => None,
        }
    }
}

/// The upload is only told that it ends here; what happened is asked for afterwards.
fn failed() -> io::Error {
    io::Error::other("the download failed")
}

fn within(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn no_chunk_is_lost_when_a_request_gives_up_waiting_for_the_next() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (Ok(chunk), receiver))
        });
        let mut state = State { stream: Some(Coming::Files(chunks.fuse().boxed())), ..State::default() };
        for chunk in ["one", "two", "three"] {
            sender.send(Bytes::from(chunk)).unwrap();
            // The last that came is kept until more is known.
            while state.position < 6 && state.next().now_or_never().is_some() {}
        }
        drop(sender);
        assert_eq!((state.last.clone(), state.position), (Bytes::from("two"), 6));
        assert_eq!(state.next().await.unwrap(), Some(Bytes::from("three")));
        assert_eq!(state.next().await.unwrap(), None);
    }
}
