//! Blocks against what the `gguf` package and bitsandbytes make of the same bytes (tests/fixtures/make_blocks.py).
#![allow(clippy::unwrap_used)]

use super::*;
use safetensors::SafeTensors;

fn fixture() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/blocks.safetensors")).unwrap()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// A kind of ggml with the bytes and the numbers of the fixture.
fn ggml_cases(data: &[u8]) -> Vec<(Blocks, Vec<f32>)> {
    let file = SafeTensors::deserialize(data).unwrap();
    let kinds = BlockKind::ALL.into_iter().filter(|kind| *kind != BlockKind::Nf4);
    let case = |kind: BlockKind| {
        let (bytes, numbers) = (format!("{}.bytes", kind.name()), format!("{}.numbers", kind.name()));
        let numbers = file.tensor(&numbers).unwrap();
        let bytes = file.tensor(&bytes).unwrap().data().to_vec();
        (Blocks::new(kind, numbers.shape()[0], numbers.shape()[1], bytes).unwrap(), f32s(numbers.data()))
    };
    kinds.map(case).collect()
}

#[test]
fn ggml_blocks_are_unpacked_as_by_the_gguf_package() {
    for (blocks, expected) in ggml_cases(&fixture()) {
        assert_eq!(bits(&blocks.unpack_all()), bits(&expected), "{blocks:?}");
    }
}

#[test]
fn nf4_is_packed_and_unpacked_as_by_bitsandbytes() {
    let data = fixture();
    let file = SafeTensors::deserialize(&data).unwrap();
    let (input, expected) = (file.tensor("NF4.input").unwrap(), file.tensor("NF4.numbers").unwrap());
    let [rows, columns] = *input.shape() else { panic!("a matrix") };
    let blocks = Blocks::nf4(rows, columns, &f32s(input.data())).unwrap();
    let ours = blocks.scales.as_ref().unwrap();
    let tensor = |name: &str| file.tensor(name).unwrap().data().to_vec();
    assert_eq!(bits(nf4::scale_codes()), bits(&f32s(&tensor("NF4.scale_codes"))));
    assert_eq!(blocks.bytes[..tensor("NF4.bytes").len()], tensor("NF4.bytes"));

    // From their scales, their numbers to the bit.
    let theirs = nf4::Scales::of_parts(
        tensor("NF4.absmax"),
        f32s(&tensor("NF4.absmax_scales")),
        f32s(&tensor("NF4.absmax_mean"))[0],
    );
    let same = Blocks { scales: Some(Arc::new(theirs)), ..blocks.clone() };
    assert_eq!(bits(&same.unpack_all()), bits(&f32s(expected.data())));

    // Our scales are the nearest, where theirs on the CPU are so but for a few: never further than one code apart.
    let apart = ours.codes().iter().zip(tensor("NF4.absmax")).map(|(a, b)| a.abs_diff(b));
    let apart: Vec<u8> = apart.filter(|d| *d > 0).collect();
    assert!(apart.iter().all(|d| *d == 1) && apart.len() * 100 < ours.codes().len(), "{apart:?}");
    assert_eq!(bits(ours.scales()), bits(&f32s(&tensor("NF4.absmax_scales"))));
}

#[test]
fn parts_of_rows_are_those_of_the_whole() {
    let mut all = ggml_cases(&fixture());
    let numbers: Vec<f32> = (0..7 * 75).map(|i| (i as f32 * 0.7).sin()).collect();
    let odd = Blocks::nf4(7, 75, &numbers).unwrap();
    all.push((odd.clone(), odd.unpack_all()));
    for (blocks, expected) in all {
        let (rows, columns) = blocks.dims();
        for (start, length) in [(0, 1), (3, 40), (31, 2), (32, 32), (33, 7), (columns - 5, 5), (0, columns)] {
            for row in 0..rows {
                let mut out = vec![f32::NAN; length];
                blocks.unpack(row, start, &mut out);
                let expected = &expected[row * columns + start..][..length];
                assert_eq!(bits(&out), bits(expected), "{blocks:?}: {length} from {start} of row {row}");
            }
        }
    }
}

#[test]
fn nf4_is_near_what_it_was_made_of() {
    let numbers: Vec<f32> = (0..100 * 64).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i / 64 % 3) as f32)).collect();
    let blocks = Blocks::nf4(64, 100, &numbers).unwrap();
    let unpacked = blocks.unpack_all();
    for (i, (block, found)) in numbers.chunks(64).zip(unpacked.chunks(64)).enumerate() {
        let largest = block.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        // Half of the widest gap between codes, and what the scale's own code leaves.
        assert!(block.iter().zip(found).all(|(a, b)| (a - b).abs() < 0.2 * largest), "block {i}");
    }
    assert_eq!(blocks.size(), BlockKind::Nf4.bytes(numbers.len()));
    assert_eq!(Blocks::nf4(2, 64, &[0.0; 128]).unwrap().unpack_all(), [0.0; 128]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let fails = |r: Result<Blocks>, what: &str| assert!(r.unwrap_err().to_string().contains(what));
    fails(Blocks::new(BlockKind::Q4_K, 1, 128, vec![0; 72]), "no whole number of Q4_K's blocks of 256");
    fails(Blocks::new(BlockKind::Q8_0, 2, 32, vec![0; 67]), "takes 68 bytes, not 67");
    fails(Blocks::new(BlockKind::Nf4, 2, 64, vec![0; 64]), "NF4 is made of numbers");
    fails(Blocks::nf4(2, 64, &[0.0; 127]), "has 127 numbers");
}
