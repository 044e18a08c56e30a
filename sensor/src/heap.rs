//! What the C library's allocator is told; which one it is, is not decided here.

/// Keeps glibc from taking large blocks out of its heap once it has seen some come and go: what is compiled
/// at the start and at each reload would leave holes there that the system never gets back (mallopt(3),
/// "dynamic mmap threshold"). Other C libraries do not do that.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE_BYTES: libc::c_int = 128 * 1024;
        // SAFETY: it sets a number. Where it is refused, all stays as it was.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}
