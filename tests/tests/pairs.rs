//! Several samples a prompt through the real program: what is sampled, which pairs each rule makes of it, and what is
//! left out.
//!
//! The pairs are made again here by the rules' definitions, over repeated samples and in plain loops, from what a run's
//! files say.
#![allow(clippy::unwrap_used)]

use ldalign::{
    data::tokens::TokenStore,
    generate::StopReason,
    rundir::{ChoiceLine, Distances, GenerationLine, Layout, RoundLayout, ScoreLine},
};
use ldalign_tests::runs;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Warm enough that samples differ, short enough that some are cut.
const RUN: &str = "generate: { max_new_tokens: 12, temperature: 1.5 }\ntrain: { max_steps: 2 }\n";

/// The last stage before training, and its directory.
fn score(dir: &Path, more: &str, sets: &[&str]) -> RoundLayout {
    let config = runs::config(dir, &format!("{RUN}{more}"));
    runs::succeed(runs::command("score", &config, sets));
    Layout::new(&dir.join("run")).round(1)
}

fn generations(round: &RoundLayout) -> Vec<GenerationLine> {
    round.generations().lines().unwrap().map(Result::unwrap).collect()
}

fn scores(round: &RoundLayout) -> Vec<ScoreLine> {
    round.scores().lines().unwrap().map(Result::unwrap).collect()
}

/// A row's responses as a run's files have them.
#[derive(Debug)]
struct Row {
    row: usize,
    golden: Vec<u32>,
    /// Every sample in the order in which they were drawn: its ids, whether it was cut, and which of the different ones
    /// it is.
    samples: Vec<(Vec<u32>, bool, usize)>,
    /// Of each different sample, in the order in which they come first, d(golden, sample).
    distances: Vec<f64>,
    /// d(j, k) between different samples, at [j][k]; empty where the rule does not ask.
    between: Vec<Vec<f64>>,
}

/// All rows of a round with `samples` each; candidates.bin is held against generations.jsonl on the way.
fn rows(round: &RoundLayout, samples: usize) -> Vec<Row> {
    let distances = Distances::read(&round.distances()).unwrap();
    let candidates = TokenStore::open(&round.candidates(), 3).unwrap();
    let lines = round.candidate_lines().lines().unwrap().map(Result::unwrap);
    let of: Vec<usize> = lines.flat_map(|line| vec![line.row; line.counts.len()]).collect();
    let (mut first, mut between) = (0, distances.between.iter().map(|d| f64::from(*d)));
    let mut rows = vec![];
    for (row, lines) in generations(round).chunks_exact(samples).enumerate() {
        let mut different: Vec<Vec<u32>> = vec![];
        let samples = lines.iter().enumerate().map(|(k, line)| {
            assert_eq!((line.index, line.sample as usize), (row, k));
            let which = different.iter().position(|ids| *ids == line.ids).unwrap_or(different.len());
            if which == different.len() {
                different.push(line.ids.clone());
            }
            (line.ids.clone(), line.stop == StopReason::Length, which)
        });
        let samples = samples.collect();
        let n = different.len();
        for (k, ids) in different.iter().enumerate() {
            assert_eq!((of[first + k], candidates.get(first + k, 2)), (row, &ids[..]), "candidate {}", first + k);
        }
        let between = match distances.between.is_empty() {
            true => vec![],
            false => (0..n).map(|_| between.by_ref().take(n).collect()).collect(),
        };
        let distances = distances.chosen[first..first + n].iter().map(|d| f64::from(*d)).collect();
        rows.push(Row { row, golden: candidates.get(first, 1).to_vec(), samples, distances, between });
        first += n;
    }
    assert_eq!((first, between.count()), (candidates.len(), 0), "there are candidates of nobody");
    rows
}

/// What is left out.
#[derive(Default, Clone, Copy)]
struct Drop {
    equal: bool,
    cut: bool,
    nearer_than: f64,
}

impl Drop {
    fn keeps(&self, row: &Row, (ids, cut, which): &(Vec<u32>, bool, usize)) -> bool {
        !(self.equal && *ids == row.golden || self.cut && *cut) && row.distances[*which] >= self.nearer_than
    }
}

