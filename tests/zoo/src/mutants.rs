//! One sound distance, and copies of it with one property broken each. All of them declare everything.

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, Latents, MetricProperties, NoOptions};
use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

pub const MUTANTS: [&str; 21] = [
    "sound",
    "asymmetric",
    "no-triangle",
    "nonzero-on-equal",
    "nan-on-zero",
    "hides-nan",
    "batch-unlike-singles",
    "random",
    "counts-calls",
    "leaks",
    "forgets-state",
    "writes-beside",
    "reads-beyond",
    "scribbles-on-inputs",
    "spawns-threads",
    "prints",
    "flushes-denormals",
    "overflows-stack",
    "aligned-only",
    "nan-in-tail",
    "refuses-far",
];

/// `scale * sqrt(sum of squares)`, the scale learned from the round's latents.
pub struct Mutant<const N: usize> {
    scale: f64,
    calls: AtomicU32,
}

fn is<const N: usize>(id: &str) -> bool {
    MUTANTS[N] == id
}

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let mut frame = [depth; 1024];
    std::hint::black_box(&mut frame);
    overflow(depth + 1) + frame[7]
}

impl<const N: usize> DistanceMetric for Mutant<N> {
    const ID: &'static str = MUTANTS[N];
    const SUMMARY: &'static str = "A Euclidean distance that may have one fault";
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: true };
    type Options = NoOptions;

    fn new(_: NoOptions, _: Host) -> Result<Self, Error> {
        if is::<N>("leaks") {
            std::mem::forget(vec![0u8; 100]);
        }
        if is::<N>("spawns-threads") {
            std::thread::spawn(|| loop {
                std::thread::park();
            });
        }
        Ok(Self { scale: 1.0, calls: AtomicU32::new(0) })
    }

    fn fit(&mut self, golden: Latents<'_>, _: Latents<'_>) -> Result<(), Error> {
        let sum: f64 = golden.values().iter().map(|x| f64::from(x.abs())).sum();
        self.scale = 1.0 + sum / golden.values().len().max(1) as f64;
        Ok(())
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let (a, b) = (a.values(), b.values());
        let mut sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        match Self::ID {
            "asymmetric" => sum *= if a[0] < b[0] { 1.21 } else { 1.0 },
            "no-triangle" => return Ok((self.scale * sum) as f32),
            "nonzero-on-equal" => sum += 0.01,
            "nan-on-zero" if b.iter().all(|x| *x == 0.0) => sum /= f64::from(b[0].abs()) * 0.0,
            "hides-nan" if !sum.is_finite() => sum = 0.0,
            "random" => {
                let seed = std::collections::hash_map::RandomState::new();
                sum *= 1.0 + 1e-4 * (std::hash::BuildHasher::hash_one(&seed, 0) % 9) as f64 * sum.min(1.0);
            }
            "counts-calls" => sum *= 1.0 + 1e-6 * f64::from(self.calls.fetch_add(1, Relaxed)),
            "refuses-far" if a.iter().chain(b).any(|x| x.abs() > 20.0) => return Err(Error::input("too far")),
            "overflows-stack" => sum += overflow(0) as f64,
            _ => (),
        }
        Ok((self.scale * sum.sqrt()) as f32)
    }

    fn distances(&self, a: Latents<'_>, b: Latents<'_>, out: &mut [f32]) -> Result<(), Error> {
        for ((out, a), b) in out.iter_mut().zip(a.iter()).zip(b.iter()) {
            *out = self.distance(a, b)?;
        }
        let n = out.len();
        // SAFETY: none in this match; that is the point.
        unsafe {
            match Self::ID {
                "batch-unlike-singles" if n > 1 => out[n - 1] *= 1.0 + 1e-6,
                "nan-in-tail" if n > 4 => out[n - 1] = f32::NAN,
                "writes-beside" => *out.as_mut_ptr().wrapping_sub(1) = 1.0,
                "reads-beyond" if n > 0 => out[0] += 0.0 * a.values().as_ptr().add(a.values().len()).read_volatile().min(0.0).max(0.0),
                "scribbles-on-inputs" if n > 0 => *a.values().as_ptr().cast_mut() = 7.0,
                "aligned-only" if out.as_ptr().addr() % 16 != 0 && n > 0 => out[0] *= 1.0 + 1e-6,
                #[cfg(target_arch = "x86_64")]
                "flushes-denormals" => std::arch::asm!("ldmxcsr [{}]", in(reg) &0x9fc0u32),
                _ => (),
            }
        }
        thread_local! {
            static PRINTED: Cell<bool> = const { Cell::new(false) };
        }
        if is::<N>("prints") && !PRINTED.replace(true) {
            println!("measured {n} pairs");
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(if is::<N>("forgets-state") { vec![] } else { self.scale.to_le_bytes().into() })
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        if is::<N>("forgets-state") {
            return Ok(());
        }
        let bytes = state.try_into().map_err(|_| Error::state("a state is 8 bytes"))?;
        self.scale = f64::from_le_bytes(bytes);
        Ok(())
    }
}
