//! `plugin bench`: how fast a plugin works, beside the bundled baseline of its kind.

use crate::cli::{print, print_json};
use ldalign::{
    Code, Error, Result,
    config::PluginChoice,
    library::Kind,
    plugin::{Distance, Finder, NoModel, Plugin, Schedule},
};
use ldalign_sdk::{LatentShape, StepContext};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Arguments of `plugin bench`.
#[derive(clap::Args)]
pub struct Bench {
    /// The plugin library (.so)
    library: PathBuf,
    /// Kind of the plugin: distance or schedule
    #[arg(long, value_enum, default_value = "distance")]
    kind: Kind,
    /// Its id, where the library provides several of the kind
    #[arg(long)]
    id: Option<String>,
    /// Options of the plugin, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = super::options)]
    options: Map<String, Value>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    rows: usize,
    dim: usize,
    threads: usize,
    /// Rows a second.
    plugin: f64,
    /// Rows a second.
    baseline: f64,
}

/// Time for each figure. The two plugins take turns, and the best turn of each counts: the machine's other work is
/// nobody's speed.
const TIME: Duration = Duration::from_millis(200);

/// One thing varies at a time: rows, then numbers per latent, then threads.
const ROWS: [usize; 4] = [1, 32, 1000, 20_000];
const DIMS: [usize; 4] = [16, 128, 768, 2048];

impl Bench {
    /// Measures and prints.
    pub fn run(&self) -> Result<()> {
        let path = self.library.canonicalize().map_err(|e| {
            Error::new(Code::PluginFind, format!("cannot open the plugin library {}", self.library.display()))
                .caused_by(e)
        })?;
        let path = path.to_str().ok_or_else(|| Error::new(Code::PluginFind, "the library's path is not UTF-8"))?;
        let finder = Finder::new(&[]);
        let choice = PluginChoice { plugin: path.into(), id: self.id.clone(), options: self.options.clone() };
        let baseline = match self.kind {
            Kind::Distance => "euclidean",
            Kind::Schedule => "linear",
            Kind::Encoder => {
                return Err(Error::new(Code::PluginBench, "an encoder's speed is that of the model behind it")
                    .hint("`ldalign run` writes how long each stage took to timing.jsonl"));
            }
        };
        let plugins = [finder.load(self.kind, &choice)?, finder.load(self.kind, &PluginChoice::bundled(baseline))?];
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let by_threads = (0..).map(|i| 1 << i).take_while(|threads| *threads <= most);
        let cells = match self.kind {
            Kind::Distance => ROWS
                .map(|rows| (rows, 128, 1))
                .into_iter()
                .chain(DIMS.map(|dim| (1000, dim, 1)))
                .chain(by_threads.map(|threads| (20_000, 128, threads)))
                .collect::<Vec<_>>(),
            _ => ROWS.map(|rows| (rows, 1, 1)).into_iter().chain(by_threads.map(|t| (20_000, 1, t))).collect(),
        };
        if !self.json {
            print(&format!("{} beside {baseline}, rows a second\n", plugins[0].record()))?;
            print(&format!("{:>8}{:>8}{:>9}{:>14}{baseline:>14}{:>8}", "rows", "dim", "threads", "plugin", "ratio"))?;
        }
        let mut table = Vec::new();
        for (rows, dim, threads) in cells {
            let [plugin, baseline] = measure(&plugins, rows, dim, threads)?;
            let row = Row { rows, dim, threads, plugin, baseline };
            if !self.json {
                let ratio = plugin / baseline;
                print(&format!("{rows:>8}{dim:>8}{threads:>9}{plugin:>14.0}{baseline:>14.0}{ratio:>8.3}"))?;
            }
            table.push(row);
        }
        if self.json { print_json(&table) } else { Ok(()) }
    }
}

/// Rows a second of each plugin.
fn measure(plugins: &[Plugin; 2], rows: usize, dim: usize, threads: usize) -> Result<[f64; 2]> {
    let a = numbers(rows * dim, 1);
    let b = numbers(rows * dim, 2);
    let instances = [Instance::new(&plugins[0], &a, &b, dim)?, Instance::new(&plugins[1], &a, &b, dim)?];
    let start = Instant::now();
    // A clock's tick is longer than the work on one row.
    let repeats = (2000 / rows).max(1) as u32;
    let mut best = [Duration::MAX; 2];
    while start.elapsed() < TIME || best[0] == Duration::MAX {
        for (instance, best) in instances.iter().zip(&mut best) {
            let turn = Instant::now();
            for _ in 0..repeats {
                instance.work(&a, &b, dim, threads)?;
            }
            *best = (turn.elapsed() / repeats).min(*best);
        }
    }
    Ok(best.map(|time| rows as f64 / time.as_secs_f64()))
}

/// Positive numbers that differ, without a generator: the speed does not depend on them.
fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 10_007) as f32 / 5003.0 + 0.01).collect()
}

enum Instance {
    Distance(Distance),
    Schedule(Schedule),
}

impl Instance {
    fn new(plugin: &Plugin, a: &[f32], b: &[f32], dim: usize) -> Result<Self> {
        let host = Arc::new(NoModel(plugin.record().clone()));
        Ok(match plugin.record().kind {
            Kind::Schedule => {
                let mut schedule = plugin.schedule(host)?;
                schedule.begin_round(a)?;
                Self::Schedule(schedule)
            }
            _ => {
                let mut distance = plugin.distance(host)?;
                // Enough to learn from; what is timed is the distances.
                let learned = a.len().min(256 * dim);
                distance.fit(&a[..learned], &b[..learned], LatentShape { slots: 1, dim })?;
                Self::Distance(distance)
            }
        })
    }
    /// Works through all rows, an equal part on each thread.
    fn work(&self, a: &[f32], b: &[f32], dim: usize, threads: usize) -> Result<()> {
        let part = (a.len() / dim).div_ceil(threads) * dim;
        let one = |(a, b): (&[f32], &[f32])| match self {
            Self::Distance(d) => d.distances(a, b, LatentShape { slots: 1, dim }).map(drop),
            Self::Schedule(s) => s.weights(StepContext { round: 0, rounds: 1, step: 0, total_steps: 1 }, a).map(drop),
        };
        if threads == 1 {
            return one((a, b));
        }
        std::thread::scope(|scope| {
            let parts = a.chunks(part).zip(b.chunks(part));
            let running: Vec<_> = parts.map(|part| scope.spawn(move || one(part))).collect();
            running.into_iter().try_for_each(|thread| thread.join().expect("calls of plugins are guarded"))
        })
    }
}
