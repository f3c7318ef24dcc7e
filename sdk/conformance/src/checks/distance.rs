//! What a distance owes: finite values of at least 0 for every shape, and what it declares.

use super::fail;
use crate::{
    inputs::{SHAPES, len, shape, show, smallest},
    subject::{Context, Fitted, Refusal, Stop},
    suite::{About, Check},
};
use ldalign_abi::Shape;
use ldalign_sdk::metadata::DISTANCE;

const fn check(id: &'static str, sentence: &'static str, run: fn(&Context<'_>) -> Result<(), Stop>) -> Check {
    Check { id, sentence, about: About::Kind(DISTANCE), run }
}

/// Where axioms are tried: low dimensions show them best, one wide shape stands for the rest.
const FEW: [Shape; 8] =
    [shape(1, 1), shape(1, 2), shape(1, 3), shape(2, 2), shape(1, 8), shape(1, 17), shape(4, 16), shape(1, 128)];

/// Distances are computed in f32 or f64, and the order of a sum is free: they may differ by this share.
const TOLERANCE: f32 = 1e-5;

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    check("distance/nonnegative", "Distances of latents of any shape are finite and at least 0", |c| {
        in_shapes(c, &SHAPES, |f, c| {
            let mut rng = c.rng("nonnegative");
            let n = 9 * len(f.shape);
            let (a, b) = (rng.normals(n), rng.normals(n));
            let distances = f.measure(&a, &b)?;
            let Some(i) = distances.iter().position(|d| !good(*d)) else { return Ok(()) };
            let each = len(f.shape);
            let pair = [&a[i * each..][..each], &b[i * each..][..each]].concat();
            shown(f, pair, |[a, b]| Some(f.one(a, b).ok()?).filter(|d| !good(*d)).map(|d| format!("d(a, b) = {d}")))?;
            fail(format!("pair {i} of a batch of 9 is at distance {}, alone it is sound", distances[i]))
        })
    }),
    check("distance/zero-on-equal", "d(a, a) = 0", |c| {
        c.declares("zero_on_equal")?;
        axiom(c, |f, typical, [a]| {
            let d = f.one(a, a)?;
            Ok((d.is_nan() || d.abs() > TOLERANCE * typical).then(|| format!("d(a, a) = {d}")))
        })
    }),
    check("distance/symmetric", "d(a, b) = d(b, a)", |c| {
        c.declares("symmetric")?;
        axiom(c, |f, typical, [a, b]| {
            let (there, back) = (f.one(a, b)?, f.one(b, a)?);
            let close = (there - back).abs() <= TOLERANCE * there.max(back).max(typical);
            Ok((!close).then(|| format!("d(a, b) = {there}, d(b, a) = {back}")))
        })
    }),
    check("distance/triangle", "d(a, b) <= d(a, c) + d(c, b)", |c| {
        c.declares("triangle")?;
        axiom(c, |f, typical, [a, b, c]| {
            let (direct, first, second) = (f.one(a, b)?, f.one(a, c)?, f.one(c, b)?);
            let longer = direct > (first + second) * (1.0 + TOLERANCE) + TOLERANCE * typical;
            Ok(longer.then(|| format!("d(a, b) = {direct} > d(a, c) + d(c, b) = {first} + {second}")))
        })
    }),
    check("distance/tells-apart", "Not all pairs of unlike latents are at the same distance", |c| {
        in_shapes(c, &[shape(1, 16), shape(4, 16), shape(1, 128)], |f, c| {
            let mut rng = c.rng("apart");
            let n = 33 * len(f.shape);
            let distances = f.measure(&rng.normals(n), &rng.normals(n))?;
            match distances.iter().all(|d| *d == distances[0]) {
                true => fail(format!("33 random pairs are all at distance {}", distances[0])),
                false => Ok(()),
            }
        })
    }),
    check(
        "distance/ordinary-extremes",
        "Zeros, denormals, equal numbers and long latents have distances, finite and at least 0",
        |c| {
            in_shapes(c, &FEW, |f, c| {
                let plain = c.rng("extremes").normals(len(f.shape));
                let constants = [0.0, -0.0, 1.0, f32::MIN_POSITIVE, 1e-45, 1e-20, 1e10];
                for x in constants {
                    for other in [vec![0.0; plain.len()], vec![x; plain.len()], plain.clone()] {
                        for pair in [[&vec![x; plain.len()], &other], [&other, &vec![x; plain.len()]]] {
                            let d = f.one(pair[0], pair[1])?;
                            if !good(d) {
                                return fail(format!("d(a, b) = {d} for {}", named(f.shape, &pair.map(Vec::as_slice))));
                            }
                        }
                    }
                }
                Ok(())
            })
        },
    ),
    check(
        "distance/huge",
        "For the largest numbers a distance may be infinite or an error, but not NaN or negative",
        |c| {
            in_shapes(c, &FEW, |f, c| {
                let plain = c.rng("huge").normals(len(f.shape));
                for x in [1e20, -1e30, f32::MAX, f32::MIN] {
                    let huge = vec![x; plain.len()];
                    for pair in [[&huge, &plain], [&plain, &huge]] {
                        let d = Refusal::unless_panic(f.one(pair[0], pair[1]))?;
                        if let Some(d) = d.filter(|d| d.is_nan() || *d < 0.0) {
                            return fail(format!("d(a, b) = {d} for {}", named(f.shape, &pair.map(Vec::as_slice))));
                        }
                    }
                }
                Ok(())
            })
        },
    ),
    check("distance/not-a-number", "A latent with a NaN or an infinity never gets a distance that looks sound", |c| {
        in_shapes(c, &FEW, |f, c| {
            let plain = c.rng("nan").normals(len(f.shape));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for place in [0, plain.len() / 2, plain.len() - 1] {
                    let mut broken = plain.clone();
                    broken[place] = bad;
                    for pair in [[&broken, &plain], [&plain, &broken], [&broken, &broken]] {
                        let d = Refusal::unless_panic(f.one(pair[0], pair[1]))?;
                        if let Some(d) = d.filter(|d| good(*d)) {
                            let which = named(f.shape, &pair.map(Vec::as_slice));
                            return fail(format!(
                                "d(a, b) = {d} for {which}: refuse such latents, or let the NaN through"
                            ));
                        }
                    }
                }
            }
            Ok(())
        })
    }),
    check(
        "distance/few-to-fit",
        "Fitting on equal latents, on one pair or on none works or is refused, never a panic",
        |c| {
            let (shape, mut rng) = (c.shapes(&[shape(1, 8)])[0], c.rng("few"));
            let one = len(shape);
            for n in [0, 1, 2, 5] {
                let all = one * n;
                for (golden, generated) in [(rng.normals(all), rng.normals(all)), (vec![1.0; all], vec![1.0; all])] {
                    let mut distance = c.distance_on(c.host())?;
                    if Refusal::unless_panic(distance.fit(&golden, &generated, shape))?.is_some() && n > 0 {
                        let fitted = Fitted { distance, shape };
                        let d = Refusal::unless_panic(fitted.one(&golden[..one], &generated[..one]))?;
                        if let Some(d) = d.filter(|d| !good(*d)) {
                            return fail(format!("fitted on {n} pairs, it gives {d}"));
                        }
                    }
                }
            }
            Ok(())
        },
    ),
];

