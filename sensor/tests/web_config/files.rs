//! A folder with certificates, made by openssl, and a web config.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use sensor::web_config::Web;
use tempfile::TempDir;

use crate::tools::OPENSSL;

/// What the server's certificate is for.
pub const HOST: &str = "poolwatch.test";

/// TLS with the certificate that [`Files::new`] makes.
pub const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

pub struct Files(TempDir);

impl Files {
    /// With a CA, `ca`, and a certificate of it, `server`.
    pub fn new() -> Self {
        let files = Self(TempDir::new().expect("a temporary directory"));
        files.authority("ca");
        files.certificate("server", "ca", &format!("DNS:{HOST},IP:127.0.0.1"));
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        utf8(&self.path(name)).to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// NAME.crt and NAME.key, which sign others.
    pub fn authority(&self, name: &str) {
        let (key, certificate) = (self.text(&format!("{name}.key")), self.text(&format!("{name}.crt")));
        let subject = format!("/CN={name}");
        let arguments = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let more = ["-days", "2", "-subj", &subject, "-keyout", &key, "-out", &certificate];
        OPENSSL.approve(&[&arguments[..], &more].concat());
    }

    /// NAME.crt and NAME.key, signed by `authority`, with these alternative names.
    pub fn certificate(&self, name: &str, authority: &str, names: &str) {
        let [key, request, certificate] =
            ["key", "csr", "crt"].map(|kind| self.text(&format!("{name}.{kind}")));
        let (subject, names) = (format!("/CN={name}"), format!("subjectAltName={names}"));
        let arguments = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let more = ["-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &request];
        OPENSSL.approve(&[&arguments[..], &more].concat());
        let signer = ["crt", "key"].map(|kind| self.text(&format!("{authority}.{kind}")));
        let arguments = ["x509", "-req", "-in", &request, "-CA", &signer[0], "-CAkey", &signer[1]];
        let more = ["-days", "2", "-copy_extensions", "copyall", "-out", &certificate];
        OPENSSL.approve(&[&arguments[..], &more].concat());
    }

    /// A web config with this text, read.
    pub fn web(&self, text: &str) -> Web {
        let read = Web::read(&self.write("web.yml", text));
        read.unwrap_or_else(|error| panic!("{text}: {error:#}"))
    }

    /// What is said of a web config with this text, DIR standing for the folder.
    pub fn refusal(&self, text: &str) -> String {
        let read = Web::read(&self.write("web.yml", text));
        let error = read.err().unwrap_or_else(|| panic!("no fault was found in {text}"));
        format!("{error:#}").replace(utf8(self.0.path()), "DIR")
    }
}

pub fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
