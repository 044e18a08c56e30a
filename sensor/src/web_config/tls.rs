//! `tls_server_config`, as rustls does it: TLS 1.2 and 1.3, with ring's cryptography.

use std::sync::Arc;

use anyhow::Result;
use rustls::crypto::ring::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoClientAuth, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, InconsistentKeys, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use serde_saphyr::Spanned;

use super::Place;
use super::clients::{Clients, Demand, Policy};
use super::pem;
use super::written::{Text, Tls, given};
use crate::config::{quote, read_small};

const SECTION: &str = "tls_server_config";

/// Cryptography of our TLS, as server and as client.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// `line`: where the section begins.
pub(super) fn server_config(
    place: &Place<'_>,
    written: &Tls,
    line: u64,
    notes: &mut Vec<String>,
) -> Result<(Arc<ServerConfig>, Demand)> {
    let section = Section { place, written, line };
    let provider = Arc::new(CryptoProvider {
        cipher_suites: section.cipher_suites()?,
        kx_groups: section.curves()?,
        ..default_provider()
    });
    let versions = section.versions()?;
    let clients = section.clients(&provider, notes)?;
    let key = section.certified_key(&provider)?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    // No other reason is left: there are versions, and curves.
    let builder = builder.map_err(|_| {
        let line = written.cipher_suites.iter().flatten().next().map_or(line, |suite| suite.defined.line());
        section.error(line, "cipher_suites", "none of these is of a version that is spoken")
    })?;
    let demand = clients.as_ref().map_or(Demand::Nothing, Clients::demand);
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
        None => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.ignore_client_order = written.prefer_server_cipher_suites.unwrap_or(true);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Nothing is kept of a client: who wants to come back shows its certificate again, to the CA of then.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), demand))
}

struct Section<'a> {
    place: &'a Place<'a>,
    written: &'a Tls,
    line: u64,
}

/// A PEM text, and where it was given.
struct Pem {
    bytes: Vec<u8>,
    line: u64,
    key: &'static str,
    /// The file's path with a colon; empty for one that was given inline.
    path: String,
}

