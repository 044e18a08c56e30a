//! What the running kernel has, by its version: the one place where a test says what it needs of
//! Linux beyond 5.10.
//!
//! A test that is about a newer feature only begins with `if kernel::lacks(…) { return; }`. That
//! writes a line which `cargo xtask test` and `cargo xtask kernels` read: such a test has not passed,
//! it is named as one that cannot be on this kernel, and on a kernel that has the feature it runs.
//! Nothing of that is probed: a feature that should be there and is not is a failure. Kinds of interfaces
//! that a kernel may have been built without are ([`lacks_kind`]).

use std::io::Write;

use rustix::system::uname;

use super::namespace::Namespace;

/// Features, and the first kernel that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Programs that hang on an interface without a qdisc (kernel commit e420bed02507).
    Tcx,
    /// nftables' netdev hook on egress (kernel commit 42df6e1d221d).
    NetdevEgress,
    /// How many instructions the verifier walked, in a program's info (kernel commit aba64c7da983).
    WalkedInstructions,
    /// Interfaces are renamed while they are up (kernel commit bd039b5ea2a9).
    LiveRename,
}

impl Since {
    const fn version(self) -> (u32, u32) {
        match self {
            Self::Tcx => (6, 6),
            Self::LiveRename => (6, 2),
            Self::NetdevEgress | Self::WalkedInstructions => (5, 16),
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Tcx => "TCX",
            Self::NetdevEgress => "nftables' egress hook",
            Self::LiveRename => "renaming of interfaces that are up",
            Self::WalkedInstructions => "the count of walked instructions",
        }
    }
}

pub fn has(feature: Since) -> bool {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok).expect("a release begins with two numbers");
    (number(), number()) >= feature.version()
}

/// The hooks that this kernel has, as the config names them, the first choice first.
pub fn hooks() -> &'static [&'static str] {
    if has(Since::Tcx) { &["tcx", "clsact"] } else { &["clsact"] }
}

/// Whether there is nothing to be tested here; says so behind the test's name, which the harness has
/// just written.
pub fn lacks(feature: Since) -> bool {
    if has(feature) {
        return false;
    }
    let (major, minor) = feature.version();
    not_here(&format!("{major}.{minor}: {}", feature.what()))
}

/// The same for a kind of interface, in the words of `ip link add type`.
pub fn lacks_kind(kind: &str) -> bool {
    let place = Namespace::new("kind");
    let made = place.command("ip").args(["link", "add", "kind0", "type", kind]).output().expect("ip");
    let said = String::from_utf8_lossy(&made.stderr);
    let unknown = said.contains("Unknown device type") || said.contains("Operation not supported");
    assert!(made.status.success() || unknown, "{said}");
    unknown && not_here(&format!("with interfaces of the kind {kind}"))
}

fn not_here(need: &str) -> bool {
    // Not by `println!`, whose text the harness keeps to itself.
    let mut out = std::io::stdout().lock();
    writeln!(out, "needs linux {need}").expect("the harness is heard");
    out.flush().expect("the harness is heard");
    true
}
