//! `kernels`: the privileged tests on other kernels than the running one, and on it: Debian's cloud
//! kernels of the oldest series that poolwatch knows to the newest, in QEMU, from an initramfs.
//!
//! A table says what passed where and on which hooks. What cannot be on a kernel says so itself, by
//! name; nothing is left out in silence, and little at all ([`LEFT_OUT`]: it drives Prometheus, of 100 MB,
//! and concerns no kernel). Needs no root but for the running kernel's column.

pub(crate) mod archive;
pub(crate) mod guest;
mod init;
pub(crate) mod initramfs;
pub(crate) mod modules;
mod report;
pub(crate) mod series;
mod transcript;

use std::{
    fs::{self, File},
    num::NonZero,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo,
    root::{self, Root},
    setup, sources, system_tools,
    test::{self, Profile},
    test_binaries::{self, TestBinary},
};
use guest::Guest;
use init::Group;
use initramfs::Staged;
use report::Column;
use series::{NATIVE, Series, Version};
use transcript::{Outcome, Transcript};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these kernels: 5.10, 6.1, 6.12, native
    #[arg(long, value_name = "KERNEL", value_delimiter = ',')]
    only: Vec<String>,

    /// Only these test binaries: `kernel_attach`, …
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    groups: Vec<String>,

    /// The oldest and the newest kernel in QEMU, and the tests that tell most
    #[arg(long)]
    quick: bool,

    /// The newest package of each series instead of the one whose checksum is known here
    #[arg(long)]
    current: bool,
}

/// The kernels of a short run.
const QUICK_KERNELS: &[&str] = &["5.10", "6.12"];

/// The groups of a short run, and what is handed to their harness.
const QUICK_GROUPS: &[(&str, &[&str])] = &[
    ("kernel_packets", &["--skip", "million", "--skip", "grow_old"]),
    ("kernel_attach", &[]),
    ("kernel_traffic", &["each_route", "--skip", "million"]),
];

/// What the names of groups begin with that `test` alone runs: they hold the shipped rules against Prometheus
/// and Alertmanager, which would make the guests' file system twice as large and say nothing about their kernels.
const LEFT_OUT: &str = "kernel_deployed";

/// How much longer than on hardware a test may wait in an emulator, for whatever it waits for.
const PATIENCE: u32 = 15;

/// How often a kernel that locked up is booted again, for the groups that are left: emulated processors
/// stop now and then, each waiting for the other. What a fault of ours stops, stops again.
const LOCKUPS_MAX: u32 = 2;

const GUEST_LIMIT: Duration = Duration::from_mins(90);
const QUICK_LIMIT: Duration = Duration::from_mins(8);

pub(crate) fn kernels(arguments: &Arguments) -> Result<()> {
    let chosen = series::choose(&only(arguments))?;
    let root = chosen.native.then(|| root::find("the kernel tests on the running kernel")).transpose()?;
    setup::for_kernels(!chosen.series.is_empty())?;
    // First, since cargo gives both builds the same name.
    let upgrade = upgrades(arguments).then(|| test::made_up_upgrade(Profile::Release)).transpose()?;
    let binaries: Vec<TestBinary> = build()?.into_iter().filter(concerns_kernels).collect();
    println!("left out: {LEFT_OUT}*, which `cargo xtask test` runs: it tells nothing about a kernel");
    let groups = groups(&binaries, arguments)?;
    let place = cargo::target().join("kernels");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;

    let limit = if arguments.quick { QUICK_LIMIT } else { GUEST_LIMIT };
    let mut columns =
        in_guests(&chosen.series, &groups, upgrade.as_deref(), &place, arguments.current, limit)?;
    if let Some(root) = &root {
        columns.push(natively(root, &groups, &place)?);
    }
    println!("\n{}\n{}", report::table(&columns), report::details(&columns));
    let bad: Vec<&str> =
        columns.iter().filter(|column| !column.is_good()).map(|column| column.kernel.as_str()).collect();
    if !bad.is_empty() {
        bail!("the kernel tests are not green on {}", bad.join(", "));
    }
    Ok(())
}

