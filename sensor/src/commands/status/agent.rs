//! How `status` asks: over plain HTTP or TLS, with a name and password or without. Its options are
//! called what they are called in Prometheus' scrape config, and mean the same.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::cli::StatusArgs;
use crate::config::read_small;
use crate::web_config::{certificates, provider};

/// A healthy daemon answers at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than this is no answer of ours.
const ANSWER_MAX_BYTES: u64 = 16 << 20;

/// Asks one daemon.
pub(super) struct Agent {
    client: ureq::Agent,
    address: SocketAddr,
    /// `scheme://host:port`
    base: String,
    authorization: Option<String>,
}

impl Agent {
    /// # Errors
    /// When a file that the options name cannot be read or is not what it should be, or TLS is spoken
    /// and no CA is named.
    pub fn new(address: SocketAddr, tls: bool, options: &StatusArgs) -> Result<Self> {
        let builder = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0);
        let builder = if tls { builder.tls_config(tls_config(options)?) } else { builder };
        let client = ureq::Agent::with_parts(builder.build(), DefaultConnector::new(), Fixed(address));
        let host = match &options.server_name {
            Some(name) => format!("{name}:{}", address.port()),
            None => address.to_string(),
        };
        let base = format!("{}://{host}", if tls { "https" } else { "http" });
        Ok(Self { client, address, base, authorization: authorization(options)? })
    }

    /// Status and body of an answer.
    ///
    /// # Errors
    /// When nothing answers, or it does not let us in.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut answer = request.call().map_err(|error| self.unanswered(error))?;
        match answer.status().as_u16() {
            401 if self.authorization.is_none() => {
                bail!("{} wants a name and a password: --username and --password-file", self.base)
            }
            401 => bail!("{} does not know this name with this password", self.base),
            429 => bail!("{} is asked more often than its rate_limit allows", self.base),
            _ => {}
        }
        let text = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_string();
        Ok((answer.status().as_u16(), text.with_context(|| format!("{}{path}", self.base))?))
    }

    fn unanswered(&self, error: ureq::Error) -> anyhow::Error {
        let address = self.address;
        let context = match &error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => format!("{}: TLS", self.base),
            ureq::Error::Io(error) if is_of_tls(error) => format!("{}: TLS", self.base),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!("no daemon answers at {address} (is it running?)")
            }
            _ if self.base.starts_with("https") => {
                format!("no daemon answers at {address} (does it speak TLS?)")
            }
            _ => format!("no daemon answers at {address} (is it running? if it speaks TLS: --ca-file)"),
        };
        anyhow!(error).context(context)
    }
}

fn is_of_tls(error: &std::io::Error) -> bool {
    error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()).is_some()
}

/// Whatever the host is called, it is this address: no name is resolved.
#[derive(Debug)]
struct Fixed(SocketAddr);

impl Resolver for Fixed {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

fn tls_config(options: &StatusArgs) -> Result<TlsConfig> {
    let Some(ca) = &options.ca_file else {
        bail!("the daemon speaks TLS: --ca-file FILE says who signed its certificate");
    };
    let roots = RootCerts::new_with_certs(&read_certificates(ca).context("--ca-file")?);
    let shown = match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => {
            let chain = read_certificates(cert).context("--cert-file")?;
            Some(ClientCert::new_with_certs(&chain, read_key(key).context("--key-file")?))
        }
        _ => None,
    };
    let builder = TlsConfig::builder().root_certs(roots).client_cert(shown);
    Ok(builder.unversioned_rustls_crypto_provider(provider()).build())
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let text = read_small(path)?;
    let found = certificates(text.as_bytes()).with_context(|| path.display().to_string())?;
    Ok(found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

fn read_key(path: &Path) -> Result<PrivateKey<'static>> {
    PrivateKey::from_pem(read_small(path)?.as_bytes()).with_context(|| path.display().to_string())
}

/// White space around a password is an editor's, as Prometheus takes it.
fn authorization(options: &StatusArgs) -> Result<Option<String>> {
    let (Some(name), Some(path)) = (&options.username, &options.password_file) else { return Ok(None) };
    let password = read_small(path).context("--password-file")?;
    Ok(Some(format!("Basic {}", STANDARD.encode(format!("{name}:{}", password.trim())))))
}
