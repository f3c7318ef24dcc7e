//! Products against loops in f64, and their bits against those of rows computed alone.
#![allow(clippy::unwrap_used)]

use super::{
    narrow::{to_bf16_at, to_bf16_transposed_at},
    *,
};
use crate::ops::{
    blocks::{BlockKind, Blocks},
    kernels::simd::Level,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| random.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
}

fn rounded(x: &[f32], precision: Precision) -> Vec<f32> {
    match precision {
        Precision::F32 => x.to_vec(),
        Precision::Bf16 => x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect(),
    }
}

/// Rows as columns.
fn transposed<T: Copy>(x: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}

/// start + x wᵀ in f64, and the sum of the terms' sizes.
fn reference(x: &[f32], w: &[f32], [m, n, k]: [usize; 3], start: &[f32]) -> Vec<(f64, f64)> {
    let value = |i: usize| {
        let (r, c) = (i / n, i % n);
        let terms =
            x[r * k..(r + 1) * k].iter().zip(&w[c * k..(c + 1) * k]).map(|(a, b)| f64::from(*a) * f64::from(*b));
        terms.fold((f64::from(start[i]), f64::from(start[i]).abs()), |(s, size), t| (s + t, size + t.abs()))
    };
    (0..m * n).map(value).collect()
}

fn assert_close(got: &[f32], expected: &[(f64, f64)], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (x, (y, size))) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*x) - y).abs() <= 1e-6 * size + 1e-12, "{what}: {x} instead of {y} at {i}");
    }
}

/// Shapes [m, n, k] that end inside vectors, tiles, panels, strips and chains; the last one is more than tasks share.
const SHAPES: [[usize; 3]; 17] = [
    [1, 1, 1],
    [1, 5, 3],
    [2, 49, 130],
    [3, 16, 17],
    [5, 100, 31],
    [7, 33, 257],
    [8, 48, 64],
    [9, 17, 5],
    [15, 3, 2],
    [16, 64, 48],
    [17, 9, 33],
    [48, 20, 16],
    [50, 31, 1030],
    [97, 45, 96],
    [113, 200, 70],
    [12, 21, 2500],
    [20, 1100, 2100],
];

#[test]
fn products_equal_sums_in_f64() {
    for shape in SHAPES {
        for precision in PRECISIONS {
            for add in [false, true] {
                check_products(shape, precision, add);
            }
        }
    }
}

/// Every product of one shape at every level.
fn check_products([m, n, k]: [usize; 3], precision: Precision, add: bool) {
    let (x, w) = (numbers(1, m * k), numbers(2, n * k));
    let start = if add { numbers(3, m * n) } else { vec![0.0; m * n] };
    let fresh = || if add { start.clone() } else { vec![f32::NAN; m * n] };
    let expected = reference(&rounded(&x, precision), &rounded(&w, precision), [m, n, k], &start);
    let narrow: Vec<bf16> = w.iter().map(|x| bf16::from_f32(*x)).collect();
    // The sum of a gradient goes over the rows: those are the columns here.
    let (x_t, w_t) = (transposed(&x, m, k), transposed(&w, n, k));
    let forms = match precision {
        Precision::F32 => vec![Weights::Rows(Numbers::F32(&w)), Weights::Columns(Numbers::F32(&w_t))],
        Precision::Bf16 => vec![Weights::Rows(Numbers::Bf16(&narrow))],
    };
    for level in Level::available() {
        let what = format!("{level:?} {precision:?} {m}x{n}x{k} add {add}");
        let panels = Panels::at(level, &x, k, precision);
        for (i, form) in forms.iter().enumerate() {
            let mut out = fresh();
            panels.times(*form, n, &mut out, add);
            assert_close(&out, &expected, &format!("{what}, weights {i}"));
        }
        let mut out = fresh();
        weight_gradient_at(level, &x_t, &w_t, [k, m, n], precision, &mut out, add);
        assert_close(&out, &expected, &format!("{what}, gradient"));
    }
}

