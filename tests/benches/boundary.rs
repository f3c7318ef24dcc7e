//! What the boundary costs: the same distance through it and called directly, in one run; and what loading a plugin
//! takes.
//!
//! `cargo bench -p ldalign-tests --bench boundary`. The two ways take turns, so that what else the machine does meets
//! both; the ratio is that of their medians. Not a test: figures depend on the machine.

use ldalign::{
    config::PluginChoice,
    library::Kind,
    plugin::{Finder, PROBE_COMMAND, probe_main},
};
use ldalign_distance_euclidean::Euclidean;
use ldalign_sdk::{DistanceMetric, Host, LatentShape, Latents};
use ldalign_tests::{Bare, host_binary};
use std::{
    hint::black_box,
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|a| a == PROBE_COMMAND).is_some() {
        return probe_main(args);
    }
    let program = host_binary();
    let library = program.with_file_name("libldalign_distance_euclidean.so");
    let choice = PluginChoice::bundled(library.to_str().expect("paths here are UTF-8"));
    // The probe's child is the real program, as in a run.
    let finder = Finder { probe_program: program.clone(), ..Finder::new(&[]) };

    let plugin = finder.load(Kind::Distance, &choice).expect("the bundled plugin loads");
    let through = plugin.distance(Arc::new(Bare)).expect("it can be built");
    let direct = Euclidean::new(Default::default(), Host::stand_in()).expect("it can be built");
    println!("{:>10} {:>6} {:>14} {:>14} {:>9}", "rows", "dim", "direct", "boundary", "ratio");
    for (rows, dim) in [(1, 128), (32, 128), (1000, 128), (100_000, 768)] {
        let shape = LatentShape { slots: 1, dim };
        let numbers = |seed: usize| (0..rows * dim).map(|i| ((i * 7919 + seed) % 10_007) as f32 / 5003.0).collect();
        let (a, b): (Vec<f32>, Vec<f32>) = (numbers(1), numbers(2));
        let turns = (400_000_000 / (rows * dim)).clamp(15, 2000);
        let [direct, through] = alternate(
            turns,
            || {
                // What the host does for the values as well: a fresh output, and a look at every number.
                let mut out = vec![f32::NAN; rows];
                let (a, b) = (Latents::new(&a, shape), Latents::new(&b, shape));
                direct.distances(a, b, &mut out).expect("it can be measured");
                assert!(out.iter().all(|d| d.is_finite() && *d >= 0.0));
                black_box(&out);
            },
            || {
                black_box(through.distances(&a, &b, shape).expect("it can be measured"));
            },
        );
        let ratio = through.as_secs_f64() / direct.as_secs_f64();
        println!("{rows:>10} {dim:>6} {direct:>14.3?} {through:>14.3?} {ratio:>9.4}");
    }

    let [load, check] = alternate(
        15,
        || drop(black_box(finder.load(Kind::Distance, &choice).expect("the bundled plugin loads"))),
        || {
            let mut command = Command::new(&program);
            command.args(["plugin", "check", "--filter", "distance/symmetric"]).arg(&library);
            assert!(command.output().expect("the program starts").status.success());
        },
    );
    println!("\ninspect, probe in a child process, load: {load:.1?}\n`plugin check` of one rule: {check:.1?}");
    ExitCode::SUCCESS
}

/// Medians of the times of two ways that take turns.
fn alternate(turns: usize, mut one: impl FnMut(), mut other: impl FnMut()) -> [Duration; 2] {
    let time = |way: &mut dyn FnMut()| {
        let start = Instant::now();
        way();
        start.elapsed()
    };
    let (mut ones, mut others): (Vec<_>, Vec<_>) = (0..turns).map(|_| (time(&mut one), time(&mut other))).unzip();
    [&mut ones, &mut others].map(|times| {
        times.sort_unstable();
        times[turns / 2]
    })
}
