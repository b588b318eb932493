//! Everything that must be true of an image is true of what is built and imported, and noticed where it is not.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use kiln_builder::build::build;
use kiln_builder::catalog;
use kiln_builder::interrupt::Interrupt;
use kiln_builder::request::{BuildRequest, Compression};
use kiln_layer::compress::decompress_layer;
use kiln_oci::validate::{Blobs, Open, validate, validate_documents};
use kiln_oci::{Descriptor, Digest, LayerCompression};
use kiln_store::Store;

use crate::support::{Space, root_tar, silent};

struct StoreBlobs(Store);

impl Open for StoreBlobs {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.0.blobs().open(digest).map_err(io::Error::other)?))
    }
}

impl Blobs for StoreBlobs {
    fn decompress<'a>(
        &self,
        kind: LayerCompression,
        compressed: Box<dyn Read + Send + 'a>,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        decompress_layer(BufReader::new(compressed), Some(kind))
    }
}

async fn built(space: &Space, compression: Compression) -> Descriptor {
    let context = space.path("context");
    std::fs::create_dir_all(context.join("dir")).unwrap();
    std::fs::write(context.join("dir/file"), "text").unwrap();
    let text = "FROM base:1\nCOPY dir /dir\nWORKDIR /made/here\nENV A=1\nCOPY <<F /inline\nhello\nF\n";
    std::fs::write(context.join("Dockerfile"), text).unwrap();
    let request = BuildRequest { compression, ..BuildRequest::new(context) };
    let result = build(&space.open(), &request, &silent(), &Interrupt::new().unwrap()).await.unwrap();
    result.descriptor
}

#[tokio::test]
async fn what_is_built_and_imported_is_valid() {
    let space = Space::new();
    space.import(&root_tar("one"), Some("base:1")).await;
    let imported = catalog::inspect(&space.open(), "base:1", None).unwrap().descriptor;
    let blobs = StoreBlobs(space.open().store.clone());
    assert_eq!(validate(&imported, &blobs).unwrap(), 1);
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Uncompressed] {
        let descriptor = built(&space, compression).await;
        assert_eq!(validate(&descriptor, &blobs).unwrap(), 1, "{compression:?}");
    }
}

#[tokio::test]
async fn a_damaged_layer_is_noticed() {
    let space = Space::new();
    space.import(&root_tar("one"), Some("base:1")).await;
    let workshop: Arc<_> = space.open();
    let details = catalog::inspect(&workshop, "base:1", None).unwrap();
    let folder = space.path("store/blobs/sha256");
    let layer = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]))
        .expect("the layer is compressed");
    let mut bytes = std::fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let blobs = StoreBlobs(workshop.store.clone());
    assert_eq!(validate_documents(&details.descriptor, &blobs).unwrap(), 1, "the documents are as they were");
    let error = validate(&details.descriptor, &blobs).unwrap_err().to_string();
    assert!(error.contains(&layer.file_name().unwrap().to_string_lossy().into_owned()), "{error}");
}
