//! TLS settings: rustls on ring, the system's root certificates and those configured for a registry.
//!
//! HTTP/1.1 only: each transfer has a connection of its own, so that one that breaks breaks nothing else, and no
//! flow-control window is shared.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::{Keypair, RegistryConfig};
use crate::error::Error;
use crate::limit;

/// Where distributions keep the bundle of root certificates.
const ROOT_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];

/// Reads the trusted roots: `files`, or the first bundle of the system. A certificate in them that cannot be used is
/// passed over, as every TLS library does with system bundles. No bundle at all leaves nothing trusted.
pub(crate) fn system_roots(files: &[PathBuf]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if files.is_empty() {
        if let Some(bundle) = ROOT_BUNDLES.iter().map(Path::new).find(|bundle| bundle.exists()) {
            roots.add_parsable_certificates(certificates(bundle)?);
        }
        return Ok(roots);
    }
    for file in files {
        roots.add_parsable_certificates(certificates(file)?);
    }
    Ok(roots)
}

/// Returns the settings for a registry whose certificate is checked against `roots` and its own authorities.
pub(crate) fn verifying(roots: &RootCertStore, said: &RegistryConfig) -> Result<rustls::ClientConfig, Error> {
    let mut roots = roots.clone();
    for path in &said.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| refused(path, error.to_string()))?;
        }
    }
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring implements the default versions")
        .with_root_certificates(roots);
    match identity(&said.keypair)? {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key, path)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| refused(&path, error.to_string()))
        }
    }
}

/// Returns the settings for a registry whose certificate is not checked.
pub(crate) fn unchecked(said: &RegistryConfig) -> Result<rustls::ClientConfig, Error> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring implements the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(provider())));
    match identity(&said.keypair)? {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key, path)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| refused(&path, error.to_string()))
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, PathBuf);

fn identity(keypairs: &[Keypair]) -> Result<Option<Identity>, Error> {
    let [keypair] = keypairs else {
        return match keypairs.get(1) {
            None => Ok(None),
            Some(second) => {
                Err(refused(&second.cert, "a registry can have one client certificate only".into()))
            }
        };
    };
    let chain = certificates(&keypair.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&keypair.key)?)
        .map_err(|_| refused(&keypair.key, "it holds no private key in PEM form".into()))?;
    Ok(Some((chain, key, keypair.cert.clone())))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| refused(path, "it is not in PEM form".into()))?;
    if found.is_empty() {
        return Err(refused(path, "it holds no certificate in PEM form".into()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit::CERTIFICATES_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(path, error.to_string()))?;
    if bytes.len() as u64 > limit::CERTIFICATES_BYTES_MAX {
        return Err(refused(path, format!("it is longer than {} bytes", limit::CERTIFICATES_BYTES_MAX)));
    }
    Ok(bytes)
}

fn refused(path: &Path, reason: String) -> Error {
    Error::Certificates { path: path.to_owned(), reason }
}

/// Accepts any certificate, but still checks that the server holds its key: what `insecure = true` asks for.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").unwrap();
        for path in [empty, directory.path().join("missing.pem")] {
            let said = RegistryConfig { ca: vec![path.clone()], ..RegistryConfig::default() };
            let error = verifying(&RootCertStore::empty(), &said).unwrap_err();
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }
}
