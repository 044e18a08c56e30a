//! TCP from the near end of a pair to the far one, as fast as it goes, by iperf3.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::namespace::Namespace;

/// Where [`Namespace::pair`] has its far end.
const FAR: &str = "10.77.0.2";
/// No run is anywhere near as long.
const TIMEOUT_SECONDS: &str = "60";
const INSTALL: &str = "iperf3: it is in Debian's package iperf3";

/// A server, until it is dropped.
pub struct Server(Child);

/// How one run went.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub gbit_a_second: f64,
    /// Of payload.
    pub bytes: u64,
}

impl Server {
    pub fn start(far: &Namespace) -> Result<Self> {
        let mut command = far.command("iperf3");
        command.args(["--server", "--forceflush", "--bind", FAR]).stdout(Stdio::piped());
        let mut server = Self(command.spawn().context(INSTALL)?);
        let said = BufReader::new(server.0.stdout.take().context("iperf3's output")?);
        // It says so in its second line, and says nothing more where it cannot listen. That nobody
        // reads what it says later is nothing to it: it ignores SIGPIPE.
        let listens = said.lines().map_while(Result::ok).any(|line| line.starts_with("Server listening"));
        ensure!(listens, "iperf3 does not listen in {}", far.name);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends for as long, or as much, as iperf3's arguments say.
pub fn send(near: &Namespace, how_long: &[&str]) -> Result<Transfer> {
    let mut command = near.command("timeout");
    command
        .args([TIMEOUT_SECONDS, "iperf3", "--client", FAR, "--json", "--connect-timeout", "5000"])
        .args(how_long);
    let output = command.output().context(INSTALL)?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("iperf3 ({}) wrote no JSON; {INSTALL}", output.status))?;
    ensure!(output.status.success(), "iperf3: {}: {}", output.status, said["error"]);
    let rate = said["end"]["sum_received"]["bits_per_second"].as_f64();
    let bytes = said["end"]["sum_received"]["bytes"].as_u64();
    Ok(Transfer {
        gbit_a_second: rate.context("iperf3 says no rate")? / 1e9,
        bytes: bytes.context("iperf3 says no bytes")?,
    })
}