fn only(arguments: &Arguments) -> Vec<String> {
    if arguments.quick && arguments.only.is_empty() {
        return QUICK_KERNELS.iter().map(|name| (*name).to_owned()).collect();
    }
    arguments.only.clone()
}

/// Are there groups among those to run that upgrade to another build?
fn upgrades(arguments: &Arguments) -> bool {
    const UPGRADING: [&str; 3] = ["kernel_recognition", "kernel_soak", "kernel_upgrade"];
    if arguments.groups.is_empty() {
        return !arguments.quick;
    }
    arguments.groups.iter().any(|group| UPGRADING.contains(&group.as_str()))
}

/// With optimisations: the daemon as users run it, and an emulator takes long enough.
fn build() -> Result<Vec<TestBinary>> {
    test_binaries::build(&mut cargo::cargo([
        "test",
        "--release",
        "--package=sensor",
        "--test=kernel_*",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]))
}

/// Is it for other kernels than the one that tests are written on?
fn concerns_kernels(binary: &TestBinary) -> bool {
    binary.needs_root() && !binary.name.starts_with(LEFT_OUT)
}

/// What is to run, in this order: what waits for the machine to be older comes last.
fn groups<'a>(binaries: &'a [TestBinary], arguments: &Arguments) -> Result<Vec<Group<'a>>> {
    let named = &arguments.groups;
    if let Some(unknown) = named.iter().find(|name| binaries.iter().all(|binary| binary.name != **name)) {
        let known: Vec<&str> = binaries.iter().map(|binary| binary.name.as_str()).collect();
        bail!("--groups {unknown}: there are {}", known.join(", "));
    }
    let meant = |binary: &TestBinary| -> Option<Vec<String>> {
        if !named.is_empty() && !named.contains(&binary.name) {
            return None;
        }
        if !arguments.quick {
            return Some(Vec::new());
        }
        let quick = QUICK_GROUPS.iter().find(|(name, _)| *name == binary.name);
        match quick {
            Some((_, harness)) => Some(harness.iter().map(|argument| (*argument).to_owned()).collect()),
            None if named.is_empty() => None,
            None => Some(Vec::new()),
        }
    };
    let mut groups: Vec<Group> =
        binaries.iter().filter_map(|binary| Some(Group { binary, harness: meant(binary)? })).collect();
    groups.sort_by_key(|group| init::waits(&group.binary.name));
    Ok(groups)
}

