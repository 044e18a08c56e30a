//! Which clients may connect, by their certificates: Go's five policies, which the toolkit names, and
//! the names that a certificate must carry one of.
//!
//! Who holds the key of a certificate is always verified; who signed it where the policy says so.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// What is asked of clients. None of it: no certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    None,
    /// One is asked for, and any will do.
    Request,
    /// Any, but one there must be.
    RequireAny,
    /// None will do, but one that is shown must be signed by the CA.
    VerifyIfGiven,
    RequireAndVerify,
}

impl Policy {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "NoClientCert" => Self::None,
            "RequestClientCert" => Self::Request,
            // The second is an older name of it.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAny,
            "VerifyClientCertIfGiven" => Self::VerifyIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerify,
            _ => return None,
        })
    }

    pub fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }

    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// What a client must show to be let in, the strictest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Demand {
    #[default]
    Nothing,
    /// A certificate, whoever signed it.
    AnyCertificate,
    /// One that the CA signed.
    Certificate,
    /// One of certain names.
    Name,
}

/// Verifies what clients show.
#[derive(Debug)]
pub(super) struct Clients {
    policy: Policy,
    /// Who must have signed it, where the policy verifies that.
    signers: Option<Arc<dyn ClientCertVerifier>>,
    /// Names of the CA's certificates, by which a client finds the one of its own to show.
    hints: Vec<DistinguishedName>,
    /// The certificate must carry one of these.
    allowed: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    /// # Errors
    /// When a certificate of `ca` can sign none, or the policy verifies and there is no `ca`.
    pub fn new(
        policy: Policy,
        ca: Vec<CertificateDer<'static>>,
        allowed: Option<Vec<String>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for (certificate, number) in ca.into_iter().zip(1..) {
            roots.add(certificate).map_err(|error| anyhow!("certificate {number} of it: {error}"))?;
        }
        let hints = roots.subjects();
        let verifier = |roots: RootCertStore| {
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider)).build()
        };
        let signers = policy.verifies().then(|| verifier(roots)).transpose()?;
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { policy, signers, hints, allowed, algorithms })
    }

    pub fn demand(&self) -> Demand {
        match self.policy {
            Policy::RequireAny => Demand::AnyCertificate,
            Policy::RequireAndVerify if self.allowed.is_some() => Demand::Name,
            Policy::RequireAndVerify => Demand::Certificate,
            Policy::None | Policy::Request | Policy::VerifyIfGiven => Demand::Nothing,
        }
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.policy.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(signers) = &self.signers {
            signers.verify_client_cert(end_entity, intermediates, now)?;
        }
        match &self.allowed {
            Some(allowed) if !carries_one_of(end_entity, allowed)? => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Is one of the certificate's alternative names (RFC 5280, 4.2.1.6) exactly one of these?
fn carries_one_of(certificate: &CertificateDer<'_>, allowed: &[String]) -> Result<bool, Error> {
    let malformed = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let certificate = Certificate::from_der(certificate).map_err(malformed)?;
    let extension = certificate.tbs_certificate().get_extension::<SubjectAltName>().map_err(malformed)?;
    let names = extension.map_or_else(Vec::new, |(_, names)| names.0);
    Ok(names.iter().any(|name| allowed.iter().any(|allowed| is(name, allowed))))
}

fn is(name: &GeneralName, allowed: &str) -> bool {
    match name {
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => name.as_str() == allowed,
        GeneralName::IpAddress(bytes) => {
            address(bytes.as_bytes()).is_some_and(|address| allowed.parse() == Ok(address))
        }
        _ => false,
    }
}

/// Four bytes or sixteen.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