/// Chosen, rejected and distance of the pairs that a rule must make of a row.
fn must_make(rule: &str, drop: Drop, row: &Row) -> Vec<(Vec<u32>, Vec<u32>, f64)> {
    let kept: Vec<_> = row.samples.iter().filter(|sample| drop.keeps(row, sample)).collect();
    if kept.is_empty() {
        return vec![];
    }
    let far = |i: usize| row.distances[kept[i].2];
    // Mean distance of the other samples from one of them.
    let risk = |i: usize| {
        let others = (0..kept.len()).filter(|j| *j != i);
        let d = |j: usize| if kept[j].2 == kept[i].2 { 0.0 } else { row.between[kept[j].2][kept[i].2] };
        if kept.len() == 1 { 0.0 } else { others.map(d).sum::<f64>() / (kept.len() - 1) as f64 }
    };
    // The first of the smallest and the first of the largest value.
    let ends = |value: &dyn Fn(usize) -> f64| {
        (0..kept.len()).fold([0, 0], |[low, high], i| {
            [if value(i) < value(low) { i } else { low }, if value(i) > value(high) { i } else { high }]
        })
    };
    let golden_over = |i: usize| (row.golden.clone(), kept[i].0.clone(), far(i));
    let one_over_other = |value: &dyn Fn(usize) -> f64| match ends(value) {
        [low, high] if kept[low].2 == kept[high].2 => vec![],
        [low, high] => vec![(kept[low].0.clone(), kept[high].0.clone(), value(high) - value(low))],
    };
    match rule {
        "golden-over-own" => vec![golden_over(0)],
        "golden-over-farthest" => vec![golden_over(ends(&far)[1])],
        "nearest-over-farthest" => one_over_other(&far),
        "medoid-over-outlier" => one_over_other(&risk),
        "all" => {
            let mut all: Vec<usize> = (0..kept.len()).collect();
            all.sort_by_key(|i| kept[*i].2);
            all.into_iter().map(golden_over).collect()
        }
        other => panic!("no rule {other}"),
    }
}

/// Holds pairs.bin, rows.json, scores.jsonl and choices.jsonl against what the rule must have made; returns the number
/// of pairs.
fn assert_made(round: &RoundLayout, rule: &str, drop: Drop, samples: usize) -> usize {
    let pairs = TokenStore::open(&round.pairs(), 3).unwrap();
    let of: Vec<usize> = round.rows().read().unwrap().iter().collect();
    let scores = scores(round);
    let choices: Vec<ChoiceLine> = round.choices().lines().unwrap().map(Result::unwrap).collect();
    let (rows, mut at) = (rows(round, samples), 0);
    assert_eq!(choices.len(), rows.len());
    for (row, choice) in rows.iter().zip(&choices) {
        let count = |which| row.samples.iter().filter(|sample| sample.2 == which).count() as u32;
        assert_eq!(choice.counts, (0..row.distances.len()).map(count).collect::<Vec<_>>(), "{rule}");
        assert_eq!(choice.row, row.row);
        let made = must_make(rule, drop, row);
        assert_eq!(choice.pairs.len(), made.len(), "{rule}, row {}: {choice:?}", row.row);
        for ((chosen, rejected, distance), places) in made.iter().zip(&choice.pairs) {
            let response = |place: Option<usize>| match place {
                None => &row.golden,
                Some(which) => &row.samples.iter().find(|sample| sample.2 == which).unwrap().0,
            };
            assert_eq!(places.map(response), [chosen, rejected], "{rule}, row {}", row.row);
            assert_eq!([pairs.get(at, 1), pairs.get(at, 2)], [&chosen[..], &rejected[..]], "{rule}, pair {at}");
            assert_eq!((of[at], scores[at].line, scores[at].index), (row.row, row.row as u64 + 1, at), "{rule}");
            let found = f64::from(scores[at].distance.unwrap());
            assert!((found - distance).abs() <= 1e-5 * distance.max(1.0), "{rule}, pair {at}: {found}, not {distance}");
            at += 1;
        }
    }
    assert_eq!((pairs.len(), of.len(), scores.len()), (at, at, at), "{rule}");
    at
}

#[test]
fn every_rule_makes_the_pairs_of_its_definition() {
    let dir = tempfile::tempdir().unwrap();
    for (rule, samples) in [
        ("golden-over-own", 1),
        ("golden-over-farthest", 4),
        ("nearest-over-farthest", 4),
        ("medoid-over-outlier", 4),
        ("all", 4),
    ] {
        let output = format!("output_dir={rule}");
        let config = runs::config(dir.path(), RUN);
        runs::succeed(runs::command("score", &config, &[&output, &format!("pairs={rule}")]));
        let round = Layout::new(&dir.path().join(rule)).round(1);
        if samples == 1 {
            // The paper's one sample, of which nothing is chosen.
            assert!(!round.choices().exists() && generations(&round).iter().all(|line| line.sample == 0));
            let made: Vec<_> = rows(&round, 1).iter().flat_map(|row| must_make(rule, Drop::default(), row)).collect();
            let pairs = TokenStore::open(&round.pairs(), 3).unwrap();
            assert_eq!((pairs.len(), made.len()), (24, 24));
            assert!(made.iter().enumerate().all(|(i, (c, r, _))| [pairs.get(i, 1), pairs.get(i, 2)] == [c, r]));
            continue;
        }
        let made = assert_made(&round, rule, Drop::default(), samples);
        match rule {
            "golden-over-farthest" => assert_eq!(made, 24),
            "all" => assert_eq!(made, 4 * 24),
            _ => assert!((12..=24).contains(&made), "{rule} makes {made} pairs"),
        }
        // Only the rule that asks for them has distances between samples.
        assert_eq!(rows(&round, 4)[0].between.is_empty(), rule != "medoid-over-outlier", "{rule}");
    }
}

