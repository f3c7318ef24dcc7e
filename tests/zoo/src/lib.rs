//! Plugins that misbehave, one id each, and a few that do not, to be told apart from them.
//!
//! What happens when the library is loaded is chosen by the environment variable `ZOO_ON_LOAD`.

mod mutants;
mod services;

use ldalign_sdk::{
    DistanceMetric, Encoder, Error, Host, Latent, LatentShape, Latents, NoOptions, PluginOptions, Sample, StepContext,
    WeightSchedule,
};
use mutants::Mutant;
use services::AsksTheHost;
use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

ldalign_sdk::export_plugin! {
    encoders: [AsksTheHost, Shaped<0>, Shaped<1>, Shaped<2>, Shaped<3>]
    distances: [
        Beast<0>, Beast<1>, Beast<2>, Beast<3>, Beast<4>, Beast<5>, Beast<6>, Beast<7>, Beast<8>, Beast<9>, Beast<10>, Beast<11>, Beast<12>,
        Beast<13>, Beast<14>, Beast<15>, Beast<16>, Beast<17>, Beast<18>, Beast<19>, Beast<20>, Beast<21>, Beast<22>, Beast<23>, Beast<24>, Beast<25>, Beast<26>, Beast<27>,
        Mutant<0>, Mutant<1>, Mutant<2>, Mutant<3>, Mutant<4>, Mutant<5>, Mutant<6>, Mutant<7>, Mutant<8>, Mutant<9>, Mutant<10>, Mutant<11>,
        Mutant<12>, Mutant<13>, Mutant<14>, Mutant<15>, Mutant<16>, Mutant<17>, Mutant<18>, Mutant<19>, Mutant<20>,
    ]
    schedules: [Owing]
}

const BEASTS: [&str; 28] = [
    "well",
    "panics-in-new",
    "panics-in-call",
    "panics-in-drop",
    "exits-in-new",
    "exits-in-call",
    "exits-in-drop",
    "aborts-in-new",
    "aborts-in-call",
    "hangs-in-new",
    "crashes-in-call",
    "gives-nan",
    "gives-negative",
    "writes-nothing",
    "fails-in-call",
    "panics-in-drop-once-used",
    "prints-without-end",
    "hangs-in-call",
    "ends-in-call",
    "exits-in-a-thread",
    "ignores-signals",
    "complains-at-length",
    "closes-descriptors-in-new",
    "closes-descriptors-in-call",
    "allocates-in-new",
    "allocates-in-call",
    "changes-the-umask",
    "limits-files",
];

unsafe extern "C" {
    /// The C library's: no handler of atexit is called.
    fn _exit(status: i32) -> !;
    fn signal(number: i32, action: usize) -> usize;
    fn close(descriptor: i32) -> i32;
    fn umask(mask: u32) -> u32;
    fn setrlimit(which: i32, most: &[u64; 2]) -> i32;
}

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Factor {
    /// The distance is multiplied by it.
    factor: Option<f32>,
}

impl PluginOptions for Factor {
    fn validate(&self) -> Result<(), Error> {
        match self.factor {
            Some(f) if !(f > 0.0) => Err(Error::options(format!("factor must be greater than 0, not {f}"))),
            _ => Ok(()),
        }
    }
}

/// The distance of an index into [`BEASTS`].
struct Beast<const N: usize> {
    factor: f32,
    used: AtomicBool,
}

fn exit() -> ! {
    std::process::exit(0)
}

fn hang() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// Takes memory without end, 16 MiB at a time.
fn allocate() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 16 << 20]);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Closes every descriptor but the standard ones, as a plugin may not.
fn close_all() {
    // SAFETY: none for those whose they are; that is the point.
    (3..1024).for_each(|descriptor| drop(unsafe { close(descriptor) }));
}

fn crash() {
    // SAFETY: none; that is the point.
    unsafe { std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1) }
}

impl<const N: usize> DistanceMetric for Beast<N> {
    const ID: &'static str = BEASTS[N];
    const SUMMARY: &'static str = "Does what its \"id\" says";
    type Options = Factor;

