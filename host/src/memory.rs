//! Where tensors lie: blocks of 64 KiB and more have a region of addresses of their own, first fit by address, and stay with the process
//! when they are free.
//!
//! Every result of an operation is a fresh block, and a training step asks for the same few sizes over and over. An allocator that gives
//! them back to the system has each mapped anew, page by page, which doubled the time of a step. One that keeps them among small blocks
//! leaves gaps that no tensor fits, as many as the threads' order makes: equal runs held 1.1 to 1.4 times what they used. Here they hold
//! about 1.02 times that. Small blocks are the system allocator's, and all of them where there is no such region.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

#[cfg(test)]
mod tests;

/// Bytes from which on a block lies in the region.
const LARGE: usize = 64 << 10;

/// Blocks are whole cache lines, and one line more than they need: tensors of whole pages would otherwise all begin at the same place of a
/// page, where they compete for the same cache lines.
const LINE: usize = 64;

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

static REGION: OnceLock<Option<Mutex<Region>>> = OnceLock::new();

fn region() -> Option<MutexGuard<'static, Region>> {
    let region = REGION.get_or_init(|| Region::reserve(physical_memory()?).map(Mutex::new)).as_ref()?;
    Some(region.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Gives memory that is free inside this process back to the system.
pub fn release() {
    #[cfg(target_os = "linux")]
    if let Some(region) = region() {
        region.release();
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

fn take(layout: Layout) -> Option<(*mut u8, usize)> {
    if layout.size() < LARGE || layout.align() > LINE { None } else { region()?.take(block_size(layout.size())) }
}

// SAFETY: a block is System's, or taken from the region and given back to it once; which of them, its size and address tell.
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
        let ours = layout.size() >= LARGE && region().is_some_and(|mut r| r.give(block, block_size(layout.size())));
        if !ours {
            // SAFETY: the caller's promise, and the region has not given it out.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() < LARGE && size < LARGE {
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

/// A range of addresses: blocks in use and free ones up to `top`, and above it what was never used.
struct Region {
    start: *mut u8,
    end: *mut u8,
    top: *mut u8,
    /// The free blocks in order of their addresses. No two touch.
    free: *mut Free,
}

// SAFETY: it alone holds its range, and the lock around it lets one thread at it.
unsafe impl Send for Region {}

/// What a free block begins with.
struct Free {
    size: usize,
    next: *mut Free,
}

impl Free {
    fn end(&self) -> *mut u8 {
        ptr::from_ref(self).cast_mut().cast::<u8>().wrapping_add(self.size)
    }
}

/// Writes a free block's beginning.
///
/// # Safety
/// `size` bytes from there on are nobody else's, whole lines.
#[allow(clippy::cast_ptr_alignment)]
unsafe fn free_block(at: *mut u8, size: usize, next: *mut Free) -> *mut Free {
    let free = at.cast::<Free>();
    // SAFETY: the caller's promise; lines are aligned well enough.
    unsafe { free.write(Free { size, next }) };
    free
}

impl Region {
    /// Addresses for that many bytes, which cost nothing until they are written to; None where the system has none.
    fn reserve(size: usize) -> Option<Self> {
        #[cfg(target_os = "linux")]
        // SAFETY: a new mapping overlaps nothing; advice changes no contents.
        unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let start = libc::mmap(ptr::null_mut(), size, access, kind | libc::MAP_NORESERVE, -1, 0);
            if start == libc::MAP_FAILED {
                return None;
            }
            // Fewer faults and fewer misses of the TLB, where the system has large pages; without them it works as well.
            libc::madvise(start, size, libc::MADV_HUGEPAGE);
            let start = start.cast::<u8>();
            Some(Self { start, end: start.add(size), top: start, free: ptr::null_mut() })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// A block, and how many of its first bytes may have been used before; the others are zero. None where nothing fits.
    fn take(&mut self, size: usize) -> Option<(*mut u8, usize)> {
        let mut link: *mut *mut Free = &raw mut self.free;
        // SAFETY: links lead to free blocks, whose beginnings `free_block` wrote; new blocks lie inside free ones or between top and end.
        unsafe {
            while !(*link).is_null() {
                let free = *link;
                let (Free { size: used, next }, at) = (free.read(), free.cast::<u8>());
                if used >= size {
                    *link = if used > size { free_block(at.add(size), used - size, next) } else { next };
                    return Some((at, size));
                }
                if (*free).end() == self.top {
                    self.grow(size - used)?;
                    *link = ptr::null_mut();
                    return Some((at, used));
                }
                link = &raw mut (*free).next;
            }
        }
        Some((self.grow(size)?, 0))
    }

    /// Moves the top up, and returns where it was.
    fn grow(&mut self, by: usize) -> Option<*mut u8> {
        let top = self.top;
        if by > self.end.addr() - top.addr() {
            return None;
        }
        self.top = top.wrapping_add(by);
        Some(top)
    }

    /// Takes a block back; false where it is none of this region's.
    fn give(&mut self, block: *mut u8, size: usize) -> bool {
        if !(self.start..self.top).contains(&block) {
            return false;
        }
        let (mut before, mut after) = (ptr::null_mut::<Free>(), self.free);
        // SAFETY: as in `take`; the block was taken, so nobody else has its bytes.
        unsafe {
            while !after.is_null() && after.cast::<u8>() < block {
                (before, after) = (after, (*after).next);
            }
            let mut free = free_block(block, size, after);
            if !after.is_null() && (*free).end() == after.cast() {
                free = free_block(block, size + (*after).size, (*after).next);
            }
            if before.is_null() {
                self.free = free;
            } else if (*before).end() == block {
                free_block(before.cast(), (*before).size + (*free).size, (*free).next);
            } else {
                (*before).next = free;
            }
        }
        true
    }

    /// Gives the pages of free blocks back, but those with their beginnings.
    #[cfg(target_os = "linux")]
    fn release(&self) {
        const PAGE: usize = 4096;
        let mut free = self.free;
        // SAFETY: as in `take`; whole pages inside a free block, after its beginning.
        unsafe {
            while !free.is_null() {
                let start = free.add(1).cast::<u8>();
                let skip = start.align_offset(PAGE);
                let pages = (*free).size.saturating_sub(size_of::<Free>() + skip) / PAGE;
                if pages > 0 {
                    libc::madvise(start.add(skip).cast(), pages * PAGE, libc::MADV_DONTNEED);
                }
                free = (*free).next;
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
