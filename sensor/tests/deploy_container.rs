//! The Dockerfile and the Kubernetes manifest of deploy/, held against what the unit grants, what the daemon
//! serves and what the config accepts.
//!
//! Not here: whether a cluster runs it.

mod deploy;
mod tools;

use sensor::cli::{Cli, Command};
use sensor::config::Config;
use serde_json::{Value, json};
use tools::KUBECTL;

use clap::Parser as _;

const UNIT: &str = "systemd/poolwatch.service";
const MANIFEST: &str = "kubernetes/poolwatch.yaml";
const DOCKERFILE: &str = "container/Dockerfile";

/// The document of this kind in the manifest.
fn object(kind: &str) -> Value {
    object_in(&deploy::text(MANIFEST), kind)
}

fn object_in(manifest: &str, kind: &str) -> Value {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(manifest).unwrap_or_else(|error| panic!("{error}"));
    let mut of_kind = documents.into_iter().filter(|document| document["kind"] == kind);
    let found = of_kind.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(of_kind.next().is_none(), "more than one {kind}");
    found
}

fn container() -> Value {
    object("DaemonSet")["spec"]["template"]["spec"]["containers"][0].take()
}

/// As Docker and Kubernetes name them, without `CAP_`.
fn capabilities_of_the_unit() -> Vec<String> {
    let unit = deploy::text(UNIT);
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a set");
    line.split(' ').map(|name| name.trim_start_matches("CAP_").to_owned()).collect()
}

#[test]
fn a_pod_has_the_capabilities_of_the_unit_and_no_other() {
    let security = &container()["securityContext"];
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    let added: Vec<String> =
        serde_json::from_value(security["capabilities"]["add"].clone()).expect("a list of names");
    assert_eq!(added, capabilities_of_the_unit());
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_ne!(security["privileged"], true);
}

#[test]
fn the_example_of_docker_adds_the_same_capabilities() {
    let text = deploy::text(DOCKERFILE);
    let mut added: Vec<&str> =
        text.split("--cap-add ").skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
    added.sort_unstable();
    let mut wanted = capabilities_of_the_unit();
    wanted.sort();
    assert_eq!(added, wanted);
    assert!(text.contains("--cap-drop ALL"));
}

