//! An archive of the web, on its way to be imported. It is no file of a build: no record remembers it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kiln_registry::{Known, Piece, WebAnswer, WebBody, WebRequest, WebUrl};
use kiln_store::Scratch;

use super::CatalogError;
use crate::progress::{Progress, ProgressEvent};
use crate::source::http::{DOWNLOAD_BYTES_MAX, HttpError};
use crate::workshop::Workshop;

/// How many bytes lie between two reports.
const REPORT_BYTES: u64 = 256 * 1024;

/// A file that was fetched; it goes with this value.
#[derive(Debug)]
pub struct Download {
    scratch: Scratch,
    url: String,
}

impl Download {
    /// Returns where it is from, without the secrets of its address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns where it lies.
    pub(super) fn path(&self) -> PathBuf {
        self.scratch.path().join("archive")
    }
}

/// Fetches a file of the web. One that is cut short is continued or begun anew, as registries are.
///
/// # Errors
/// [`CatalogError::Web`]: the host does not give it, it is too large, or it cannot be written.
pub async fn download(
    workshop: &Arc<Workshop>,
    url: &WebUrl,
    progress: &Arc<dyn Progress>,
) -> Result<Download, CatalogError> {
    let shown = url.to_string();
    let failed = |source| HttpError::Request { url: shown.clone(), source };
    let unwritten = |source| HttpError::Write { url: shown.clone(), source };
    let download = Download { scratch: workshop.store.scratch("download")?, url: shown.clone() };
    let mut file = File::create(download.path()).map_err(unwritten)?;
    let task = format!("fetch {shown}");
    let started = Instant::now();
    progress.on(&ProgressEvent::Began { task: &task });
    let request =
        WebRequest { url: url.clone(), authorization: None, known: Known::default(), is_verified: false };
    let WebAnswer::File(mut body) = workshop.registry.web(request).await.map_err(failed)? else {
        unreachable!("nothing was said to be known")
    };
    let tell = |done, body: &WebBody| {
        progress.on(&ProgressEvent::Moved { task: &task, done, total: body.head().size });
    };
    let (mut done, mut told) = (0, 0);
    tell(done, &body);
    loop {
        match body.next_piece().await.map_err(failed)? {
            Piece::Chunk(chunk) => {
                done += chunk.len() as u64;
                if done > DOWNLOAD_BYTES_MAX {
                    return Err(HttpError::TooLarge { url: shown }.into());
                }
                file.write_all(&chunk).map_err(unwritten)?;
                if done - told >= REPORT_BYTES {
                    told = done;
                    tell(done, &body);
                }
            }
            Piece::FromStart => {
                file = File::create(download.path()).map_err(unwritten)?;
                (done, told) = (0, 0);
            }
            Piece::End => break,
        }
    }
    tell(done, &body);
    progress.on(&ProgressEvent::Finished { task: &task, took: started.elapsed(), detail: "" });
    Ok(download)
}
