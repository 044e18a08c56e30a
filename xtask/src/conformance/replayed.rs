//! What `poolwatch replay --format json` says of captures.

use std::{ffi::OsStr, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cargo;

#[derive(Clone, Debug, Default)]
pub(super) struct Replayed {
    pub(super) flows: Vec<Value>,
    pub(super) lookups: Vec<Value>,
    pub(super) summary: Option<Value>,
    /// Its complaint.
    pub(super) error: Option<String>,
}

/// Replays all of `files` in one run, and returns what was said of each, in their order.
pub(super) fn replay(sensor: &Path, config: &Path, files: &[&Path]) -> Result<Vec<Replayed>> {
    let mut command = Command::new(sensor);
    command.args(["replay", "--format", "json", "--config"]).arg(config).args(files);
    let output = command.output().with_context(|| format!("cannot start {}", sensor.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // 1: some file could not be read, which is said of that file.
    if !matches!(output.status.code(), Some(0 | 1)) {
        bail!("`{} replay` ended with {}: {said}", sensor.display(), output.status);
    }
    let mut all = sort(&String::from_utf8_lossy(&output.stdout), files)?;
    for complaint in said.lines() {
        let of = files.iter().position(|file| complaint.contains(&format!("{}: ", file.display())));
        match of {
            Some(at) => all[at].error = Some(complaint.to_owned()),
            None => bail!("`{}`: {complaint}", cargo::describe(&command)),
        }
    }
    Ok(all)
}

/// The lines of JSON, to the files that they are about.
fn sort(json: &str, files: &[&Path]) -> Result<Vec<Replayed>> {
    let mut all = vec![Replayed::default(); files.len()];
    for line in json.lines() {
        let object: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let name = object["capture"].as_str().unwrap_or_default();
        let at = files
            .iter()
            .position(|file| file.file_name() == Some(OsStr::new(name)) || *file == Path::new(name))
            .with_context(|| format!("no such capture: {line}"))?;
        match object["type"].as_str() {
            Some("flow") => all[at].flows.push(object),
            Some("lookup") => all[at].lookups.push(object),
            Some("summary") => all[at].summary = Some(object),
            _ => {}
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_goes_to_its_file_by_base_name_or_by_path() {
        let json = "{\"type\":\"flow\",\"capture\":\"one.pcap\"}\n\
                    {\"type\":\"lookup\",\"capture\":\"one.pcap\"}\n\
                    {\"type\":\"summary\",\"capture\":\"one.pcap\",\"packets\":1}\n\
                    {\"type\":\"summary\",\"capture\":\"/b/two.pcap\",\"packets\":2}\n";
        let files = ["/a/one.pcap", "/a/two.pcap", "/b/two.pcap"].map(Path::new);
        let all = sort(json, &files).unwrap();
        assert_eq!((all[0].flows.len(), all[0].lookups.len()), (1, 1));
        let packets: Vec<_> =
            all.iter().map(|one| one.summary.as_ref().map(|it| it["packets"].as_u64())).collect();
        assert_eq!(packets, [Some(Some(1)), None, Some(Some(2))]);
        assert!(sort(json, &files[1..]).is_err(), "a file that nobody asked for");
    }
}
