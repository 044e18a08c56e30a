//! What `BPF_PROG_TEST_RUN` takes no packet for, over veth: payload outside of the linear part,
//! aggregates, a VLAN tag that the kernel has moved to the metadata. The kernel's own statistics
//! (sysctl `kernel.bpf_stats_enabled`) say what a run of the program took; they read two clocks
//! around it, which is 20 to 30 ns of each figure, so that differences between them count.

use anyhow::{Context, Result, ensure};

use super::iperf;
use super::subjects::{Hook, Subject};
use crate::figure::{About, Report};
use crate::setting::Setting;
use crate::support::namespace::Namespace;
use crate::support::wire::Wire;
use crate::{Plan, build, prefixes};

const PREFIXES: u32 = 1_000;
/// Bytes of TCP payload in a packet.
const PAYLOAD: usize = 1400;
/// What makes TCP put [`PAYLOAD`] bytes into a packet: 20 bytes of IPv4, 20 of TCP and 12 of its
/// timestamps come on top.
const MTU: usize = PAYLOAD + 52;
/// Bytes of an aggregate, `GSO_LEGACY_MAX_SIZE` (`include/linux/netdevice.h`).
const AGGREGATE_MAX: usize = 65_536;
const VLAN: u16 = 0x8100;

/// How packets come to be, and at which end.
#[derive(Clone, Copy)]
enum Shape {
    Linear,
    NonLinear,
    Aggregate,
    Untagged,
    MetadataTag,
}

/// Key and description of each.
const SHAPES: [(Shape, &str, &str); 5] = [
    (Shape::Linear, "linear_ns", "TCP data of 1,400 bytes sent, all of it in the linear part"),
    (
        Shape::NonLinear,
        "nonlinear_ns",
        "TCP data of 1,400 bytes sent, its payload outside of the linear part",
    ),
    (Shape::Aggregate, "aggregate_ns", "TCP data sent in aggregates of many packets, for an aggregate"),
    (Shape::Untagged, "untagged_ns", "TCP data of 1,400 bytes received"),
    (Shape::MetadataTag, "metadata_tag_ns", "TCP data of 1,400 bytes received, its VLAN tag in the metadata"),
];

/// A pair, at whose near end is poolwatch.
struct Bed<'a> {
    subject: Subject<'a>,
    near: Wire,
    far: Wire,
    _server: iperf::Server,
}

impl<'a> Bed<'a> {
    fn new((near, far): &'a (Namespace, Namespace)) -> Result<Self> {
        Ok(Self {
            subject: Subject::poolwatch(near, &prefixes::generated(PREFIXES))?,
            near: Wire::open(near, "eth0"),
            far: Wire::open(far, "eth0"),
            _server: iperf::Server::start(far)?,
        })
    }

    /// Mean nanoseconds of a run of the program, over this many packets of a shape.
    fn ns_a_run(&self, shape: Shape, packets: u32) -> Result<f64> {
        let program = match shape {
            Shape::Linear | Shape::NonLinear | Shape::Aggregate => "poolwatch_out",
            Shape::Untagged | Shape::MetadataTag => "poolwatch_in",
        };
        let (runs_before, seconds_before) = self.cost(program)?;
        let sent = self.send(shape, packets)?;
        let (runs, seconds) = self.cost(program)?;
        let (runs, seconds) = (runs - runs_before, seconds - seconds_before);
        ensure!(runs >= f64::from(sent), "{program} ran {runs} times for at least {sent} packets");
        Ok(seconds * 1e9 / runs)
    }

    /// Returns how often the program runs at the least.
    fn send(&self, shape: Shape, packets: u32) -> Result<u32> {
        let (out, back) = (build::from("10.77.0.1", "10.77.0.2"), build::from("10.77.0.2", "10.77.0.1"));
        let (wire, frame) = match shape {
            Shape::NonLinear | Shape::Aggregate => {
                let bytes = u64::from(packets) * PAYLOAD as u64;
                let transfer = iperf::send(self.subject.near, &["--bytes", &bytes.to_string()])?;
                // The end of what is to be sent is thrown away by iperf3's server.
                let largest = if matches!(shape, Shape::NonLinear) { PAYLOAD } else { AGGREGATE_MAX };
                return Ok(u32::try_from(transfer.bytes / largest as u64)?);
            }
            Shape::Linear => (&self.near, out),
            Shape::Untagged => (&self.far, back),
            Shape::MetadataTag => (&self.far, back.tagged(&[VLAN])),
        };
        let frame = frame.ack(1000, 1000).payload(PAYLOAD).bytes();
        (0..packets).for_each(|_| wire.send(&frame));
        Ok(packets)
    }

    /// Runs of a program and the seconds that they took, by the kernel's statistics.
    fn cost(&self, program: &str) -> Result<(f64, f64)> {
        let Hook::Poolwatch { daemon, .. } = &self.subject.hook else { anyhow::bail!("nobody watches") };
        let metrics = daemon.metrics();
        let value = |name: &str| -> Result<f64> {
            let start = format!("{name}{{program=\"{program}\"}} ");
            let value = metrics.0.lines().find_map(|line| line.strip_prefix(&start));
            // A program that has not run has no series.
            value.map_or(Ok(0.0), |value| value.parse().with_context(|| format!("{name}: {value}")))
        };
        Ok((value("poolwatch_program_runs_total")?, value("poolwatch_program_run_seconds_total")?))
    }
}

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let _statistics = Setting::set("kernel.bpf_stats_enabled", "1")?;
    let pairs: [_; 2] = std::array::from_fn(|_| Namespace::pair());
    for end in [&pairs[0].0, &pairs[0].1] {
        end.without_offloads();
        end.ip(&format!("link set eth0 mtu {MTU}"));
    }
    let (single, aggregating) = (Bed::new(&pairs[0])?, Bed::new(&pairs[1])?);
    let packets = if plan.quick { 10_000 } else { 50_000 };
    let mut runs: [Vec<f64>; SHAPES.len()] = Default::default();
    for _ in 0..plan.runs {
        for ((shape, ..), runs) in SHAPES.iter().zip(&mut runs) {
            let bed = if matches!(shape, Shape::Aggregate) { &aggregating } else { &single };
            runs.push(bed.subject.prove_around(|| bed.ns_a_run(*shape, packets))?);
        }
    }
    for ((_, key, what), runs) in SHAPES.iter().zip(&runs) {
        let what = &format!("{what}, with 20 to 30 ns of the kernel's own statistics");
        let about = About { part: "traffic", key, what, subject: "poolwatch", prefixes: None, unit: "ns" };
        report.add(&about, runs);
    }
    Ok(())
}