#[test]
fn one_sample_is_the_same_run_by_every_rule_that_takes_one() {
    let dir = tempfile::tempdir().unwrap();
    let of = |rule: &str, samples: usize| {
        let output = format!("{rule}-{samples}");
        let sets = [format!("output_dir={output}"), format!("pairs={rule}"), format!("generate.samples={samples}")];
        runs::succeed(runs::command("run", &runs::config(dir.path(), RUN), &sets.each_ref().map(String::as_str)));
        let run = dir.path().join(output);
        let scores = fs::read_to_string(run.join("round-1/scores.jsonl")).unwrap();
        (runs::model_hash(&run, 1), scores, fs::read(run.join("round-1/pairs.bin")).unwrap())
    };
    let own = of("golden-over-own", 1);
    assert!(of("golden-over-farthest", 1) == own);
    assert!(of("all", 1) == own);
    // The comparison can fail.
    let four = of("golden-over-farthest", 4);
    assert!(four.0 != own.0 && four.1 != own.1 && four.2 != own.2);
}

#[test]
fn a_sample_knows_neither_its_siblings_nor_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let of = |samples: usize, batch_size: usize| {
        let output = format!("{samples}-{batch_size}");
        let sets = [
            format!("output_dir={output}"),
            format!("generate.samples={samples}"),
            format!("generate.batch_size={batch_size}"),
        ];
        let config = runs::config(dir.path(), RUN);
        runs::succeed(runs::command("score", &config, &sets.each_ref().map(String::as_str)));
        generations(&Layout::new(&dir.path().join(output)).round(1))
    };
    let four = of(4, 16);
    assert_eq!(four.len(), 4 * 24);
    let first = |n: u32| four.iter().filter(|line| line.sample < n).cloned().collect::<Vec<_>>();
    assert_eq!(of(1, 16), first(1));
    assert_eq!(of(2, 5), first(2));
    assert_eq!(of(4, 1), four);
    // Samples of one prompt are not one sample.
    let differ = |lines: &[GenerationLine]| lines[1..].iter().any(|line| line.ids != lines[0].ids);
    assert!(four.chunks_exact(4).filter(|lines| differ(lines)).count() > 12);
}

#[test]
fn candidates_are_left_out_as_the_config_says() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, pairs: &str| {
        let sets = [format!("output_dir={name}"), format!("pairs={pairs}"), "generate.temperature=0.9".into()];
        let config = runs::config(dir.path(), RUN);
        runs::succeed(runs::command("score", &config, &sets.each_ref().map(String::as_str)));
        Layout::new(&dir.path().join(name)).round(1)
    };
    let whole = run("whole", "all");
    let all = assert_made(&whole, "all", Drop::default(), 4);
    let mut distances: Vec<f64> = rows(&whole, 4).into_iter().flat_map(|row| row.distances).collect();
    distances.sort_by(f64::total_cmp);
    // Written as the config will read it.
    let median: f32 = distances[distances.len() / 2] as f32;
    let few = format!("{{rule: all, min_distance: {median}}}");
    let drops = [
        ("equal", "{rule: all, drop_equal: true}", Drop { equal: true, ..Drop::default() }),
        ("cut", "{rule: all, drop_cut: true}", Drop { cut: true, ..Drop::default() }),
        ("near", &few, Drop { nearer_than: median.into(), ..Drop::default() }),
    ];
    for (name, pairs, drop) in drops {
        let made = assert_made(&run(name, pairs), "all", drop, 4);
        assert!(0 < made && made < all, "{name}: {made} of {all}");
    }
    // All together, with a rule that chooses among what is left.
    let pairs = format!("{{rule: nearest-over-farthest, drop_equal: true, drop_cut: true, min_distance: {median}}}");
    let drop = Drop { equal: true, cut: true, nearer_than: median.into() };
    let made = assert_made(&run("together", &pairs), "nearest-over-farthest", drop, 4);
    assert!(made > 0);
    // And of one sample.
    let one = run("one", "{rule: golden-over-own, drop_cut: true}");
    let left = generations(&one).iter().filter(|line| line.stop == StopReason::Stop).count();
    assert!(scores(&one).len() == left && left < 24, "{left}");
}

