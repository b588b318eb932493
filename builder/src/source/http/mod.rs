//! Files of the web for ADD, contexts and Dockerfiles. Each is asked for once a build, and transferred only if it is not
//! what the store has of it:
//!
//! ```text
//!                            known digest (--checksum) ──► in the store? ──► no request at all
//! address ──► record ──► conditional request ──► unchanged ──► the blob of the record
//!                                            └──► bytes ──► blob ──► record
//! ```
//!
//! What a build depends on are the bytes and the name, which is a part of the address: [`Announced`]. Only a step that is
//! really done needs the file itself, a [`Download`].

mod authorization;
mod error;
mod name;
mod record;
mod transfer;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kiln_layer::{ArchivePath, Content, DirectoryOrigin, Entry, Metadata, Origin, Timestamp, WithTime};
use kiln_oci::{Digest, Hasher, layout};
use kiln_registry::{Known, WebAnswer, WebRequest, WebUrl};
use kiln_store::StoreError;
use tokio::sync::OnceCell;

pub use error::HttpError;

use crate::lanes::blocking;
use crate::progress::{Progress, ProgressEvent};
use crate::secrets::Secrets;
use crate::workshop::Workshop;
use record::KnownFile;
use transfer::Transfer;

/// Largest file that is fetched, in bytes.
pub const DOWNLOAD_BYTES_MAX: u64 = 64 << 30;

/// What is known of a file before it is there: all of it that decides a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Name from the address.
    pub name: Vec<u8>,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// A file that was fetched. Its bytes are a blob of the store, held there.
#[derive(Debug, Clone)]
pub struct Download {
    /// Its name and digest.
    pub announced: Announced,
    /// `Last-Modified`, in seconds since 1970; zero when nobody says.
    pub modified: i64,
    /// Its bytes.
    pub content: Content,
}

impl Announced {
    /// Returns what of the file can decide a result: its bytes and its name.
    pub fn key(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(self.digest.as_bytes());
        hasher.update(&self.name);
        hasher.finish()
    }
}

impl Download {
    /// Returns the file as ADD puts it into an image: readable by its owner only.
    pub fn entry(&self) -> Entry {
        let metadata =
            Metadata { mtime: Timestamp::from_seconds(self.modified), ..Metadata::with_mode(0o600) };
        Entry::file(metadata, self.content.clone())
    }
}

/// The files of the web that one build wants.
pub struct Web {
    workshop: Arc<Workshop>,
    secrets: Secrets,
    progress: Arc<dyn Progress>,
    files: Mutex<Vec<Arc<File>>>,
    /// Blobs that were hashed in this build.
    sound: Mutex<BTreeSet<Digest>>,
}

/// One address, and what was done about it.
struct File {
    url: WebUrl,
    shown: String,
    /// Name of the task, unlike that of any other address.
    task: String,
    /// What the server says that it is.
    asked: OnceCell<Fetched>,
    /// What it is, for those who were told what it must be.
    fetched: OnceCell<Fetched>,
}

#[derive(Debug, Clone, Copy)]
struct Fetched {
    digest: Digest,
    modified: Option<i64>,
}

enum Transferred {
    Yes,
    No,
}

impl Web {
    /// Prepares for a build. Nothing is asked for yet.
    pub fn new(workshop: &Arc<Workshop>, secrets: &Secrets, progress: &Arc<dyn Progress>) -> Self {
        Self {
            workshop: Arc::clone(workshop),
            secrets: secrets.clone(),
            progress: Arc::clone(progress),
            files: Mutex::default(),
            sound: Mutex::default(),
        }
    }

    /// Finds out which file an address has. With a checksum that is known without asking.
    ///
    /// # Errors
    /// [`HttpError`], which names the address.
    pub async fn announce(&self, url: &WebUrl, checksum: Option<Digest>) -> Result<Announced, HttpError> {
        let digest = match checksum {
            Some(checksum) => checksum,
            None => self.asked(&self.file(url)).await?.digest,
        };
        Ok(Announced { name: name::file_name(url), digest })
    }