impl Section<'_> {
    fn error(&self, line: u64, key: &str, message: impl std::fmt::Display) -> anyhow::Error {
        self.place.error(line, &format!("{SECTION}.{key}"), message)
    }

    fn of_pem(&self, pem: &Pem, message: impl std::fmt::Display) -> anyhow::Error {
        self.error(pem.line, pem.key, format!("{}{message}", pem.path))
    }

    /// What is given inline or as a file, and not both.
    fn pem(&self, inline: (&'static str, &Text), file: (&'static str, &Text)) -> Result<Option<Pem>> {
        match (given(inline.1), given(file.1)) {
            (None, None) => Ok(None),
            (Some(_), Some(path)) => {
                let message = format!("{} is given as well, and one of them is enough", inline.0);
                Err(self.error(path.defined.line(), file.0, message))
            }
            (Some(text), None) => Ok(Some(Pem {
                bytes: text.value.clone().into_bytes(),
                line: text.defined.line(),
                key: inline.0,
                path: String::new(),
            })),
            (None, Some(path)) => {
                let line = path.defined.line();
                let resolved = self.place.resolve(&path.value);
                let text =
                    read_small(&resolved).map_err(|error| self.error(line, file.0, format!("{error:#}")))?;
                let (bytes, path) = (text.into_bytes(), format!("{}: ", resolved.display()));
                Ok(Some(Pem { bytes, line, key: file.0, path }))
            }
        }
    }

    fn certified_key(&self, provider: &CryptoProvider) -> Result<CertifiedKey> {
        let written = self.written;
        let missing = |what: &str| {
            let message = format!("TLS takes {what} or {what}_file; without TLS, leave the section out");
            self.place.error(self.line, SECTION, message)
        };
        let certificate = self.pem(("cert", &written.cert), ("cert_file", &written.cert_file))?;
        let certificate = certificate.ok_or_else(|| missing("cert"))?;
        let key = self.pem(("key", &written.key), ("key_file", &written.key_file))?;
        let key = key.ok_or_else(|| missing("key"))?;
        let chain = self.certificates(&certificate)?;
        let der = pem::private_key(&key.bytes).map_err(|error| self.of_pem(&key, error))?;
        CertifiedKey::from_der(chain, der, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                self.of_pem(&key, format!("it is not the key of the certificate in {}", certificate.key))
            }
            rustls::Error::InvalidCertificate(_) => self.of_pem(&certificate, error),
            error => self.of_pem(&key, format!("this key cannot be used ({error})")),
        })
    }

    fn certificates(&self, pem: &Pem) -> Result<Vec<CertificateDer<'static>>> {
        pem::certificates(&pem.bytes).map_err(|error| self.of_pem(pem, error))
    }

    /// Who may connect; `None`: whoever wants to.
    fn clients(&self, provider: &Arc<CryptoProvider>, notes: &mut Vec<String>) -> Result<Option<Clients>> {
        const AUTH: &str = "client_auth_type";
        let written = self.written;
        let ca = self.pem(("client_ca", &written.client_ca), ("client_ca_file", &written.client_ca_file))?;
        let (policy, line) = match &written.client_auth_type {
            None => (Policy::None, self.line),
            Some(name) => {
                let line = name.defined.line();
                let unknown = || {
                    let message = "NoClientCert, RequestClientCert, RequireAnyClientCert, \
                                   VerifyClientCertIfGiven or RequireAndVerifyClientCert";
                    self.error(line, AUTH, format!("{} is not {message}", quote(&name.value)))
                };
                (Policy::named(&name.value).ok_or_else(unknown)?, line)
            }
        };
        if let (Policy::None, Some(ca)) = (policy, &ca) {
            let message =
                "no client is asked for a certificate: client_auth_type: RequireAndVerifyClientCert does";
            return Err(self.error(ca.line, ca.key, message));
        }
        let allowed = self.allowed_names(policy)?;
        if policy == Policy::None {
            return Ok(None);
        }
        if policy.verifies() && ca.is_none() {
            let message = "it takes client_ca_file: the system's CAs are not asked, since whoever has a \
                           certificate of one of them would be let in";
            return Err(self.error(line, AUTH, message));
        }
        if !policy.verifies() {
            let what = "it is not verified who signed a client's certificate, which anyone can make: \
                        RequireAndVerifyClientCert does";
            notes.push(format!("{}:{line}: {SECTION}.{AUTH}: {what}", self.place));
        }
        let roots = ca.as_ref().map(|ca| self.certificates(ca)).transpose()?.unwrap_or_default();
        let clients = Clients::new(policy, roots, allowed, provider);
        clients.map(Some).map_err(|error| match &ca {
            Some(ca) => self.of_pem(ca, error),
            None => self.error(line, AUTH, error),
        })
    }

    fn allowed_names(&self, policy: Policy) -> Result<Option<Vec<String>>> {
        const KEY: &str = "client_allowed_sans";
        let Some(names) = &self.written.client_allowed_sans else { return Ok(None) };
        let line = names.defined.line();
        if names.value.is_empty() {
            return Err(self.error(
                line,
                KEY,
                "an empty list lets nobody in: name somebody, or leave it out",
            ));
        }
        if !policy.requires() {
            let message = "a client need not show a certificate: client_auth_type: \
                           RequireAndVerifyClientCert makes it";
            return Err(self.error(line, KEY, message));
        }
        Ok(Some(names.value.iter().map(|name| name.value.clone()).collect()))
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>> {
        let version = |key: &str, text: &Text, default: u16| match text {
            None => Ok(default),
            Some(text) => match text.value.as_str() {
                "TLS12" => Ok(12),
                "TLS13" => Ok(13),
                "TLS10" | "TLS11" => Err(self.error(
                    text.defined.line(),
                    key,
                    format!("{} is not spoken, being broken (RFC 8996): TLS12 or TLS13", text.value),
                )),
                other => Err(self.error(
                    text.defined.line(),
                    key,
                    format!("{} is no version of TLS: TLS12 or TLS13", quote(other)),
                )),
            },
        };
        let written = self.written;
        let min = version("min_version", &written.min_version, 12)?;
        let max = version("max_version", &written.max_version, 13)?;
        if min > max {
            let line = given(&written.max_version).map_or(self.line, |text| text.defined.line());
            return Err(self.error(line, "max_version", "it is below min_version, so that none is left"));
        }
        let versions = [(12, &TLS12), (13, &TLS13)].into_iter();
        Ok(versions.filter(|(number, _)| (min..=max).contains(number)).map(|(_, version)| version).collect())
    }

    /// Those of TLS 1.2 that are named, in that order; none being named, all. Those of TLS 1.3 are not
    /// for choosing, in Go either.
    fn cipher_suites(&self) -> Result<Vec<SupportedCipherSuite>> {
        let all = default_provider().cipher_suites;
        let named = match self.written.cipher_suites.as_deref() {
            None | Some([]) => return Ok(all),
            Some(named) => named,
        };
        let mut suites: Vec<_> = all.iter().copied().filter(|suite| suite.tls13().is_some()).collect();
        for name in named {
            let suite = all.iter().find(|suite| go_name(suite.suite()).as_deref() == Some(&name.value));
            let suite = suite.ok_or_else(|| self.unknown(name, "cipher_suites", &all))?;
            if !suites.contains(suite) {
                suites.push(*suite);
            }
        }
        Ok(suites)
    }

    fn unknown(&self, name: &Spanned<String>, key: &str, all: &[SupportedCipherSuite]) -> anyhow::Error {
        let why = if name.value.contains("_CBC_") || name.value.contains("_RC4_") {
            "is not spoken, being weak"
        } else {
            "is no cipher suite that is spoken"
        };
        let names: Vec<_> = all.iter().filter_map(|suite| go_name(suite.suite())).collect();
        let message = format!("{} {why}: there are {}", quote(&name.value), names.join(", "));
        self.error(name.defined.line(), key, message)
    }

    fn curves(&self) -> Result<Vec<&'static dyn SupportedKxGroup>> {
        const CURVES: [(&str, &dyn SupportedKxGroup); 3] = [
            ("X25519", kx_group::X25519),
            ("CurveP256", kx_group::SECP256R1),
            ("CurveP384", kx_group::SECP384R1),
        ];
        let named = self.written.curve_preferences.as_deref().unwrap_or_default();
        if named.is_empty() {
            return Ok(CURVES.map(|(_, group)| group).to_vec());
        }
        let group = |name: &Spanned<String>| {
            let found = CURVES.iter().find(|(curve, _)| *curve == name.value).map(|(_, group)| *group);
            found.ok_or_else(|| {
                let all = CURVES.map(|(curve, _)| curve).join(", ");
                let message = format!("{} is no curve that is spoken: there are {all}", quote(&name.value));
                self.error(name.defined.line(), "curve_preferences", message)
            })
        };
        named.iter().map(group).collect()
    }
}

/// rustls calls those of TLS 1.3 by another name than the RFC and Go.
fn go_name(suite: CipherSuite) -> Option<String> {
    suite.as_str().map(|name| name.replace("TLS13_", "TLS_"))
}
