//! Against Debian's registry.

use std::sync::Mutex;

use bytes::Bytes;
use kiln_oci::{Digest, MediaType};
use kiln_registry::{Client, Credential, Error, Login, RegistryConfig, TransportKind, Upload};

use crate::cutting_proxy::{self, Breaks};
use crate::real_registry::{RealRegistry, Setup};
use crate::support::{
    client_with_warnings, config, config_for, content, layer, manifest, nobody, opener, read, reference,
};

async fn push(client: &Client, name: &str, config: &Bytes, blob: &Bytes) -> Result<Digest, Error> {
    let to = reference(name);
    for bytes in [config, blob] {
        let open = opener(bytes.clone());
        client.push_blob(Upload::new(&to, &layer(bytes), &open)).await?;
    }
    client.push_manifest(&to, &MediaType::OCI_MANIFEST, manifest(config, blob)).await
}

#[tokio::test]
async fn an_image_that_was_pushed_is_pulled_back_byte_for_byte() {
    let Some(registry) = RealRegistry::start(Setup::Open) else { return };
    let (client, warnings) = client_with_warnings(config());
    let (small, large) = (Bytes::from_static(b"{}"), content(3 << 20));
    let name = format!("{}/some/app:1", registry.address);
    let digest = push(&client, &name, &small, &large).await.unwrap();

    let by_tag = client.resolve(&reference(&name)).await.unwrap();
    assert_eq!(by_tag.bytes, manifest(&small, &large));
    assert_eq!(by_tag.descriptor.digest, digest);
    assert_eq!(by_tag.descriptor.media_type, MediaType::OCI_MANIFEST);
    assert_eq!(by_tag.from, registry.address);
    let by_digest = client.resolve(&reference(&name).with_digest(digest)).await.unwrap();
    assert_eq!(by_digest, by_tag);
    assert_eq!(client.head(&reference(&name)).await.unwrap(), Some(by_tag.descriptor));
    for bytes in [&small, &large, &Bytes::new()] {
        let blob = client.blob(&reference(&name), &layer(bytes)).unwrap();
        assert_eq!(read(blob).await.unwrap(), *bytes);
    }
    assert_eq!(*warnings.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn blobs_are_found_mounted_and_listed() {
    let Some(registry) = RealRegistry::start(Setup::Open) else { return };
    let client = Client::new(config());
    let bytes = content(2 << 20);
    let name = |name: &str| reference(format!("{}/{name}", registry.address));
    let digest = Digest::of(&bytes);
    for tag in ["b", "a"] {
        push(&client, &name(&format!("one:{tag}")).to_string(), &Bytes::from_static(b"{}"), &bytes)
            .await
            .unwrap();
    }
    assert!(client.blob_exists(&name("one"), &digest).await.unwrap());
    assert!(!client.blob_exists(&name("two"), &digest).await.unwrap());
    assert!(client.mount(&name("two"), &digest, "one").await.unwrap());
    assert!(client.blob_exists(&name("two"), &digest).await.unwrap());
    assert!(!client.mount(&name("two"), &Digest::of(b"nowhere"), "one").await.unwrap());
    assert_eq!(client.tags(&name("one")).await.unwrap(), ["a", "b"]);
    assert_eq!(client.head(&name("one:none")).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_registry_s_words() {
    let Some(registry) = RealRegistry::start(Setup::Open) else { return };
    let client = Client::new(config());
    let error = client.resolve(&reference(format!("{}/a/b:c", registry.address))).await.unwrap_err();
    assert!(error.is_not_found());
    let address = &registry.address;
    let expected = format!(
        "registry `{address}` answered 404 Not Found for `{address}/a/b:c`: MANIFEST_UNKNOWN: manifest unknown"
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_password_opens_a_registry_and_a_wrong_one_does_not() {
    let Some(registry) = RealRegistry::start(Setup::Password) else { return };
    let name = reference(format!("{}/app:1", registry.address));
    let anonymous = Client::new(config()).resolve(&name).await.unwrap_err();
    assert!(matches!(&anonymous, Error::Unauthorized { with_credentials: false, .. }), "{anonymous}");

    let client = Client::new(config());
    let wrong = client.check_login(&registry.address, Credential::password("kiln", "canary-wrong")).await;
    let wrong = wrong.unwrap_err();
    assert!(matches!(&wrong, Error::Unauthorized { with_credentials: true, .. }), "{wrong}");
    for error in [&anonymous, &wrong] {
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }

    let right = Credential::password("kiln", "canary-password");
    assert_eq!(client.check_login(&registry.address, right.clone()).await.unwrap(), (Login::Accepted, right));
    let digest =
        push(&client, &name.to_string(), &Bytes::from_static(b"{}"), &content(2 << 20)).await.unwrap();
    assert_eq!(client.resolve(&name).await.unwrap().descriptor.digest, digest);
    assert!(!format!("{client:?}").contains("canary"));
}

#[tokio::test]
async fn certificates_are_checked_against_the_configured_authority() {
    let Some(registry) = RealRegistry::start(Setup::Tls) else { return };
    let ca = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls/ca.pem").into()];
    let table = RegistryConfig::default;
    for (table, is_trusted) in [
        (RegistryConfig { ca, ..table() }, true),
        (RegistryConfig { insecure: true, ..table() }, true),
        // Loopback is this machine.
        (table(), true),
        (RegistryConfig { http: Some(false), ..table() }, false),
    ] {
        let client = Client::new(config_for(&registry.address, table.clone()));
        match client.ping(&registry.address).await {
            Ok(login) => assert!(is_trusted && login == Login::NotAsked, "{table:?}"),
            Err(Error::Transport { source, .. }) => {
                assert!(!is_trusted && source.kind == TransportKind::Tls, "{table:?}: {source}");
            }
            Err(other) => panic!("{table:?}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_mirror_serves_and_the_registry_stands_in_for_a_dead_one() {
    let Some(upstream) = RealRegistry::start(Setup::Open) else { return };
    let bytes = content(2 << 20);
    let name = format!("{}/app:1", upstream.address);
    push(&Client::new(config()), &name, &Bytes::from_static(b"{}"), &bytes).await.unwrap();
    let (_held, dead) = nobody();
    let mirrors = vec![dead.clone()];
    let table = RegistryConfig { mirrors, ..RegistryConfig::default() };
    let (client, warnings) = client_with_warnings(config_for(&upstream.address, table));
    let resolved = client.resolve(&reference(&name)).await.unwrap();
    assert_eq!(resolved.from, upstream.address);
    assert_eq!(read(client.blob(&reference(&name), &layer(&bytes)).unwrap()).await.unwrap(), bytes);
    // Once told, once passed over: it is not asked again.
    let warnings = warnings.lock().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with(&format!("mirror `{dead}` of `{}` is passed over", upstream.address)));
}

#[tokio::test]
async fn broken_transfers_to_and_from_a_real_registry_end_well() {
    let Some(registry) = RealRegistry::start(Setup::Open) else { return };
    let bytes = content(8 << 20);
    let breaks = Breaks { up_after: 5 << 20, down_after: 3 << 20 };
    let proxy = cutting_proxy::start(&registry.address, breaks);
    let (client, warnings) = client_with_warnings(config());
    let to = reference(format!("{proxy}/app"));
    let (offsets, inner) = (Mutex::new(Vec::new()), opener(bytes.clone()));
    let open = |offset| {
        offsets.lock().unwrap().push(offset);
        inner(offset)
    };
    let blob = layer(&bytes);
    let upload = Upload::new(&to, &blob, &open);
    client.push_blob(upload).await.unwrap();
    // This registry forgets a session that broke; see `session.rs`.
    assert_eq!(offsets.into_inner().unwrap(), [0, 0]);
    assert_eq!(warnings.lock().unwrap().len(), 1);
    assert_eq!(read(client.blob(&to, &layer(&bytes)).unwrap()).await.unwrap(), bytes);
    assert_eq!(warnings.lock().unwrap().len(), 2);
}
