//! Buffers for a plugin that show when it reads or writes beside them.

use std::ptr::NonNull;

/// Where in its pages a buffer lies. The pages before and after them can be neither read nor written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Begins this many numbers after the beginning of a page, and as many follow it that may be touched.
    Start(usize),
    /// Ends where the unreadable page begins: one number too far is a SIGSEGV.
    End,
}

impl At {
    /// Aligned, with room on both sides for those who touch too much.
    pub const PLAIN: At = At::Start(32);
}

/// Bytes of a page, which is the kernel's choice.
pub fn page() -> usize {
    // SAFETY: asks for a constant of the system.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Numbers before and after a buffer, within readable pages, that nobody may change. A NaN that no computation makes.
const CANARY: u32 = 0x7fab_cdef;

/// Numbers in their own pages.
pub struct Buffer {
    pages: NonNull<u8>,
    /// Bytes mapped, with the two guards.
    mapped: usize,
    /// Numbers before the buffer in the readable pages.
    before: usize,
    len: usize,
}

impl Buffer {
    /// A buffer that holds `values`.
    pub fn new(values: &[f32], at: At) -> Self {
        let page = page();
        let lead = match at {
            At::Start(lead) => lead,
            At::End => 0,
        };
        let inner = ((2 * lead + values.len()) * 4).next_multiple_of(page).max(page);
        let mapped = inner + 2 * page;
        // SAFETY: asks for fresh pages at no particular place.
        let pages = unsafe {
            libc::mmap(std::ptr::null_mut(), mapped, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(pages, libc::MAP_FAILED, "no memory for {} numbers", values.len());
        // SAFETY: the pages between the guards, all of them ours.
        let opened = unsafe { libc::mprotect(pages.byte_add(page), inner, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(opened, 0, "no memory for {} numbers", values.len());
        let before = match at {
            At::Start(lead) => lead,
            At::End => inner / 4 - values.len(),
        };
        let pages = NonNull::new(pages.cast::<u8>()).expect("mmap does not give page 0");
        let mut buffer = Self { pages, mapped, before, len: values.len() };
        buffer.inner_mut().fill(f32::from_bits(CANARY));
        buffer.values_mut().copy_from_slice(values);
        buffer
    }
    fn inner(&self) -> &[f32] {
        let len = (self.mapped - 2 * page()) / 4;
        // SAFETY: the readable pages, aligned, initialised by the kernel, alive as long as self.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().add(page()).cast(), len) }
    }
    fn inner_mut(&mut self) -> &mut [f32] {
        let len = (self.mapped - 2 * page()) / 4;
        // SAFETY: as `inner`, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_ptr().add(page()).cast(), len) }
    }
    /// The numbers.
    pub fn values(&self) -> &[f32] {
        &self.inner()[self.before..][..self.len]
    }
    /// The numbers, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let (before, len) = (self.before, self.len);
        &mut self.inner_mut()[before..][..len]
    }
    /// How many numbers beside the buffer have changed.
    pub fn changed_beside(&self) -> usize {
        let (before, rest) = self.inner().split_at(self.before);
        before.iter().chain(&rest[self.len..]).filter(|v| v.to_bits() != CANARY).count()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped; nothing borrows it any more.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_where_they_should_and_neighbours_are_watched() {
        for (at, offset) in [(At::Start(0), 0), (At::Start(3), 12), (At::End, page() - 20)] {
            let mut buffer = Buffer::new(&[1.0, 2.0, 3.0, 4.0, 5.0], at);
            assert_eq!(buffer.values(), [1.0, 2.0, 3.0, 4.0, 5.0]);
            assert_eq!(buffer.values().as_ptr().addr() % page(), offset);
            assert_eq!(buffer.changed_beside(), 0);
            let beside = if at == At::End { buffer.before - 1 } else { buffer.before + buffer.len };
            buffer.inner_mut()[beside] = 0.0;
            assert_eq!(buffer.changed_beside(), 1);
        }
        assert!(Buffer::new(&[], At::End).values().is_empty());
        assert_eq!(Buffer::new(&[7.0; 5000], At::End).values(), [7.0; 5000]);
    }
}