    fn new(options: Factor, _host: Host) -> Result<Self, Error> {
        match Self::ID {
            "panics-in-new" => panic!("no new today"),
            "exits-in-new" => exit(),
            "aborts-in-new" => std::process::abort(),
            "hangs-in-new" => hang(),
            "allocates-in-new" => allocate(),
            "closes-descriptors-in-new" => close_all(),
            _ => (),
        }
        Ok(Self { factor: options.factor.unwrap_or(1.0), used: false.into() })
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        self.used.store(true, Relaxed);
        match Self::ID {
            "panics-in-call" => panic!("no {} today", a.values()[0]),
            "exits-in-call" => exit(),
            "aborts-in-call" => std::process::abort(),
            "crashes-in-call" => crash(),
            "prints-without-end" => while std::io::stdout().write_all(&[b'x'; 1 << 20]).is_ok() {},
            "hangs-in-call" => hang(),
            // SAFETY: ends the process, as a plugin may not.
            "ends-in-call" => unsafe { _exit(0) },
            "exits-in-a-thread" => drop(std::thread::spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(200));
                exit()
            })),
            // SAFETY: SIGINT and SIGTERM are ignored from here on, as a plugin may not.
            "ignores-signals" => unsafe {
                [2, 15].map(|number| signal(number, 1));
            },
            "closes-descriptors-in-call" => close_all(),
            "allocates-in-call" => allocate(),
            // SAFETY: files that are made from here on may be used by nobody, as a plugin may not ask.
            "changes-the-umask" => drop(unsafe { umask(0o777) }),
            // SAFETY: RLIMIT_FSIZE of Linux: no file may have more bytes, as a plugin may not ask.
            "limits-files" => drop(unsafe { setrlimit(1, &[1000; 2]) }),
            "complains-at-length" => return Err(Error::input(format!("\x1b[2J{}", "x".repeat(10 << 20)))),
            "gives-nan" => return Ok(f32::NAN),
            "gives-negative" => return Ok(-1.5),
            "fails-in-call" => return Err(Error::input("these two cannot be compared")),
            _ => (),
        }
        Ok(self.factor * a.values().iter().zip(b.values()).map(|(a, b)| (a - b).abs()).sum::<f32>())
    }

    fn distances(&self, a: Latents<'_>, b: Latents<'_>, out: &mut [f32]) -> Result<(), Error> {
        if Self::ID == "writes-nothing" {
            return Ok(());
        }
        for ((out, a), b) in out.iter_mut().zip(a.iter()).zip(b.iter()) {
            *out = self.distance(a, b)?;
        }
        Ok(())
    }
}

impl<const N: usize> Drop for Beast<N> {
    fn drop(&mut self) {
        match BEASTS[N] {
            "panics-in-drop" => panic!("no end today"),
            "panics-in-drop-once-used" if self.used.load(Relaxed) => panic!("no end today"),
            "exits-in-drop" => exit(),
            _ => (),
        }
    }
}

/// Encoders of a broken shape, of broken numbers, and of a report that is none.
struct Shaped<const N: usize>;

impl<const N: usize> Encoder for Shaped<N> {
    const ID: &'static str = ["no-slots", "gives-infinity", "reports-nan", "unsupported"][N];
    const SUMMARY: &'static str = "Encodes badly";
    type Options = NoOptions;

    fn new(_: NoOptions, host: Host) -> Result<Self, Error> {
        // Needs a model, so that the probe cannot build it.
        match N {
            3 => Err(Error::unsupported("no such machine")),
            _ => host.model().map(|_| Self),
        }
    }
    fn shape(&self) -> LatentShape {
        LatentShape { slots: N, dim: 3 }
    }
    fn fit(&mut self, _: &ldalign_sdk::Corpus<'_>) -> Result<ldalign_sdk::FitReport, Error> {
        Ok(vec![("nll".into(), f64::NAN)])
    }
    fn encode(&self, _: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        out.fill(0.0);
        out[4] = f32::INFINITY;
        Ok(())
    }
}

/// A schedule whose weights are negative.
struct Owing;

impl WeightSchedule for Owing {
    const ID: &'static str = "owing";
    const SUMMARY: &'static str = "Weighs below nothing";
    type Options = NoOptions;

    fn new(_: NoOptions, _: Host) -> Result<Self, Error> {
        Ok(Self)
    }
    fn weights(&self, at: StepContext, distances: &[f32], out: &mut [f32]) -> Result<(), Error> {
        out.fill(1.0);
        out[distances.len() - 1] = -(at.step as f32);
        Ok(())
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = {
    extern "C" fn on_load() {
        match std::env::var("ZOO_ON_LOAD").as_deref() {
            Ok("exit") => exit(),
            Ok("abort") => std::process::abort(),
            Ok("hang") => hang(),
            Ok("crash") => crash(),
            Ok("print") => println!("hello from the zoo"),
            Ok("move") => drop(std::env::set_current_dir("/")),
            Ok("thread") => drop(std::thread::spawn(|| hang())),
            #[cfg(target_arch = "x86_64")]
            Ok("flush") => {
                // What linking with -ffast-math does: denormals are flushed to zero from now on.
                let mode = 0x9fc0u32;
                // SAFETY: a valid value of the control register.
                unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &mode) };
            }
            _ => (),
        }
    }
    on_load
};
