//! What all tests here use.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use kiln_oci::{Descriptor, Digest, MediaType, Reference};
use kiln_registry::{
    BlobStream, ByteStream, Client, ClientConfig, Error, RegistryConfig, RetryPolicy, Warning,
};
use tokio::net::TcpSocket;

/// Warnings as texts, in order.
pub(crate) type Warnings = Arc<Mutex<Vec<String>>>;

/// Settings with waits so short that nobody notices.
pub(crate) fn config() -> ClientConfig {
    let retry = RetryPolicy { first_delay: Duration::from_millis(1), ..RetryPolicy::default() };
    ClientConfig { retry, ..ClientConfig::default() }
}

/// A client, and what it warns of.
pub(crate) fn client_with_warnings(mut config: ClientConfig) -> (Client, Warnings) {
    let warnings = Warnings::default();
    let sink = Arc::clone(&warnings);
    config.on_warning =
        Some(Arc::new(move |warning: &Warning| sink.lock().unwrap().push(warning.to_string())));
    (Client::new(config), warnings)
}

/// Settings that say one thing about one registry.
pub(crate) fn config_for(registry: &str, table: RegistryConfig) -> ClientConfig {
    ClientConfig { registries: [(registry.to_owned(), table)].into(), ..config() }
}

pub(crate) fn reference(text: impl AsRef<str>) -> Reference {
    text.as_ref().parse().unwrap()
}

/// Returns an address of this machine at which nobody answers, and what keeps that so: a socket that has the port and does not listen.
/// A port that was only free a moment ago may be somebody else's by now, or be the one from which it is asked.
pub(crate) fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// Bytes that do not repeat soon.
pub(crate) fn content(size: usize) -> Bytes {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

pub(crate) fn layer(bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::OCI_LAYER_GZIP, Digest::of(bytes), bytes.len() as u64)
}

/// A manifest that names `config` and `layer`.
pub(crate) fn manifest(config: &[u8], layer: &[u8]) -> Bytes {
    let describe = |media_type: MediaType, bytes: &[u8]| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
    };
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        MediaType::OCI_MANIFEST,
        describe(MediaType::OCI_CONFIG, config),
        describe(MediaType::OCI_LAYER_GZIP, layer)
    );
    text.into()
}

/// Reads a blob to its end.
pub(crate) async fn read(mut blob: BlobStream) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = blob.next_chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Opens `bytes` at any offset, in pieces.
pub(crate) fn opener(
    bytes: Bytes,
) -> impl Fn(u64) -> BoxFuture<'static, std::io::Result<ByteStream>> + Send + Sync {
    move |offset| {
        let rest = bytes.slice(usize::try_from(offset).unwrap()..);
        let pieces: Vec<_> = rest.chunks(64 << 10).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Box::pin(async move { Ok(futures_util::stream::iter(pieces).boxed() as ByteStream) })
    }
}