fn good(d: f32) -> bool {
    d.is_finite() && d >= 0.0
}

/// Runs `look` on a distance fitted for each shape that it takes.
fn in_shapes(
    c: &Context<'_>,
    shapes: &[Shape],
    look: impl Fn(&Fitted<'_>, &Context<'_>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut looked = false;
    for shape in c.shapes(shapes) {
        if let Ok(fitted) = c.fitted(shape)? {
            look(&fitted, c)?;
            looked = true;
        }
    }
    match looked {
        true => Ok(()),
        false => Err(Stop::Skip("it refuses latents of every shape tried".into())),
    }
}

/// Looks for one, two or three latents that break a rule, and reports the simplest. The rule is given the scale of
/// ordinary distances; a distance that refuses such latents does not keep it.
fn axiom<const N: usize>(
    c: &Context<'_>,
    broken: impl Fn(&Fitted<'_>, f32, [&[f32]; N]) -> Result<Option<String>, Refusal>,
) -> Result<(), Stop> {
    in_shapes(c, &FEW, |f, c| {
        let (each, mut rng) = (len(f.shape), c.rng("axiom"));
        let ordinary = f.measure(&rng.normals(33 * each), &rng.normals(33 * each))?;
        let typical = ordinary.iter().sum::<f32>() / ordinary.len() as f32;
        for i in 0..60 {
            let (a, other) = (rng.normals(each), rng.normals(each));
            let scale = [1.0, 0.01, 100.0][i % 3];
            let b: Vec<f32> = other.iter().map(|x| x * scale).collect();
            // Anywhere, between a and b, or in the direction between theirs: where triangles are flat.
            let c: Vec<f32> = match i / 3 % 3 {
                0 => rng.normals(each),
                1 => a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect(),
                _ => a.iter().zip(&b).map(|(a, b)| a + b).collect(),
            };
            let all = [a, b, c].concat();
            let latents: [&[f32]; N] = std::array::from_fn(|i| &all[i * each..][..each]);
            if let Err(e) = broken(f, typical, latents) {
                return fail(format!("{e} for {}", named(f.shape, &latents)));
            }
            shown(f, all[..N * each].to_vec(), |latents| broken(f, typical, latents).ok()?)?;
        }
        Ok(())
    })
}

/// Fails with the smallest latents in which `fault` finds something, if it does in these.
fn shown<const N: usize>(
    f: &Fitted<'_>,
    latents: Vec<f32>,
    fault: impl Fn([&[f32]; N]) -> Option<String>,
) -> Result<(), Stop> {
    let each = len(f.shape);
    let split = |all: &[f32]| -> [Vec<f32>; N] { std::array::from_fn(|i| all[i * each..][..each].to_vec()) };
    match smallest(latents, |all| fault(split(all).each_ref().map(Vec::as_slice))) {
        None => Ok(()),
        Some((values, found)) => {
            fail(format!("{found} for {}", named(f.shape, &split(&values).each_ref().map(Vec::as_slice))))
        }
    }
}

/// Latents in a message: `a = [1], b = [0] (1 slot x 1)`.
fn named(Shape { slots, dim }: Shape, latents: &[&[f32]]) -> String {
    let each: Vec<String> = latents.iter().zip('a'..).map(|(v, name)| format!("{name} = {}", show(v))).collect();
    format!("{} ({slots} x {dim})", each.join(", "))
}
