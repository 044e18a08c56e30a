//! What every object for the kernel needs, whatever its programs: a licence, and an answer to a panic.

/// Read by the kernel: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A reachable panic becomes a loop without end, which the verifier refuses to load:
/// better than undefined behaviour on every host.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