#[test]
fn samples_that_are_all_alike_make_no_pair_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let greedy = ["generate.temperature=0"];
    for rule in ["nearest-over-farthest", "medoid-over-outlier"] {
        let config = runs::config(dir.path(), &format!("{RUN}pairs: {rule}\n"));
        let out = runs::command("run", &config, &greedy).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        let expected =
            format!("error[run/pairs]: round 1, pairs: the rule {rule} makes no pair of any of 24 prompts\nhint: ");
        assert!(said.contains(&expected) && said.contains("raise generate.temperature"), "{said}");
        fs::remove_dir_all(dir.path().join("run")).unwrap();
    }
    // The golden response differs from what is sampled four times.
    let round = score(dir.path(), "pairs: golden-over-farthest\n", &greedy);
    assert_eq!(assert_made(&round, "golden-over-farthest", Drop::default(), 4), 24);
    assert!(rows(&round, 4).iter().all(|row| row.distances.len() == 1));
}

/// Rows that bring a weight for their pairs: the rule still chooses by distances, the weights are the rows'.
#[test]
fn rows_with_weights_are_chosen_among_by_distance_too() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(ldalign_tests::workspace_root().join("examples/clean-golden/golden.jsonl")).unwrap();
    let weighted = text.lines().take(24).enumerate().map(|(i, line)| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["weight"] = json!(0.25 * i as f64);
        format!("{row}\n")
    });
    fs::write(dir.path().join("rows.jsonl"), weighted.collect::<String>()).unwrap();
    for rule in ["golden-over-farthest", "medoid-over-outlier"] {
        let output = format!("output_dir={rule}");
        let sets = ["data.path=rows.jsonl", &output, &*format!("pairs={rule}")];
        runs::succeed(runs::command("run", &runs::config(dir.path(), RUN), &sets));
        let round = Layout::new(&dir.path().join(rule)).round(1);
        assert_made(&round, rule, Drop::default(), 4);
        let scores = scores(&round);
        assert!(scores.iter().all(|line| line.weight == 0.25 * (line.line - 1) as f32 && line.distance.is_some()));
        assert!(scores.iter().any(|line| line.distance > Some(0.0)));
    }
}

/// Where the data has rejected responses nothing is sampled, and nothing that the config says of pairs applies.
#[test]
fn ready_made_pairs_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: usize| json!({"prompt": format!("Reverse {i}."), "chosen": "a", "rejected": if i == 0 { "a" } else { "b" }});
    fs::write(dir.path().join("rows.jsonl"), (0..6).map(|i| format!("{}\n", row(i))).collect::<String>()).unwrap();
    let pairs = "pairs={rule: medoid-over-outlier, drop_equal: true, drop_cut: true, min_distance: 1}";
    let round = score(dir.path(), "", &["data.path=rows.jsonl", pairs]);
    assert!(!round.generations().exists() && !round.choices().exists());
    assert_eq!(scores(&round).iter().map(|line| line.line).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

/// What lies beyond the length limit is never trained on: it makes no two candidates of one.
#[test]
fn samples_are_one_if_they_are_alike_within_max_length() {
    let dir = tempfile::tempdir().unwrap();
    let round = score(dir.path(), "pairs: all\n", &["data.max_prompt_length=8", "data.max_length=12"]);
    let candidates = TokenStore::open(&round.candidates(), 3).unwrap();
    let (mut at, mut alike) = (0, 0);
    for (line, samples) in round.candidate_lines().lines().unwrap().zip(generations(&round).chunks_exact(4)) {
        let line = line.unwrap();
        let mut different: Vec<(&[u32], u32, bool)> = vec![];
        for ids in samples.iter().map(|sample| &sample.ids) {
            let within = &ids[..ids.len().min(4)];
            match different.iter_mut().find(|other| other.0 == within) {
                Some(other) => other.1 += 1,
                None => different.push((within, 1, ids.len() > 4)),
            }
            alike += usize::from(samples.iter().any(|other| other.ids != *ids && other.ids.starts_with(within)));
        }
        for (k, (ids, count, cut)) in different.iter().enumerate() {
            assert_eq!((candidates.get(at + k, 2), line.counts[k], line.cut[k]), (*ids, *count, *cut));
        }
        assert_eq!(line.counts.len(), different.len());
        at += different.len();
    }
    assert!(at == candidates.len() && alike > 0, "{at} {alike}");
    assert_eq!(scores(&round).len(), 4 * 24);
}