    /// Returns the file that was announced, transferring it if it is not in the store. Its time is asked for only if it is
    /// wanted.
    ///
    /// # Errors
    /// [`HttpError`], also when the file is not what was announced.
    pub async fn open(
        &self,
        url: &WebUrl,
        announced: &Announced,
        with_time: WithTime,
    ) -> Result<Download, HttpError> {
        let (file, digest) = (self.file(url), announced.digest);
        let mut modified = self.modified(&file, digest);
        let needs_time = modified.is_none() && with_time == WithTime::Yes;
        if needs_time || !self.is_sound(digest).await? {
            let fetch = || self.fetch_expected(&file, digest);
            let fetched = match file.fetched.get_or_try_init(fetch).await {
                Ok(fetched) => fetched,
                Err(HttpError::Checksum { actual, .. }) => return Err(mismatch(&file, digest, actual)),
                Err(error) => return Err(error),
            };
            if fetched.digest != digest {
                return Err(mismatch(&file, digest, fetched.digest));
            }
            modified = fetched.modified;
        }
        let content =
            self.content(digest).map_err(|source| HttpError::Read { url: file.shown.clone(), source })?;
        Ok(Download { announced: announced.clone(), modified: modified.unwrap_or(0), content })
    }

    /// Fetches a file whatever it is.
    ///
    /// # Errors
    /// [`HttpError`], which names the address.
    pub async fn fetch(&self, url: &WebUrl) -> Result<Download, HttpError> {
        let announced = self.announce(url, None).await?;
        self.open(url, &announced, WithTime::No).await
    }

    fn file(&self, url: &WebUrl) -> Arc<File> {
        let mut files = lock(&self.files);
        if let Some(file) = files.iter().find(|file| file.url == *url) {
            return Arc::clone(file);
        }
        let shown = url.to_string();
        let like = files.iter().filter(|file| file.shown == shown).count();
        let task = match like {
            0 => format!("fetch {shown}"),
            more => format!("fetch {shown} ({})", more + 1),
        };
        let (asked, fetched) = (OnceCell::new(), OnceCell::new());
        let file = Arc::new(File { url: url.clone(), shown, task, asked, fetched });
        files.push(Arc::clone(&file));
        file
    }

    async fn asked(&self, file: &File) -> Result<Fetched, HttpError> {
        let ask = || async {
            let known = record::find(&self.workshop.store, &file.url);
            self.request(file, known, None).await
        };
        file.asked.get_or_try_init(ask).await.copied()
    }

    /// Fetches a file that is expected to be `digest` and is not in the store, or damaged there.
    async fn fetch_expected(&self, file: &File, digest: Digest) -> Result<Fetched, HttpError> {
        // Whoever was asked in this build already need not be asked again.
        if let Some(asked) = file.asked.get().filter(|asked| asked.digest != digest) {
            return Ok(*asked);
        }
        let known = record::find(&self.workshop.store, &file.url).filter(|known| known.digest != digest);
        self.request(file, known, Some(digest)).await
    }

    /// Asks for a file, and transfers it unless it is the one that is known.
    async fn request(
        &self,
        file: &File,
        known: Option<KnownFile>,
        expected: Option<Digest>,
    ) -> Result<Fetched, HttpError> {
        let (task, started) = (file.task.as_str(), Instant::now());
        self.progress.on(&ProgressEvent::Began { task });
        let outcome = self.workshop.lanes.net(self.exchange(file, known, expected)).await;
        let detail = match &outcome {
            Ok((_, Transferred::Yes)) => "",
            Ok((_, Transferred::No)) => "not modified",
            Err(_) => "failed",
        };
        self.progress.on(&ProgressEvent::Finished { task, took: started.elapsed(), detail });
        outcome.map(|(fetched, _)| fetched)
    }

