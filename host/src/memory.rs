//! The allocator: allocations of 64 KiB and more, which tensors are, come from a reserved range of addresses, first
//! fit, and their memory stays with the process when they are freed.
//!
//! Every result of an operation is a fresh block, and a training step asks for the same few sizes over and over. An
//! allocator that returns them to the system has each mapped anew, page by page, which doubled the time of a step. One
//! that keeps them among small blocks is fragmented in ways that depend on the order of threads: equal runs held 1.1 to
//! 1.4 times what they used. Here they hold about 1.02 times that. Small blocks are the system allocator's, and all of
//! them where there is no such region.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    ptr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

#[cfg(all(test, target_os = "linux"))]
mod tests;

/// Bytes from which on a block lies in the region.
const LARGE: usize = 64 << 10;

/// Blocks are whole cache lines, and one line more than they need: tensors of whole pages would otherwise all begin at
/// the same place of a page, where they compete for the same cache lines.
const LINE: usize = 64;

/// The allocator, for a binary to install: whoever links the library keeps their own.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: ldalign::memory::Allocator = ldalign::memory::Allocator;
/// ```
pub struct Allocator;

// The library's own tests measure and strain it.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What its lock and its map allocate is never large, so it does not come back here.
static REGION: OnceLock<Option<Mutex<Region>>> = OnceLock::new();

fn region() -> Option<MutexGuard<'static, Region>> {
    let region = REGION.get_or_init(|| Region::reserve(physical_memory()?).map(Mutex::new)).as_ref()?;
    Some(region.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Gives memory that is free inside this process back to the system.
pub fn release() {
    // A process that has installed another allocator has no region.
    #[cfg(target_os = "linux")]
    if let Some(Some(region)) = REGION.get() {
        region.lock().unwrap_or_else(PoisonError::into_inner).release();
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a plain number and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn block_size(size: usize) -> usize {
    (size + LINE).next_multiple_of(LINE)
}

/// A block of the region, and how many of its first bytes may have been used before; the others are zero.
fn take(layout: Layout) -> Option<(*mut u8, usize)> {
    if layout.size() < LARGE || layout.align() > LINE {
        return None;
    }
    let mut region = region()?;
    let (at, used) = region.take(block_size(layout.size()))?;
    Some((region.start.wrapping_add(at), used))
}

/// Takes a block back; false where it is none of the region's.
fn give(block: *mut u8, layout: Layout) -> bool {
    if layout.size() < LARGE {
        return false;
    }
    let Some(mut region) = region() else { return false };
    let at = block.addr().wrapping_sub(region.start.addr());
    let ours = at < region.size;
    if ours {
        region.give(at, block_size(layout.size()));
    }
    ours
}

// SAFETY: a block is System's, or taken from the region and given back to it once; which of them, its size and address
// tell.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        take(layout).map_or_else(|| unsafe { System.alloc(layout) }, |(block, _)| block)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((block, used)) = take(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        };
        // SAFETY: the block has that many bytes; pages that were never used are zero.
        unsafe { block.write_bytes(0, used.min(layout.size())) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !give(block, layout) {
            // SAFETY: the caller's promise, and the region has not given it out.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() < LARGE && size < LARGE || region().is_none() {
            // SAFETY: the caller's promise.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller's promise; the two blocks do not overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// A range of addresses. Places in it are counted from its start.
struct Region {
    start: *mut u8,
    size: usize,
    /// Nothing from here on is in use.
    top: usize,
    /// Nothing from here on was ever used: it is zero.
    touched: usize,
    /// Sizes of the free blocks by their places. None touches another, or `top`.
    free: BTreeMap<usize, usize>,
}

// SAFETY: its range belongs to no thread.
unsafe impl Send for Region {}

impl Region {
    /// That many addresses or, where the system limits them, fewer; None where it has none. They cost nothing until
    /// they are written to.
    #[cfg(target_os = "linux")]
    fn reserve(mut size: usize) -> Option<Self> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        while size >= LARGE {
            // SAFETY: a new mapping overlaps nothing, and advice changes no contents.
            unsafe {
                let start = libc::mmap(ptr::null_mut(), size, access, kind | libc::MAP_NORESERVE, -1, 0);
                if start != libc::MAP_FAILED {
                    // Fewer faults, and fewer misses of the TLB, where the system has large pages.
                    libc::madvise(start, size, libc::MADV_HUGEPAGE);
                    // A dump of all tensors helps nobody, and takes long.
                    libc::madvise(start, size, libc::MADV_DONTDUMP);
                    return Some(Self { start: start.cast(), size, top: 0, touched: 0, free: BTreeMap::new() });
                }
            }
            size /= 2;
        }
        None
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(_: usize) -> Option<Self> {
        None
    }

    /// The place of a block, the lowest that is large enough, and how many of its first bytes may have been used
    /// before.
    fn take(&mut self, size: usize) -> Option<(usize, usize)> {
        let fits = self.free.iter().find(|(_, room)| **room >= size);
        if let Some((at, room)) = fits.map(|(at, room)| (*at, *room)) {
            self.free.remove(&at);
            if room > size {
                self.free.insert(at + size, room - size);
            }
            return Some((at, size));
        }
        let at = self.top;
        if size > self.size - at {
            return None;
        }
        let used = size.min(self.touched - at);
        self.top += size;
        self.touched = self.touched.max(self.top);
        Some((at, used))
    }

    /// Takes a block back, and joins it with what is free beside it.
    fn give(&mut self, mut at: usize, mut size: usize) {
        let before = self.free.range(..at).next_back().map(|(at, room)| (*at, *room));
        if let Some((before, room)) = before.filter(|(before, room)| before + room == at) {
            self.free.remove(&before);
            (at, size) = (before, room + size);
        }
        size += self.free.remove(&(at + size)).unwrap_or(0);
        if at + size == self.top {
            self.top = at;
        } else {
            self.free.insert(at, size);
        }
    }

    /// Gives the whole pages of what is free back.
    #[cfg(target_os = "linux")]
    fn release(&mut self) {
        // SAFETY: sysconf takes a plain number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(usize::MAX);
        let above = (self.top, self.touched - self.top);
        for (at, size) in self.free.iter().map(|(at, size)| (*at, *size)).chain([above]) {
            let (first, end) = (at.div_ceil(page) * page, (at + size) / page * page);
            if first < end {
                // SAFETY: whole pages inside the region that nobody uses.
                unsafe { libc::madvise(self.start.add(first).cast(), end - first, libc::MADV_DONTNEED) };
            }
        }
    }
}

/// Bytes of memory the machine has: there cannot be more tensors than that, so an absurd size is still refused.
fn physical_memory() -> Option<usize> {
    #[cfg(target_os = "linux")]
    // SAFETY: sysconf takes a plain number.
    let [pages, size] = unsafe { [libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)] };
    #[cfg(not(target_os = "linux"))]
    let [pages, size] = [0, 0];
    usize::try_from(pages).ok()?.checked_mul(usize::try_from(size).ok()?)
}