/// All series, as many at a time as there are processors for.
fn in_guests(
    series: &[&'static Series],
    groups: &[Group],
    upgrade: Option<&Path>,
    place: &Path,
    current: bool,
    limit: Duration,
) -> Result<Vec<Column>> {
    if series.is_empty() {
        return Ok(Vec::new());
    }
    let common = pack_common(groups, upgrade, place)?;
    // Tests wait more than they work.
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let waiting = Mutex::new(series.iter());
    let work = || {
        let mut columns = Vec::new();
        loop {
            let next = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            let Some(series) = next else { return columns };
            columns.push((series.name, in_guest(series, groups, &common, place, current, limit)));
        }
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(name, _)| series.iter().position(|series| series.name == *name));
    Ok(done.into_iter().map(|(name, column)| column.unwrap_or_else(|error| not_run(name, &error))).collect())
}

/// One kernel that could not be had does not hide what the others say.
fn not_run(name: &str, error: &anyhow::Error) -> Column {
    let trouble = Some(format!("not run: {error:#}"));
    Column { kernel: name.to_owned(), outcomes: Vec::new(), notes: Vec::new(), trouble, log: None }
}

/// What every guest has: tests, programs, libraries, and the sources that tests read.
fn pack_common(groups: &[Group], upgrade: Option<&Path>, place: &Path) -> Result<PathBuf> {
    let staged = Staged::new(place.join("root"))?;
    for group in groups {
        staged.program(&group.binary.executable)?;
    }
    let root = cargo::root();
    staged.program(&cargo::target().join("release/poolwatch"))?;
    if let Some(upgrade) = upgrade {
        staged.program(upgrade)?;
    }
    staged.directory(&cargo::target().join("tmp"))?;
    for tool in system_tools::called_by_kernel_tests() {
        staged.program(&tool)?;
    }
    staged.copy(Path::new(system_tools::OPENSSL_CONFIG))?;
    let busybox = cargo::find_program("busybox").context("no busybox")?;
    staged.write(Path::new("/bin/busybox"), &fs::read(busybox)?, 0o755)?;
    for path in sources::list()? {
        if path.starts_with("sensor/") || path.starts_with("deploy/") {
            staged.copy(&root.join(path))?;
        }
    }
    let archive = place.join("common.cpio");
    let mut file = File::create(&archive).with_context(|| format!("cannot write {}", archive.display()))?;
    staged.pack(&mut file)?;
    Ok(archive)
}

fn in_guest(
    series: &Series,
    groups: &[Group],
    common: &Path,
    place: &Path,
    current: bool,
    limit: Duration,
) -> Result<Column> {
    let name = series.name;
    let kernel = archive::fetch(series, current)?;
    let modules = modules::wanted(&kernel.modules()?, modules::OF_TESTS)?;
    let own = Staged::new(place.join(format!("{name}.root")))?;
    for module in &modules {
        own.write(&initramfs::module_path(module), &module.bytes, 0o644)?;
    }
    let mut notes: Vec<String> = kernel.note.iter().cloned().collect();
    let mut transcript = Transcript::default();
    let mut lockups = 0;
    let (log, trouble) = loop {
        let boot = if lockups == 0 { name.to_owned() } else { format!("{name}-{}", lockups + 1) };
        let left: Vec<Group> =
            groups.iter().filter(|it| !transcript.has_ended(&it.binary.name)).cloned().collect();
        own.write(Path::new("/init"), init::script(&modules, &left, PATIENCE).as_bytes(), 0o755)?;
        let guest = Guest {
            image: kernel.image()?,
            initramfs: place.join(format!("{name}.cpio")),
            disk: None,
            log: place.join(format!("{boot}.log")),
            console: place.join(format!("{boot}.console.log")),
            limit,
        };
        initramfs::assemble(common, &own, &guest.initramfs)?;
        println!("{name}: booting {} …", kernel.version);
        let in_time = listen(&guest, name, &mut transcript)?;
        let may_again = in_time && !transcript.is_done() && lockups < LOCKUPS_MAX;
        if !may_again || !guest::locked_up(&guest.console) {
            break (guest.log.display().to_string(), trouble(&guest, in_time, &transcript));
        }
        lockups += 1;
        let group = transcript.forget_running().unwrap_or_else(|| "its start".to_owned());
        notes.push(format!("locked up in {group}, and was booted again: {}", guest.console.display()));
        println!("{name}: locked up in {group}");
    };
    let version = Version::parse(&kernel.version).context("a kernel's version is a number")?;
    let mut outcomes = transcript.finish(groups.iter().map(|group| group.binary.name.as_str()));
    for outcome in &mut outcomes {
        report::judge_lacking(outcome, version);
    }
    Ok(Column { kernel: kernel.version, outcomes, notes, trouble, log: Some(log) })
}

/// Reads a guest to its end, which is false when its time was over first.
fn listen(guest: &Guest, name: &str, transcript: &mut Transcript) -> Result<bool> {
    let mut since = Instant::now();
    guest::run(guest, |line| {
        if let Some(outcome) = transcript.read(line) {
            println!("{name}: {} ({:.0} s)", report::row(outcome), since.elapsed().as_secs_f64());
            since = Instant::now();
        }
    })
}

/// Why a guest's run is no good.
fn trouble(guest: &Guest, in_time: bool, transcript: &Transcript) -> Option<String> {
    if transcript.is_done() {
        return None;
    }
    if !in_time {
        return Some(format!("its {} minutes were over", guest.limit.as_secs() / 60));
    }
    let last_words = guest::last_words(&guest.console).join("\n  ");
    Some(format!("it ended too early; its last words:\n  {last_words}"))
}

/// The same binaries on the running kernel, as `test` runs them.
fn natively(root: &Root, groups: &[Group], place: &Path) -> Result<Column> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("/proc is not mounted")?;
    let version = Version::parse(&release).context("a kernel's release begins with its version")?;
    let hooks_file = place.join(format!("{NATIVE}.hooks"));
    let mut outcomes = Vec::new();
    for group in groups {
        // Ours, so that root appends to it and does not own it.
        File::create(&hooks_file).with_context(|| format!("cannot write {}", hooks_file.display()))?;
        let settings = [("POOLWATCH_TEST_HOOKS", hooks_file.clone().into())];
        let summary = test::as_root(root, group.binary, &group.harness, &settings)?;
        let mut hooks: Vec<String> =
            fs::read_to_string(&hooks_file)?.split_whitespace().map(str::to_owned).collect();
        hooks.sort_unstable();
        hooks.dedup();
        let mut outcome = Outcome { summary, hooks, ..Outcome::new(&group.binary.name) };
        report::judge_lacking(&mut outcome, version);
        outcomes.push(outcome);
    }
    let kernel = format!("{} ({NATIVE})", release.trim());
    Ok(Column { kernel, outcomes, notes: Vec::new(), trouble: None, log: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries() -> Vec<TestBinary> {
        ["kernel_attach", "kernel_new", "kernel_packets", "kernel_traffic"].map(TestBinary::made_up).into()
    }

    fn arguments(groups: &[&str], quick: bool) -> Arguments {
        let groups = groups.iter().map(|name| (*name).to_owned()).collect();
        Arguments { only: vec![], groups, quick, current: false }
    }

    fn chosen(arguments: &Arguments) -> Vec<(String, usize)> {
        let binaries = binaries();
        let groups = groups(&binaries, arguments).unwrap();
        groups.iter().map(|group| (group.binary.name.clone(), group.harness.len())).collect()
    }

    fn named(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|(name, arguments)| ((*name).to_owned(), *arguments)).collect()
    }

    #[test]
    fn whatever_kernel_tests_there_are_run_and_those_that_wait_come_last() {
        let all = [("kernel_attach", 0), ("kernel_new", 0), ("kernel_traffic", 0), ("kernel_packets", 0)];
        assert_eq!(chosen(&arguments(&[], false)), named(&all));
    }

    #[test]
    fn a_short_run_has_its_own_groups_and_what_is_named_besides() {
        let quick = [("kernel_attach", 0), ("kernel_traffic", 3), ("kernel_packets", 4)];
        assert_eq!(chosen(&arguments(&[], true)), named(&quick));
        assert_eq!(chosen(&arguments(&["kernel_new"], true)), named(&[("kernel_new", 0)]));
    }

    #[test]
    fn a_group_that_there_is_not_is_refused_naming_those_there_are() {
        let binaries = binaries();
        let message = groups(&binaries, &arguments(&["kernel_x"], false)).err().unwrap().to_string();
        assert!(message.starts_with("--groups kernel_x: there are kernel_attach, kernel_new, "), "{message}");
    }

    #[test]
    fn what_tells_nothing_about_a_kernel_is_left_out_and_no_other_kernel_test_is() {
        for (name, concerns) in
            [("kernel_deployed_fleet", false), ("kernel_attach", true), ("metrics", false)]
        {
            assert_eq!(concerns_kernels(&TestBinary::made_up(name)), concerns, "{name}");
        }
    }

    #[test]
    fn a_short_run_takes_the_oldest_kernel_and_the_newest_unless_others_are_named() {
        let first_and_last = [series::SERIES[0].name, series::SERIES[series::SERIES.len() - 1].name];
        assert_eq!(QUICK_KERNELS, first_and_last);
        assert_eq!(only(&arguments(&[], true)), first_and_last);
        assert_eq!(only(&arguments(&[], false)), Vec::<String>::new());
        let named = Arguments { only: vec!["6.1".to_owned()], ..arguments(&[], true) };
        assert_eq!(only(&named), ["6.1"]);
    }
}