    /// Returns what the file is, and whether its bytes came just now.
    async fn exchange(
        &self,
        file: &File,
        known: Option<KnownFile>,
        expected: Option<Digest>,
    ) -> Result<(Fetched, Transferred), HttpError> {
        let (secrets, url) = (self.secrets.clone(), file.url.clone());
        let authorization = blocking(move || authorization::authorization(&secrets, &url)).await?;
        let request = WebRequest {
            url: file.url.clone(),
            authorization,
            known: known.as_ref().map_or_else(Known::default, |known| known.known.clone()),
            is_verified: expected.is_some(),
        };
        let failed = |source| HttpError::Request { url: file.shown.clone(), source };
        let mut body = match (self.workshop.registry.web(request).await.map_err(failed)?, &known) {
            (WebAnswer::File(body), _) => body,
            (WebAnswer::Unchanged, Some(known)) => {
                return Ok((Fetched { digest: known.digest, modified: known.modified }, Transferred::No));
            }
            (WebAnswer::Unchanged, None) => unreachable!("nothing was said to be known"),
        };
        let store = &self.workshop.store;
        let transfer =
            Transfer { store, progress: &*self.progress, task: &file.task, url: &file.shown, expected };
        let arrived = transfer.run(&mut body).await?;
        lock(&self.sound).insert(arrived);
        let (store, url, head) = (store.clone(), file.url.clone(), body.head().clone());
        let modified = head.modified;
        blocking(move || record::keep(&store, &url, arrived, &head, known.as_ref())).await?;
        Ok((Fetched { digest: arrived, modified }, Transferred::Yes))
    }

    /// Returns when the file was modified, if that was ever said of these bytes.
    fn modified(&self, file: &File, digest: Digest) -> Option<i64> {
        let said = [&file.fetched, &file.asked].into_iter().filter_map(|cell| cell.get().copied());
        let stored = || {
            let known = record::find(&self.workshop.store, &file.url)?;
            Some(Fetched { digest: known.digest, modified: known.modified })
        };
        let known =
            said.chain(std::iter::once_with(stored).flatten()).find(|known| known.digest == digest)?;
        Some(known.modified.unwrap_or(0))
    }

    /// Whether a blob is in the store, held, and has the bytes that its name says.
    async fn is_sound(&self, digest: Digest) -> Result<bool, StoreError> {
        if lock(&self.sound).contains(&digest) {
            return Ok(true);
        }
        let store = self.workshop.store.clone();
        let check = move || match store.blobs().hold(&digest)? {
            true => match store.blobs().verify(&digest) {
                Ok(()) => Ok(true),
                Err(StoreError::WrongDigest { .. } | StoreError::BlobMissing { .. }) => Ok(false),
                Err(error) => Err(error),
            },
            false => Ok(false),
        };
        let is_sound = self.workshop.lanes.cpu(check).await?;
        if is_sound {
            lock(&self.sound).insert(digest);
        }
        Ok(is_sound)
    }

    fn content(&self, digest: Digest) -> std::io::Result<Content> {
        let store = &self.workshop.store;
        let origin = DirectoryOrigin::open(&store.path().join(layout::BLOBS_DIRECTORY))?;
        let size = std::fs::metadata(origin.path().join(digest.hex()))?.len();
        let path = ArchivePath::parse(digest.hex().as_bytes()).expect("a plain name");
        let origin = Origin::Directory(Arc::new(origin));
        Ok(Content { origin, path, size, digest: None, identity: None })
    }
}

/// Returns the error for bytes that are not those that were announced: by `--checksum`, or by the server itself.
fn mismatch(file: &File, expected: Digest, actual: Digest) -> HttpError {
    let url = file.shown.clone();
    match file.asked.get().is_some_and(|asked| asked.digest == expected) {
        true => HttpError::Changed { url },
        false => HttpError::Checksum { url, expected, actual },
    }
}

impl std::fmt::Debug for Web {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Web").finish_non_exhaustive()
    }
}

/// Locks a value that no panic can leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
