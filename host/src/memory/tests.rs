#![allow(clippy::unwrap_used)]
use super::*;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use std::collections::BTreeMap;

const SIZE: usize = 1 << 24;

fn sizes_of_free(region: &Region) -> Vec<usize> {
    let (mut sizes, mut free) = (vec![], region.free);
    while !free.is_null() {
        // SAFETY: links lead to free blocks.
        let Free { size, next } = unsafe { free.read() };
        sizes.push(size);
        free = next;
    }
    sizes
}

#[test]
fn blocks_keep_what_is_written_to_them_and_join_again() {
    let mut region = Region::reserve(SIZE).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut below = |n: usize| rng.next_u32() as usize % n;
    let mut held: BTreeMap<usize, (*mut u8, usize)> = BTreeMap::new();
    let mut refused = 0;
    for i in 0..20_000 {
        if below(20) < 11 {
            let size = block_size(1 + below(200_000));
            match region.take(size) {
                Some((block, used)) => {
                    assert!(
                        region.start <= block && block.wrapping_add(size) <= region.top && region.top <= region.end
                    );
                    assert_eq!(block.align_offset(LINE), 0);
                    // SAFETY: the region gave these bytes out.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(block, size) };
                    assert!(bytes[used..].iter().all(|b| *b == 0), "beyond what was used all is zero");
                    bytes.fill(i as u8);
                    held.insert(i, (block, size));
                }
                None => refused += 1,
            }
        } else if let Some(oldest) = held.keys().copied().nth(below(held.len().max(1))) {
            let (block, size) = held.remove(&oldest).unwrap();
            // SAFETY: the block is still held.
            assert!(unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|b| *b == oldest as u8));
            assert!(region.give(block, size));
        }
        let free: usize = sizes_of_free(&region).iter().sum();
        let used: usize = held.values().map(|(_, size)| size).sum();
        assert_eq!(free + used, region.top.addr() - region.start.addr(), "every byte is held or free");
    }
    assert!(refused > 0, "the region was full at times");
    for (block, size) in held.into_values() {
        assert!(region.give(block, size));
    }
    assert_eq!(sizes_of_free(&region), [region.top.addr() - region.start.addr()]);
}

#[test]
fn a_gap_is_filled_before_the_top_grows() {
    let mut region = Region::reserve(SIZE).unwrap();
    let size = block_size(LARGE);
    let [first, _second, third] = [(); 3].map(|()| region.take(size).unwrap().0);
    region.give(first, size);
    region.give(third, size);
    let half = block_size(LARGE / 2);
    assert_eq!(region.take(half).unwrap(), (first, half));
    // Too large for the gap: the free block below the top grows.
    assert_eq!(region.take(2 * size).unwrap(), (third, size));
    assert!(!region.give(region.end, size), "no block of the region");
    assert_eq!(region.take(SIZE), None);
}

#[test]
fn free_pages_go_back_as_zeros() {
    let mut region = Region::reserve(SIZE).unwrap();
    let size = block_size(1 << 20);
    let (block, _) = region.take(size).unwrap();
    // SAFETY: the region gave these bytes out.
    unsafe { block.write_bytes(1, size) };
    region.give(block, size);
    region.release();
    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts(region.take(size).unwrap().0, size) };
    assert!(bytes[4096..1 << 20].iter().all(|b| *b == 0));
}

#[test]
fn zeroed_and_grown_vectors_are_right() {
    for _ in 0..3 {
        let dirty = std::hint::black_box(vec![1u8; 3 * LARGE]);
        drop(dirty);
        assert!(std::hint::black_box(vec![0u8; 3 * LARGE]).iter().all(|b| *b == 0));
    }
    let mut grown = vec![];
    for i in 0..LARGE {
        grown.push(i);
    }
    grown.truncate(LARGE / 2);
    grown.shrink_to_fit();
    grown.truncate(4);
    grown.shrink_to_fit();
    assert_eq!(grown, [0, 1, 2, 3]);
}
