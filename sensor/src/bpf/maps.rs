//! The kernel half's maps, typed: what the daemon reads of them, and the few it writes.
//! Reading takes `&self`, so that a scrape and a sweep can go on side by side.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};
use sensor_ebpf::abi::{
    Budgets, Daemon, EndpointKey, Findings, Flow, FlowKey, Judged, Learned, Own, SampleHeader, Settings,
    TargetName, Totals, map,
};
use sensor_ebpf::ranges::Line;

use super::batch;

/// An ABI type as aya wants it: bytes that may be copied to and from the kernel.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Raw<T>(pub T);

/// Types of the ABI: `repr(C)`, integers and byte arrays only, no padding, so that every
/// byte is a value and every value is bytes.
trait Plain: Copy + 'static {}
impl Plain for Budgets {}
impl Plain for Daemon {}
impl Plain for EndpointKey {}
impl Plain for Findings {}
impl Plain for Flow {}
impl Plain for FlowKey {}
impl Plain for Judged {}
impl Plain for Learned {}
impl Plain for Own {}
impl Plain for SampleHeader {}
impl Plain for Settings {}
impl Plain for TargetName {}
impl Plain for Totals {}

// SAFETY: `Plain` says so, and `Raw` is transparent.
unsafe impl<T: Plain> Pod for Raw<T> {}

#[allow(private_bounds, reason = "which types are plain is for this module to say")]
impl<T: Plain> Raw<T> {
    /// The value that these bytes are.
    ///
    /// # Errors
    /// When there are more or fewer of them than it has.
    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() == size_of::<T>(), "{} bytes for {}", bytes.len(), size_of::<T>());
        // SAFETY: as many bytes are there, and whatever they are is a value of a plain type.
        Ok(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
    }
}

/// Compiled tables.
pub type Generation = Array<MapData, Line>;

/// What is only read here, or written at start.
pub struct Maps {
    totals: PerCpuArray<MapData, Raw<Totals>>,
    own: PerCpuArray<MapData, Raw<Own>>,
    flows: HashMap<MapData, Raw<FlowKey>, Raw<Flow>>,
    pub(super) writable: Option<Writable>,
}

/// What the daemon writes; see [`super::tables`].
pub(super) struct Writable {
    pub settings: Array<MapData, Raw<Settings>>,
    pub targets: Array<MapData, Raw<TargetName>>,
    pub filter: MapData,
    pub daemon: Array<MapData, Raw<Daemon>>,
    pub findings: Array<MapData, Raw<Findings>>,
    pub learned: HashMap<MapData, Raw<EndpointKey>, Raw<Learned>>,
    pub judged: HashMap<MapData, Raw<FlowKey>, Raw<Judged>>,
    pub budgets: Array<MapData, Raw<Budgets>>,
    pub samples: Option<RingBuf<MapData>>,
    pub tables: ArrayOfMaps<MapData, Generation>,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let writable = Writable {
            settings: take(ebpf, map::SETTINGS)?.try_into()?,
            targets: take(ebpf, map::TARGETS)?.try_into()?,
            filter: match take(ebpf, map::FILTER)? {
                Map::Array(data) => data,
                other => anyhow::bail!("{} is not an array: {other:?}", map::FILTER),
            },
            daemon: take(ebpf, map::DAEMON)?.try_into()?,
            findings: take(ebpf, map::FINDINGS)?.try_into()?,
            learned: take(ebpf, map::LEARNED)?.try_into()?,
            judged: take(ebpf, map::JUDGED)?.try_into()?,
            budgets: take(ebpf, map::BUDGETS)?.try_into()?,
            samples: Some(take(ebpf, map::SAMPLES)?.try_into()?),
            tables: take(ebpf, map::TABLES)?.try_into()?,
        };
        Ok(Self {
            totals: take(ebpf, map::TOTALS)?.try_into()?,
            own: take(ebpf, map::OWN)?.try_into()?,
            flows: take(ebpf, map::FLOWS)?.try_into()?,
            writable: Some(writable),
        })
    }

    /// The totals of one target, over all CPUs.
    pub fn totals(&self, slot: u32) -> Result<Totals> {
        let per_cpu = self.totals.get(&slot, 0).with_context(|| format!("reading TOTALS[{slot}]"))?;
        Ok(sum(&per_cpu))
    }

    /// The totals of all slots below `slots`, over all CPUs.
    pub fn all_totals(&self, slots: u32) -> Result<Vec<Totals>> {
        match batch::folded(&self.totals, slots as usize, sum).context("reading TOTALS")? {
            Some(totals) => Ok(totals),
            None => (0..slots).map(|slot| self.totals(slot)).collect(),
        }
    }

    /// What the kernel half says about itself, over all CPUs.
    pub fn own(&self) -> Result<Own> {
        let per_cpu = self.own.get(&0, 0).context("reading OWN")?;
        Ok(per_cpu.iter().fold(Own::default(), |sum, Raw(cpu)| sum.plus(cpu)))
    }

    /// A flow, while it is in the table.
    pub fn flow(&self, key: &FlowKey) -> Result<Option<Flow>> {
        match self.flows.get(&Raw(*key), 0) {
            Ok(Raw(flow)) => Ok(Some(flow)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("reading FLOWS"),
        }
    }

    /// Every flow in the table, `limit` at most. The kernel goes on writing meanwhile: a flow that
    /// comes or goes may be missed. Read one by one, before kernel 5.6, others may be missed too,
    /// or come twice, when the entry at which the walk stands is evicted.
    pub fn flows(&self, limit: usize) -> Result<Vec<(FlowKey, Flow)>> {
        let flows = match batch::entries(&self.flows, limit).context("reading FLOWS")? {
            Some(flows) => flows,
            None => self.flows.iter().take(limit).collect::<Result<_, _>>().context("reading FLOWS")?,
        };
        Ok(flows.into_iter().map(|(Raw(key), Raw(flow))| (key, flow)).collect())
    }
}

/// One target over all CPUs.
fn sum(per_cpu: &[Raw<Totals>]) -> Totals {
    per_cpu.iter().fold(Totals::default(), |sum, Raw(cpu)| sum.plus(cpu))
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name).with_context(|| format!("the kernel half has no map {name}"))
}
