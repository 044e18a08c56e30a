//! A frame through a loaded program by `BPF_PROG_TEST_RUN`.

use aya::programs::{TestRun as _, TestRunOptions};
use sensor::bpf::Programs;
use sensor_ebpf::abi::{Direction, program};
use sensor_ebpf::headers::Link;
use sensor_ebpf::packet::Aggregate;

/// `TCX_NEXT`, `TC_ACT_UNSPEC`.
const NEXT: i32 = -1;

/// As it comes to an interface.
pub struct Arriving<'a> {
    pub bytes: &'a [u8],
    pub link: Link,
    pub direction: Direction,
    pub aggregate: Aggregate,
}

/// Runs it so many times; each time it has to go on to whoever comes next.
pub fn run(programs: &mut Programs, arriving: &Arriving<'_>, times: u32) {
    let names = if arriving.link == Link::Ip { program::IP } else { program::ETHERNET };
    let program = programs.get(names[arriving.direction as usize]).expect("a program");
    let context = context(arriving.aggregate);
    let options = TestRunOptions {
        data_in: Some(arriving.bytes),
        ctx_in: Some(&context),
        repeat: times,
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).unwrap_or_else(|error| panic!("{:?}: {error:?}", arriving.bytes));
    assert_eq!(result.return_value.cast_signed(), NEXT, "the packet goes on");
}

/// A `struct __sk_buff` (include/uapi/linux/bpf.h) of which only the aggregate's size is set.
fn context(aggregate: Aggregate) -> [u8; 184] {
    const GSO_SEGS: usize = 164;
    const GSO_SIZE: usize = 176;
    let mut context = [0; 184];
    context[GSO_SEGS..][..4].copy_from_slice(&aggregate.segments.to_ne_bytes());
    context[GSO_SIZE..][..4].copy_from_slice(&aggregate.segment_size.to_ne_bytes());
    context
}
