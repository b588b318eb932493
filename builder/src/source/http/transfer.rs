//! The bytes of a file on their way into the store: hashed and bounded while they are written, visible when they are whole.

use std::io::{BufRead, BufReader, Read, Write};

use kiln_layer::compress::{Detected, decompress, detect};
use kiln_oci::Digest;
use kiln_registry::{Piece, WebBody};
use kiln_store::{BlobWriter, Store, StoreError};

use super::{DOWNLOAD_BYTES_MAX, HttpError};
use crate::lanes::blocking;
use crate::progress::{Progress, ProgressEvent};

/// What a transfer is for.
pub(super) struct Transfer<'a> {
    pub(super) store: &'a Store,
    pub(super) progress: &'a dyn Progress,
    /// Name of the task that is told of.
    pub(super) task: &'a str,
    /// The address, as it is shown.
    pub(super) url: &'a str,
    /// What the bytes must be.
    pub(super) expected: Option<Digest>,
}

/// How many bytes lie between two reports, so that a large file does not flood a log.
const REPORT_BYTES: u64 = 256 * 1024;

impl Transfer<'_> {
    /// Brings all bytes into the store. With wrong ones, or on a full disk, nothing is left of them.
    pub(super) async fn run(&self, body: &mut WebBody) -> Result<Digest, HttpError> {
        let mut writer = self.store.blobs().writer();
        let mut reported = 0;
        self.report(0, body);
        loop {
            match body.next_piece().await.map_err(|source| self.failed(source))? {
                Piece::Chunk(chunk) => {
                    write(&mut writer, &chunk, self.url)?;
                    if writer.size_bytes() - reported >= REPORT_BYTES {
                        reported = writer.size_bytes();
                        self.report(reported, body);
                    }
                }
                Piece::FromStart => {
                    writer = self.store.blobs().writer();
                    reported = 0;
                }
                Piece::End => break,
            }
        }
        self.report(writer.size_bytes(), body);
        if !body.head().is_gzip {
            return self.commit(writer).await;
        }
        let (store, url) = (self.store.clone(), self.url.to_owned());
        let decoded = blocking(move || decode(&store, writer, &url)).await?;
        self.commit(decoded).await
    }

    async fn commit(&self, writer: BlobWriter) -> Result<Digest, HttpError> {
        let expected = self.expected;
        match blocking(move || writer.commit(expected.as_ref())).await {
            Ok((digest, _)) => Ok(digest),
            Err(StoreError::WrongDigest { expected, actual }) => {
                Err(HttpError::Checksum { url: self.url.to_owned(), expected, actual })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn report(&self, done: u64, body: &WebBody) {
        self.progress.on(&ProgressEvent::Moved { task: self.task, done, total: body.head().size });
    }

    fn failed(&self, source: kiln_registry::WebError) -> HttpError {
        HttpError::Request { url: self.url.to_owned(), source }
    }
}

fn write(writer: &mut BlobWriter, bytes: &[u8], url: &str) -> Result<(), HttpError> {
    if writer.size_bytes() + bytes.len() as u64 > DOWNLOAD_BYTES_MAX {
        return Err(HttpError::TooLarge { url: url.to_owned() });
    }
    writer.write_all(bytes).map_err(|source| HttpError::Write { url: url.to_owned(), source })
}

/// Undoes `Content-Encoding: gzip`, which a server may apply unasked. BuildKit's client does so, too: it is the file without
/// it that has the checksum.
fn decode(store: &Store, encoded: BlobWriter, url: &str) -> Result<BlobWriter, HttpError> {
    let failed = |source| HttpError::Decode { url: url.to_owned(), source };
    // What is compressed is referred to by nothing, and goes with the next collection.
    let (digest, _) = encoded.commit(None)?;
    let mut reader = BufReader::new(store.blobs().open(&digest)?);
    // Some servers only say so.
    let how = match detect(reader.fill_buf().map_err(failed)?) {
        Detected::Gzip => Detected::Gzip,
        _ => Detected::Plain,
    };
    let mut plain = decompress(reader, how).map_err(failed)?;
    let mut writer = store.blobs().writer();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => return Ok(writer),
            Ok(count) => write(&mut writer, &buffer[..count], url)?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(failed(source)),
        }
    }
}
