//! Certificates and private keys in PEM. No error quotes what was read: it may be a key.

use anyhow::{Result, anyhow, ensure};
use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a text, at least one.
///
/// # Errors
/// When there is none, or the text is no PEM.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| damaged(&error))?;
    ensure!(!certificates.is_empty(), "it holds no certificate in PEM");
    Ok(certificates)
}

/// The first private key of a text.
///
/// # Errors
/// When there is none, or the text is no PEM.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        Error::NoItemsFound if is_encrypted(pem) => {
            anyhow!("the key is encrypted; `openssl pkey -in KEY -out NEW` asks for its password and writes it open")
        }
        Error::NoItemsFound => anyhow!("it holds no private key in PEM"),
        error => damaged(&error),
    })
}

/// PKCS #8 names it so; the older form says it in a header.
fn is_encrypted(pem: &[u8]) -> bool {
    let holds = |mark: &[u8]| pem.windows(mark.len()).any(|window| window == mark);
    holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED")
}

fn damaged(error: &Error) -> anyhow::Error {
    match error {
        Error::MissingSectionEnd { .. } => anyhow!("it is PEM that breaks off: a section does not end"),
        Error::Base64Decode(_) => anyhow!("it is damaged PEM: not all of it is base64"),
        _ => anyhow!("it is damaged PEM"),
    }
}
