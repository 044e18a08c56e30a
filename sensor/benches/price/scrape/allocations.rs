//! How often a piece of work asks the allocator for memory: counted on its own thread, and only
//! while it runs, so that whatever else goes on changes nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// What this thread asked for since it began to count; `None` while nobody wants to know.
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing, since
// the counter is a constant at first and has nothing to drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count() {
    // A thread that ends has no counter any more.
    let _ = COUNTED.try_with(|counted| counted.set(counted.get().map(|count| count + 1)));
}

/// What `work` returns, and its allocations and reallocations on this thread.
pub fn counted<R>(work: impl FnOnce() -> R) -> (R, u64) {
    COUNTED.set(Some(0));
    let done = work();
    (done, COUNTED.take().unwrap_or_default())
}
