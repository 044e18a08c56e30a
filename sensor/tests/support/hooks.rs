//! What hangs on an interface, as the kernel tells it: our programs on TCX and on clsact, and
//! nobody's memory of them.

use aya::programs::{SchedClassifier, TcAttachType};

use super::namespace::{Namespace, run};

/// How often our programs are there, ingress and egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    pub tcx: [usize; 2],
    pub clsact: [usize; 2],
}

impl Ours {
    pub const NOWHERE: Self = Self { tcx: [0; 2], clsact: [0; 2] };
    pub const ON_TCX: Self = Self { tcx: [1; 2], ..Self::NOWHERE };
    pub const ON_CLSACT: Self = Self { clsact: [1; 2], ..Self::NOWHERE };

    pub fn on(namespace: &Namespace, interface: &str) -> Self {
        Self { tcx: on_tcx(namespace, interface), clsact: on_clsact(namespace, interface) }
    }

    /// The same, where the other hook is known to be empty: much faster to ask.
    pub fn on_one(namespace: &Namespace, interface: &str, hook: &str) -> Self {
        match hook {
            "tcx" => Self { tcx: on_tcx(namespace, interface), ..Self::NOWHERE },
            _ => Self { clsact: on_clsact(namespace, interface), ..Self::NOWHERE },
        }
    }

    /// Both directions by one hook, `tcx` or `clsact`, each once.
    pub fn once(hook: &str) -> Self {
        if hook == "tcx" { Self::ON_TCX } else { Self::ON_CLSACT }
    }

    /// Most programs in one direction.
    pub fn most(self) -> usize {
        (0..2).map(|direction| self.tcx[direction] + self.clsact[direction]).max().unwrap_or(0)
    }
}

fn on_tcx(namespace: &Namespace, interface: &str) -> [usize; 2] {
    namespace.enter(|| {
        [TcAttachType::Ingress, TcAttachType::Egress].map(|hook| {
            // An error: no such interface, or no TCX.
            SchedClassifier::query_tcx(interface, hook).map_or(0, |(_, programs)| {
                programs.iter().filter(|program| is_ours(program.name_as_str().unwrap_or_default())).count()
            })
        })
    })
}

fn on_clsact(namespace: &Namespace, interface: &str) -> [usize; 2] {
    ["ingress", "egress"].map(|hook| {
        let shown = namespace.command("tc").args(["filter", "show", "dev", interface, hook]).output();
        let shown = String::from_utf8(shown.expect("tc: is iproute2 installed?").stdout).expect("text");
        shown.lines().filter(|line| line.contains("handle") && is_ours(line)).count()
    })
}

fn is_ours(text: &str) -> bool {
    text.contains("poolwatch_")
}

/// The handles of our filters in one direction, as `tc` writes them.
pub fn handles(namespace: &Namespace, interface: &str, hook: &str) -> Vec<String> {
    let shown = run(namespace.command("tc").args(["filter", "show", "dev", interface, hook]));
    let ours = shown.lines().filter(|line| is_ours(line));
    ours.filter_map(|line| Some(line.split_once("handle ")?.1.split(' ').next()?.to_owned())).collect()
}
