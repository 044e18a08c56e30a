//! What is packed and lies in no source: man pages, completions, and the config of a packaged host.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};

use crate::cargo;

/// The sensor's command line itself: it needs nothing but clap.
#[path = "../../../sensor/src/cli.rs"]
#[allow(dead_code, reason = "only what it looks like is asked, never what it was given")]
mod cli;

/// Where pins are by default, and where the service of the package has its own bpffs.
const PINS: [&str; 2] = ["pins = \"/sys/fs/bpf/poolwatch\"", "pins = \"/run/poolwatch/bpf/pins\""];

/// Makes the directory anew.
pub(super) fn stage(place: &Path) -> Result<()> {
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("cannot clear {}", place.display()))?;
    }
    let (man, completions) = (place.join("man"), place.join("completions"));
    for directory in [&man, &completions] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    clap_mangen::generate_to(cli::Cli::command(), &man).context("man pages")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut cli::Cli::command(), "poolwatch", &completions).context("completions")?;
    }
    let example = cargo::root().join("deploy/poolwatch.toml");
    let example =
        fs::read_to_string(&example).with_context(|| format!("cannot read {}", example.display()))?;
    fs::write(place.join("poolwatch.toml"), packaged(&example)?).context("the config")
}

/// The shipped example, with the pins where the service may write.
fn packaged(example: &str) -> Result<String> {
    let [from, to] = PINS;
    ensure!(example.matches(from).count() == 1, "deploy/poolwatch.toml does not say once where pins are");
    Ok(example.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packaged_config_is_the_example_with_its_pins_on_the_services_own_bpffs() {
        let root = cargo::root();
        let example = fs::read_to_string(root.join("deploy/poolwatch.toml")).unwrap();
        let packaged = packaged(&example).unwrap();
        let differing: Vec<(&str, &str)> =
            example.lines().zip(packaged.lines()).filter(|(ours, theirs)| ours != theirs).collect();
        assert_eq!(differing, [(PINS[0], PINS[1])]);
        let unit = fs::read_to_string(root.join("deploy/systemd/run-poolwatch-bpf.mount")).unwrap();
        let mounted = unit.lines().find_map(|line| line.strip_prefix("Where=")).unwrap();
        assert!(PINS[1].contains(&format!("\"{mounted}/")), "{mounted}");
    }

    #[test]
    fn an_example_that_says_nothing_of_pins_is_refused() {
        assert!(packaged("[state]\n").is_err());
    }

    #[test]
    fn each_command_has_a_page_and_each_shell_its_completions() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().join("stage");
        stage(&place).unwrap();
        let names: Vec<String> =
            cli::Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in &names {
            let page = fs::read_to_string(place.join(format!("man/poolwatch-{name}.1"))).unwrap();
            assert!(page.contains(name.as_str()), "{name}");
        }
        for shell in ["poolwatch.bash", "_poolwatch", "poolwatch.fish"] {
            let script = fs::read_to_string(place.join("completions").join(shell)).unwrap();
            assert!(names.iter().all(|name| script.contains(name.as_str())), "{shell}");
        }
    }
}
