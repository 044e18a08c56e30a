//! `cargo xtask <verb>`: the one door to building, running, checking and testing poolwatch.
//!
//! This file only names the verbs; each lives in its own module. CI and the README call nothing
//! else. No verb needs root: what does is started through sudo, one program at a time.

mod bench;
mod build;
mod cargo;
mod check;
mod conformance;
mod deploy;
mod fuzz;
mod kernel_half;
mod kernels;
mod libtest;
mod mutants;
mod package;
mod root;
mod run;
mod rust_text;
mod setup;
mod sources;
mod system_tools;
mod test;
mod test_binaries;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, run, check and test poolwatch.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask run                         build everything, watch the default-route interface\n  cargo xtask run -- --interface eth0     watch another interface\n  cargo xtask test                        all tests; asks for root for those that load programs\n  cargo xtask test --no-kernel            only the tests that need no root\n  cargo xtask check                       formatting, lints, dependencies, house rules"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building needs: rust-src and the matching bpf-linker
    #[command(
        after_help = "Everything goes under target/tools, but rust-src, which joins the toolchain.\n\nExample:\n  cargo xtask setup"
    )]
    Setup,
    /// Build the release binary, target/release/poolwatch
    #[command(after_help = "Example:\n  cargo xtask build && target/release/poolwatch --help")]
    Build,
    /// Build, then run the sensor as root; it detaches when it ends
    #[command(
        after_help = "Examples:\n  cargo xtask run\n  cargo xtask run -- --interface eth0 --listen 127.0.0.1:9999\n  cargo xtask run -- --config my.toml"
    )]
    Run(run::Arguments),
    /// Formatting, lints of both halves, dependencies, house rules
    #[command(after_help = "Example:\n  cargo xtask check")]
    Check,
    /// Run all tests; those named kernel_* as root
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --no-kernel\n  cargo xtask test -- fragment          only tests whose name contains \"fragment\"\n  cargo xtask test -- --nocapture vlan\n  cargo xtask test --arch arm64"
    )]
    Test(test::Arguments),
    /// Run the kernel_* tests on Linux 5.10, 6.1 and 6.12 in QEMU and on the running kernel
    #[command(
        after_help = "Examples:\n  cargo xtask kernels                     every kernel, every group of tests\n  cargo xtask kernels --quick             the oldest and the newest in QEMU, the tests that tell most\n  cargo xtask kernels --only 5.10 --groups kernel_attach,kernel_traffic\n  cargo xtask kernels --current           the packages that Debian has today"
    )]
    Kernels(kernels::Arguments),
    /// Make a Debian package of everything that an operator installs, in target/package
    #[command(after_help = "Examples:\n  cargo xtask package\n  cargo xtask package --arch arm64")]
    Package(package::Arguments),
    /// Install, kill, reload, upgrade and purge the package on a Debian that is booted for it; asks for root
    #[command(
        after_help = "Examples:\n  cargo xtask test-deploy                 Debian 12 with its kernel, in QEMU\n  cargo xtask test-deploy --release bullseye,bookworm,trixie\n  cargo xtask test-deploy --container     on the running kernel, in a minute and a half"
    )]
    TestDeploy(deploy::Arguments),
    /// Put faults into the classifier, one at a time, and see tests turn red
    #[command(after_help = "Example:\n  cargo xtask mutants")]
    Mutants,
    /// Compare what is counted in real captures with capinfos, tshark and a wire; asks for root.
    /// And what the built-in list matches with a table of pools' hosts
    #[command(
        after_help = "Examples:\n  cargo xtask conformance --captures ../captures\n  cargo xtask conformance --lists ../lists       the built-in list of pools; needs no root"
    )]
    Conformance(conformance::Arguments),
    /// Run what reads strangers' bytes under libFuzzer; what breaks it becomes a regression file
    #[command(
        after_help = "Examples:\n  cargo xtask fuzz                        ten minutes each\n  cargo xtask fuzz --seconds 60 --only dns\n  cargo xtask fuzz --as-tests --seconds 60   the same entries as property tests"
    )]
    Fuzz(fuzz::Arguments),
    /// Measure what poolwatch costs: a packet, a list, a scrape, a capture; asks for root
    #[command(
        after_help = "Examples:\n  cargo xtask bench                       tables, target/bench/price.json and .svg\n  cargo xtask bench --quick               whether it works, not what it costs\n  cargo xtask bench --only packets --only lists\n  cargo xtask bench --captures ../captures --json price.json --plot price.svg"
    )]
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup => setup::setup(),
        Verb::Build => build::build(),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Check => check::check(),
        Verb::Test(arguments) => match test::test(&arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Verb::Kernels(arguments) => kernels::kernels(&arguments),
        Verb::Package(arguments) => package::package(&arguments),
        Verb::TestDeploy(arguments) => deploy::test_deploy(&arguments),
        Verb::Mutants => mutants::mutants(),
        Verb::Conformance(arguments) => conformance::conformance(&arguments),
        Verb::Fuzz(arguments) => fuzz::fuzz(&arguments),
        Verb::Bench(arguments) => bench::bench(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_readme_has_a_row_for_each_verb() {
        let readme = std::fs::read_to_string(cargo::root().join("README.md")).unwrap();
        let (_, table) = readme.split_once("| `cargo xtask …` |").unwrap();
        let rows: Vec<&str> = table
            .lines()
            .skip(2)
            .map_while(|line| line.strip_prefix("| `"))
            .filter_map(|row| row.split([' ', '`']).next())
            .collect();
        let command = Arguments::command();
        let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(rows, verbs);
    }

    #[test]
    fn each_test_that_the_readme_names_is_there() {
        let root = cargo::root();
        let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
        let (_, table) = readme.split_once("| proven by |").unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let named: Vec<(&str, &str)> =
            rows.flat_map(|row| row.split('`')).filter_map(|word| word.split_once("::")).collect();
        assert!(named.len() > 30, "{named:?}");
        for (file, test) in named {
            let text = std::fs::read_to_string(root.join(format!("sensor/tests/{file}.rs"))).unwrap();
            assert!(text.contains(&format!("fn {test}()")), "{file}::{test} is not there");
        }
    }

    #[test]
    fn options_of_the_sensor_pass_with_and_without_the_two_dashes() {
        for line in [
            ["xtask", "run", "--", "--interface", "eth0"].as_slice(),
            ["xtask", "run", "--interface", "eth0"].as_slice(),
        ] {
            let parsed = Arguments::try_parse_from(line).unwrap();
            let Verb::Run(arguments) = parsed.verb else {
                panic!("{line:?} is not `run`");
            };
            assert_eq!(arguments.sensor, ["--interface", "eth0"]);
        }
    }

    #[test]
    fn no_kernel_is_ours_and_what_follows_is_the_test_harness_s() {
        let line = ["xtask", "test", "--no-kernel", "--", "--nocapture", "vlan"];
        let Verb::Test(arguments) = Arguments::try_parse_from(line).unwrap().verb else {
            panic!("{line:?} is not `test`");
        };
        assert!(arguments.no_kernel);
        assert_eq!(arguments.harness, ["--nocapture", "vlan"]);
    }
}
