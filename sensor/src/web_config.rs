//! The web config: Prometheus' exporter-toolkit file that says how HTTP is secured, by TLS, client
//! certificates, passwords, a rate limit, and what headers answers carry.
//! <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>
//!
//! What it says and poolwatch does not do is an error, not a weaker server. Its files are read here and
//! nowhere else, all of them before any of it takes effect.

mod clients;
mod headers;
mod pem;
mod rate;
mod tls;
mod users;
mod written;

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use axum::http::HeaderMap;

use clients::Demand;
pub(crate) use pem::certificates;
pub use rate::Rate;
pub(crate) use tls::provider;
pub use users::{COST_MAX, Users};

use crate::config::{Config, read_small};
use written::Written;

/// How HTTP is secured; by default not at all.
#[derive(Default)]
pub struct Web {
    /// None: plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What TLS asks of clients.
    demand: Demand,
    /// What every answer carries.
    pub headers: HeaderMap,
    /// Who is answered; without any user, everybody.
    pub users: Users,
    pub rate: Option<Rate>,
    /// What is taken otherwise than one may think.
    pub notes: Vec<String>,
}

impl Web {
    /// What the config's web config says, with everything that it names.
    ///
    /// # Errors
    /// When it or a file that it names cannot be read, or says what cannot be done: with file, line
    /// and key.
    pub fn load(config: &Config) -> Result<Self> {
        let path = &config.http.web_config;
        if path.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        Self::read(path).map_err(|error| of_config(config, &error))
    }

    /// What the web config in this file says.
    ///
    /// # Errors
    /// As [`Web::load`], without the line of the config that names it.
    pub fn read(path: &Path) -> Result<Self> {
        let (place, written) = (Place { path }, Written::parse(path, &read_small(path)?)?);
        let mut notes = Vec::new();
        let tls = written.tls_server_config.as_ref();
        let tls = tls
            .map(|tls| tls::server_config(&place, &tls.value, tls.defined.line(), &mut notes))
            .transpose()?;
        let (tls, demand) = tls.map_or((None, Demand::Nothing), |(tls, demand)| (Some(tls), demand));
        let http = written.http_server_config.map(|http| http.value).unwrap_or_default();
        if http.http2 == Some(true) {
            notes.push(format!("{place}: http_server_config.http2: answers are HTTP/1.1 all the same"));
        }
        let headers = headers::headers(&place, http.headers.unwrap_or_default())?;
        let users =
            Users::new(&place, written.basic_auth_users.map(|users| users.value).unwrap_or_default())?;
        let rate = written.rate_limit.map(|limit| Rate::new(&place, &limit.value)).transpose()?.flatten();
        let mut web = Self { tls, demand, headers, users, rate, notes };
        if web.secures_nothing() {
            web.notes
                .push(format!("{place}: neither TLS nor passwords: whoever reaches the port is answered"));
        } else if web.tls.is_none() {
            web.notes.push(format!("{place}: without TLS, passwords can be read on the way"));
        }
        Ok(web)
    }

    /// Is everybody answered, and may everybody listen?
    pub fn secures_nothing(&self) -> bool {
        self.tls.is_none() && self.users.is_empty()
    }

    /// Would strangers be answered who are not by `before`, or could they listen, who cannot?
    pub fn opens(&self, before: &Self) -> bool {
        // A password is worth a certificate of our CA, whatever name that carries.
        let keeps_out = |web: &Self| {
            if web.users.is_empty() { web.demand.min(Demand::Certificate) } else { Demand::Certificate }
        };
        self.tls.is_none() && before.tls.is_some() || keeps_out(self) < keeps_out(before)
    }

    /// What of it holds, in words.
    pub fn secured_by(&self) -> String {
        let clients = match self.demand {
            Demand::Nothing => None,
            Demand::AnyCertificate => Some("any client's certificate"),
            Demand::Certificate => Some("a client's certificate"),
            Demand::Name => Some("a named client's certificate"),
        };
        let holds =
            [self.tls.as_ref().map(|_| "TLS"), clients, (!self.users.is_empty()).then_some("passwords")];
        let holds: Vec<&str> = holds.into_iter().flatten().collect();
        if holds.is_empty() { "nothing".to_owned() } else { holds.join(", ") }
    }

    /// Does it ask for less than the other: no TLS, no passwords, less of a client?
    pub fn is_weaker_than(&self, other: &Self) -> bool {
        self.tls.is_none() && other.tls.is_some()
            || self.users.is_empty() && !other.users.is_empty()
            || self.demand < other.demand
    }

    /// Its notes, to the log.
    pub fn report(&self) {
        for note in &self.notes {
            tracing::info!("{note}");
        }
    }
}

/// The web config and every file that it names, as far as it can be read.
pub fn files(config: &Config) -> Vec<PathBuf> {
    let path = &config.http.web_config;
    if path.as_os_str().is_empty() {
        return Vec::new();
    }
    let place = Place { path };
    let mut files = vec![path.clone()];
    if let Ok(Written { tls_server_config: Some(tls), .. }) = written(path) {
        files.extend(tls.value.files().map(|file| place.resolve(file)));
    }
    files
}

/// Does a daemon with this config speak TLS? Neither certificates nor keys are read.
///
/// # Errors
/// When the web config cannot be read, or is none.
pub fn has_tls(config: &Config) -> Result<bool> {
    let path = &config.http.web_config;
    if path.as_os_str().is_empty() {
        return Ok(false);
    }
    let written = written(path).map_err(|error| of_config(config, &error))?;
    Ok(written.tls_server_config.is_some())
}

fn written(path: &Path) -> Result<Written> {
    Written::parse(path, &read_small(path)?)
}

fn of_config(config: &Config, error: &anyhow::Error) -> anyhow::Error {
    config.document.error_at_key("http.web_config", format!("{error:#}"))
}

/// Where a web config lies: for its errors, and for the paths in it.
struct Place<'a> {
    path: &'a Path,
}

impl Place<'_> {
    /// `file:line: key: message`
    fn error(&self, line: u64, key: &str, message: impl Display) -> anyhow::Error {
        anyhow!("{self}:{line}: {key}: {message}")
    }

    fn resolve(&self, file: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

#[cfg(test)]
mod tests;
