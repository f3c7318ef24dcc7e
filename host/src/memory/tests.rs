#![allow(clippy::unwrap_used)]
use super::*;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use std::alloc;

const SIZE: usize = 1 << 24;

fn bytes(region: &mut Region, at: usize, size: usize) -> &mut [u8] {
    assert!(at + size <= region.top && region.top <= region.touched && region.touched <= region.size);
    // SAFETY: inside the region, which the caller lends.
    unsafe { std::slice::from_raw_parts_mut(region.start.add(at), size) }
}

#[test]
fn blocks_keep_what_is_written_to_them_and_join_again() {
    let mut region = Region::reserve(SIZE).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut below = |n: usize| rng.next_u32() as usize % n;
    let mut held: Vec<(usize, usize, u8)> = vec![];
    let (mut refused, mut again) = (0, 0);
    for i in 0..6_000 {
        if below(20) < 11 {
            let size = block_size(1 + below(200_000));
            let Some((at, used)) = region.take(size) else {
                refused += 1;
                continue;
            };
            let block = bytes(&mut region, at, size);
            assert!(block[used..].iter().all(|b| *b == 0), "beyond what was used all is zero");
            block.fill(i as u8 | 1);
            held.push((at, size, i as u8 | 1));
            again += usize::from(0 < used && used < size);
        } else if !held.is_empty() {
            let (at, size, byte) = held.swap_remove(below(held.len()));
            assert!(bytes(&mut region, at, size).iter().all(|b| *b == byte));
            region.give(at, size);
        }
        let free: usize = region.free.values().sum();
        assert_eq!(free + held.iter().map(|h| h.1).sum::<usize>(), region.top, "every byte is held or free");
        let ends: Vec<usize> = region.free.iter().map(|(at, size)| at + size).collect();
        assert!(ends.iter().all(|end| *end < region.top && !region.free.contains_key(end)), "what touches is joined");
    }
    assert!(refused > 0 && again > 0, "the region was full, and grew over what was used, at times");
    held.into_iter().for_each(|(at, size, _)| region.give(at, size));
    assert_eq!((region.top, region.free.len()), (0, 0));
}

#[test]
fn the_lowest_gap_that_is_large_enough_is_filled_first() {
    let mut region = Region::reserve(SIZE).unwrap();
    let size = block_size(LARGE);
    assert_ne!(size % 4096, 0, "blocks of whole pages begin at different places of a page");
    for i in 0..5 {
        assert_eq!(region.take(size), Some((i * size, 0)));
    }
    region.give(0, size);
    region.give(2 * size, size);
    region.give(3 * size, size);
    assert_eq!(region.take(2 * size), Some((2 * size, 2 * size)));
    assert_eq!(region.take(LARGE / 2), Some((0, LARGE / 2)));
    assert_eq!(region.take(size), Some((5 * size, 0)));
    assert_eq!(region.take(SIZE), None);
}

#[test]
fn free_pages_go_back_and_what_is_held_stays() {
    let mut region = Region::reserve(SIZE).unwrap();
    let size = block_size(1 << 20);
    for i in 0..4 {
        let (at, _) = region.take(size).unwrap();
        bytes(&mut region, at, size).fill(1 + i);
    }
    region.give(size, size);
    region.give(3 * size, size);
    region.release();
    for i in [0, 2] {
        assert!(bytes(&mut region, i * size, size).iter().all(|b| usize::from(*b) == 1 + i));
    }
    for at in [size, 3 * size] {
        assert_eq!(region.take(size), Some((at, size)));
        let zeros = bytes(&mut region, at, size).iter().filter(|b| **b == 0).count();
        assert!(zeros > size / 2, "pages were given back");
    }
}

#[test]
fn zeroed_grown_and_aligned_blocks_are_right() {
    for n in [LARGE - 1, LARGE, 3 * LARGE] {
        drop(std::hint::black_box(vec![1u8; n]));
        assert!(std::hint::black_box(vec![0u8; n]).iter().all(|b| *b == 0));
    }
    let mut grown: Vec<usize> = (0..LARGE).collect();
    grown.extend(LARGE..3 * LARGE);
    for n in [LARGE, 4] {
        grown.truncate(n);
        grown.shrink_to_fit();
        assert!(grown.iter().copied().eq(0..n));
    }
    let layout = Layout::from_size_align(4 * LARGE, 4096).unwrap();
    // SAFETY: the block is used within its size, and freed once with its layout.
    unsafe {
        let block = alloc::alloc(layout);
        assert_eq!(block.align_offset(4096), 0);
        block.write_bytes(7, layout.size());
        let half = alloc::realloc(block, layout, layout.size() / 2);
        assert_eq!((half.align_offset(4096), half.add(layout.size() / 2 - 1).read()), (0, 7));
        alloc::dealloc(half, Layout::from_size_align_unchecked(layout.size() / 2, 4096));
    }
}
