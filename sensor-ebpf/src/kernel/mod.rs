//! The only code that knows it is in the kernel: maps, socket buffers, programs.
//! It decides nothing; it hands the classifier of the library what it asks for.

mod maps;
mod skb;
mod tc;

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