#[test]
fn a_pod_sees_the_nodes_interfaces_and_its_bpffs_where_the_config_has_the_pins() {
    let pod = &object("DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    let mounted = container()["volumeMounts"][0]["mountPath"].as_str().expect("a path").to_owned();
    assert_eq!(pod["volumes"][0]["hostPath"]["path"], mounted.as_str());
    assert!(config().state.pins.starts_with(&mounted), "{mounted}");
}

/// What the pods are configured with.
fn config() -> Config {
    config_of(object("ConfigMap")["data"]["poolwatch.toml"].as_str().expect("a config"))
}

fn config_of(text: &str) -> Config {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("poolwatch.toml");
    std::fs::write(&path, text).expect("a config");
    Config::load(Some(&path)).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn probes_and_port_are_those_that_the_daemon_serves() {
    let container = container();
    assert_eq!(container["ports"][0]["containerPort"], config().http.listen.port());
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
    }
}

#[test]
fn what_container_and_pod_start_is_a_command_line_of_ours() {
    let arguments: Vec<String> = serde_json::from_value(container()["args"].clone()).expect("a list");
    let line = std::iter::once("poolwatch".to_owned()).chain(arguments);
    assert!(matches!(Cli::try_parse_from(line).expect("a command line").command, Command::Run(_)));
    assert!(deploy::text(DOCKERFILE).contains("\nCMD [\"run\"]\n"));
    let version = format!("poolwatch:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container()["image"], version.as_str());
}

/// What kubectl makes of a `DaemonSet`, in Kubernetes' own types: what they do not have it leaves out.
fn as_kubectl_reads(daemonset: &Value) -> Result<Value, String> {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("daemonset.json");
    std::fs::write(&path, daemonset.to_string()).expect("a file");
    // It writes what it changed: the image here, which is put back.
    let change = ["set", "image", "--local", "--output", "json", "*=another", "--filename"];
    let arguments = [&change[..], &[path.to_str().expect("UTF-8")]].concat();
    let verdict = KUBECTL.ask(&arguments).unwrap_or_else(|error| panic!("{error}"));
    if !verdict.success {
        return Err(verdict.said);
    }
    let mut read: Value = serde_json::from_str(&verdict.said).expect("JSON");
    let image = "/spec/template/spec/containers/0/image";
    *read.pointer_mut(image).expect("an image") = daemonset.pointer(image).expect("an image").clone();
    Ok(read)
}

/// What of `ours` is not in `theirs`, by its path.
fn lost(path: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    match ours {
        Value::Object(keys) => {
            keys.iter().flat_map(|(key, value)| lost(&format!("{path}.{key}"), value, &theirs[key])).collect()
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .flat_map(|(index, value)| lost(&format!("{path}.{index}"), value, &theirs[index]))
            .collect(),
        // What is at its zero is left out as well.
        value if value == theirs || *value == json!(0) && theirs.is_null() => Vec::new(),
        value => vec![format!("{path}: {value}")],
    }
}

#[test]
fn kubectl_knows_each_key_of_the_daemonset_and_misses_one_that_there_is_not() {
    for manifest in [deploy::text(MANIFEST), secured()] {
        let ours = object_in(&manifest, "DaemonSet");
        let theirs = as_kubectl_reads(&ours).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(lost("", &ours, &theirs), [""; 0]);
    }
    for (right, wrong, expected) in [
        ("livenessProbe", "livenesProbe", ".spec.template.spec.containers.0.livenesProbe.httpGet.path"),
        ("hostNetwork: true", "hostNet: true", ".spec.template.spec.hostNet"),
        ("mountPath: /etc/poolwatch,", "mount: /etc/poolwatch,", ".volumeMounts.1.mount"),
    ] {
        let faulty = object_in(&deploy::text(MANIFEST).replacen(right, wrong, 1), "DaemonSet");
        let theirs = as_kubectl_reads(&faulty).unwrap_or_else(|error| panic!("{error}"));
        let lost = lost("", &faulty, &theirs);
        assert!(lost.iter().any(|path| path.contains(expected)), "{wrong}: {lost:?}");
    }
    let faulty = deploy::text(MANIFEST).replacen("periodSeconds: 20", "periodSeconds: often", 1);
    assert!(as_kubectl_reads(&object_in(&faulty, "DaemonSet")).is_err());
}

/// The manifest with what is commented out for a secured /metrics in force.
fn secured() -> String {
    const COMMENTED: [&str; 5] =
        ["web_config = ", "prometheus.io/scheme:", "- {name: web,", "- name: web", "  secret: {"];
    let lines = deploy::text(MANIFEST);
    let lines = lines.lines().map(|line| match line.trim_start().strip_prefix("# ") {
        Some(text) if COMMENTED.iter().any(|one| text.starts_with(one)) => line.replacen("# ", "", 1),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_manifest_can_be_secured_by_what_it_has_commented_out() {
    let secured = secured();
    let pod = &object_in(&secured, "DaemonSet")["spec"]["template"];
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/scheme"], "https");
    let (mounted, volume) = (&pod["spec"]["containers"][0]["volumeMounts"][2], &pod["spec"]["volumes"][2]);
    assert_eq!(volume["name"], mounted["name"]);
    assert_eq!(volume["secret"]["secretName"], "poolwatch-web");
    let text = object_in(&secured, "ConfigMap")["data"]["poolwatch.toml"].take();
    let web_config = config_of(text.as_str().expect("a config")).http.web_config;
    assert!(
        web_config.starts_with(mounted["mountPath"].as_str().expect("a path")),
        "{}",
        web_config.display()
    );
}