#[test]
fn rows_have_the_same_bits_in_any_batch_and_on_any_threads() {
    let pools = [1, 2, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    let (rows, n, k) = (100, 100, 1300);
    for level in Level::available() {
        for precision in PRECISIONS {
            let (x, w) = (numbers(4, rows * k), numbers(5, n * k));
            let (narrow, w_t) = (to_bf16(&w), transposed(&w, n, k));
            let forms = match precision {
                Precision::F32 => vec![Weights::Rows(Numbers::F32(&w)), Weights::Columns(Numbers::F32(&w_t))],
                Precision::Bf16 => vec![Weights::Rows(Numbers::Bf16(&narrow))],
            };
            for form in forms {
                let times = |x: &[f32]| {
                    let mut out = vec![0.0; x.len() / k * n];
                    Panels::at(level, x, k, precision).times(form, n, &mut out, false);
                    out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                let alone: Vec<Vec<u32>> = x.chunks(k).map(times).collect();
                for m in (1..20).chain([31, 32, 33, 47, 48, 49, 63, 64, 65, 96, 97, 100]) {
                    for (pool, first) in pools.iter().zip([0, rows - m, (rows - m) / 2]) {
                        let got = pool.install(|| times(&x[first * k..(first + m) * k]));
                        assert!(got == alone[first..first + m].concat(), "{level:?} {precision:?} {m} rows");
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_have_the_same_bits_on_any_threads() {
    let (m, n, k) = (150, 200, 100);
    let (dy, x) = (numbers(6, m * n), numbers(7, m * k));
    for precision in PRECISIONS {
        let bits = [1, 2, 3].map(|threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let mut out = vec![0.0; n * k];
                weight_gradient(&dy, &x, m, n, k, precision, &mut out, false);
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            })
        });
        assert!(bits[0] == bits[1] && bits[0] == bits[2]);
    }
}

#[test]
fn a_column_of_the_result_does_not_depend_on_the_others() {
    let (m, n, k) = (20, 70, 200);
    let (x, w) = (numbers(8, m * k), numbers(9, n * k));
    let panels = Panels::new(&x, k, Precision::F32);
    let mut all = vec![0.0; m * n];
    panels.times(Weights::Rows(Numbers::F32(&w)), n, &mut all, false);
    for (column, w) in w.chunks(k).enumerate() {
        let mut one = vec![0.0; m];
        panels.times(Weights::Rows(Numbers::F32(w)), 1, &mut one, false);
        assert!(one.iter().enumerate().all(|(r, x)| x.to_bits() == all[r * n + column].to_bits()), "column {column}");
    }
}

#[test]
fn narrowing_rounds_to_nearest_even() {
    for level in Level::available() {
        for (rows, cols) in [(1, 1), (3, 70), (33, 65), (64, 16), (100, 7)] {
            let mut x = numbers(10, rows * cols);
            for (x, special) in
                x.iter_mut().zip([f32::NAN, f32::INFINITY, -0.0, 3.4e38, 1.003_906_2, 1.011_718_8, -1.003_906_2])
            {
                *x = special;
            }
            let bits = |v: Vec<bf16>| v.into_iter().map(bf16::to_bits).collect::<Vec<_>>();
            let expected: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
            assert_eq!(bits(to_bf16_at(level, &x)), bits(expected.clone()), "{level:?}");
            let expected = transposed(&expected, rows, cols);
            assert_eq!(bits(to_bf16_transposed_at(level, &x, rows, cols)), bits(expected), "{level:?} {rows}x{cols}");
        }
    }
}

#[test]
fn empty_products_are_zero() {
    let mut out = [];
    Panels::new(&[], 3, Precision::F32).times(Weights::Rows(Numbers::F32(&[0.0; 6])), 2, &mut out, false);
    let mut out = [1.0; 4];
    weight_gradient(&[], &[], 0, 2, 2, Precision::F32, &mut out, true);
    assert_eq!(out, [1.0; 4]);
    weight_gradient(&[], &[], 0, 2, 2, Precision::F32, &mut out, false);
    assert_eq!(out, [0.0; 4]);
}

/// A matrix [rows, columns] of a kind, of bytes that mean finite numbers.
fn blocks(kind: BlockKind, rows: usize, columns: usize) -> Blocks {
    if kind == BlockKind::Nf4 {
        return Blocks::nf4(rows, columns, &numbers(5, rows * columns)).unwrap();
    }
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut bytes = vec![0; kind.bytes(rows * columns)];
    random.fill_bytes(&mut bytes);
    // Bytes of which numbers of 16 bits are made stay below the exponent of infinity.
    bytes.iter_mut().for_each(|byte| *byte &= 0xbb);
    Blocks::new(kind, rows, columns, bytes).unwrap()
}

/// The rule: a product with blocks is the product with their numbers in f32, or with those rounded to bf16.
#[test]
fn a_product_with_blocks_equals_that_with_their_numbers_to_the_bit() {
    // Rows end inside vectors; sums inside strips and chains; NF4's blocks go over row ends.
    for (kind, rows, columns) in BlockKind::ALL.into_iter().flat_map(|kind| {
        let width = kind.block().0;
        let odd = (kind == BlockKind::Nf4).then_some((kind, 35, 77));
        [Some((kind, 50, width)), Some((kind, 19, 1280)), odd].into_iter().flatten()
    }) {
        let blocks = blocks(kind, rows, columns);
        let wide = blocks.unpack_all();
        assert!(wide.iter().all(|x| x.is_finite()) && wide.iter().any(|x| *x != wide[0]), "{kind:?}");
        for m in [1, 3, 8, 9, 70] {
            equal_products(&format!("{kind:?} {m} [{rows}, {columns}]"), Numbers::Blocks(&blocks), &wide, m, columns);
        }
    }
}

/// bf16 read as it lies, backwards, is what its transpose gave; and it has the products of its numbers in f32.
#[test]
fn a_product_with_bf16_equals_that_with_its_numbers_to_the_bit() {
    for [m, rows, columns] in SHAPES {
        let narrow = to_bf16(&numbers(7, rows * columns));
        let wide: Vec<f32> = narrow.iter().map(|x| x.to_f32()).collect();
        equal_products(&format!("{m} [{rows}, {columns}]"), Numbers::Bf16(&narrow), &wide, m, columns);
    }
}

fn equal_products(what: &str, found: Numbers, wide: &[f32], m: usize, columns: usize) {
    let rows = wide.len() / columns;
    let (narrow, narrow_transposed) = (to_bf16(wide), to_bf16_transposed(wide, rows, columns));
    for (level, add) in Level::available().into_iter().zip([false, true].into_iter().cycle()) {
        let product = |precision, w, k: usize, n: usize| {
            let mut out = if add { numbers(3, m * n) } else { vec![f32::NAN; m * n] };
            Panels::at(level, &numbers(4, m * k), k, precision).times(w, n, &mut out, add);
            out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let equal = |precision, found, expected, k, n| {
            let same = product(precision, found, k, n) == product(precision, expected, k, n);
            assert!(same, "{what} {level:?} {precision:?}, {k} to {n}");
        };
        let (f32, bf16) = (Precision::F32, Precision::Bf16);
        equal(f32, Weights::Rows(found), Weights::Rows(Numbers::F32(wide)), columns, rows);
        equal(bf16, Weights::Rows(found), Weights::Rows(Numbers::Bf16(&narrow)), columns, rows);
        equal(f32, Weights::Columns(found), Weights::Columns(Numbers::F32(wide)), rows, columns);
        equal(bf16, Weights::Columns(found), Weights::Rows(Numbers::Bf16(&narrow_transposed)), rows, columns);
        // f32 is rounded in passing.
        equal(bf16, Weights::Rows(Numbers::F32(wide)), Weights::Rows(Numbers::Bf16(&narrow)), columns, rows);
    }
}
