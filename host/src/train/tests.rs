//! The loop on a model of 5,000 parameters: against TRL, against itself, and through crashes.
#![allow(clippy::unwrap_used)]

mod rounded;

use super::{
    loss::{PairLoss, Valued},
    *,
};
use crate::{
    Code,
    config::{LoraConfig, LossType},
    ops::{Compute, Precision},
};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use std::{cell::Cell, collections::BTreeMap, fs, path::PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/dpo")
}

fn policy() -> Policy {
    Policy::load(&fixtures().join("model"), &Device::Cpu).unwrap()
}

fn store<const N: usize>(dir: &Path, rows: &[[Vec<u32>; N]]) -> TokenStore {
    let path = dir.join("rows");
    TokenStore::write(&path, rows.iter().cloned().map(Ok)).unwrap();
    TokenStore::open(&path, N).unwrap()
}

/// Pairs of uneven lengths with made-up reference values and distances; the pair in row 0 is at distance 0.
struct Data {
    dir: tempfile::TempDir,
    pairs: TokenStore,
    reference: Vec<[f32; 2]>,
    distances: Vec<f32>,
}

impl Data {
    fn new(n: usize) -> Self {
        let ids = |n: usize, salt: usize| (0..n).map(|i| ((7 * i * i + 5 * salt + i) % 29 + 3) as u32).collect();
        let row = |i: usize| [ids(2 + i % 4, i), ids(1 + 4 * i % 7, i + 1), ids(1 + 3 * i % 5, i + 2)];
        let dir = tempfile::tempdir().unwrap();
        Self {
            pairs: store(dir.path(), &Vec::from_iter((0..n).map(row))),
            reference: (0..n).map(|i| [-3.0 - (i % 3) as f32, -4.5 + (i % 4) as f32]).collect(),
            distances: (0..n).map(|i| i as f32 / 2.0).collect(),
            dir,
        }
    }
    fn dpo<'a>(&'a self, schedule: &'a Weigh<'a>) -> DpoData<'a> {
        let Self { pairs, reference, distances, .. } = self;
        DpoData { pairs, reference, distances, schedule, measured: true, round: (0, 1) }
    }
    /// Prompts with the chosen completions.
    fn sft(&self) -> TokenStore {
        let path = self.dir.path().join("sft");
        let row = |row| [self.pairs.get(row, 0).to_vec(), self.pairs.get(row, 1).to_vec()];
        TokenStore::write(&path, (0..self.pairs.len()).map(|i| Ok(row(i)))).unwrap();
        TokenStore::open(&path, 2).unwrap()
    }
}

/// Weights that differ by pair and by step.
fn schedule(at: StepContext, distances: &[f32]) -> Result<Vec<f32>> {
    Ok(distances.iter().map(|d| d / (1.0 + at.step as f32)).collect())
}

fn ones(_: StepContext, distances: &[f32]) -> Result<Vec<f32>> {
    Ok(vec![1.0; distances.len()])
}

fn config() -> TrainConfig {
    TrainConfig {
        learning_rate: 3e-3,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 2,
        num_train_epochs: 2,
        ..Default::default()
    }
}

/// Loss and gradients of the first step, and the metrics it adds.
fn first_step(objective: &dyn Objective, config: &TrainConfig, rows: &[usize]) -> (StepGradients, State) {
    first_step_of(&policy(), objective, config, rows)
}

fn first_step_of(
    policy: &Policy,
    objective: &dyn Objective,
    config: &TrainConfig,
    rows: &[usize],
) -> (StepGradients, State) {
    let plan = Plan::new(objective.rows().len(), config, 0).unwrap();
    let mut state = State::default();
    let step = gradients(policy, objective, &plan, &policy.trainable(), rows, &mut state).unwrap();
    (step, state)
}

fn numbers(t: &candle_core::Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Relative difference in the 2-norm: of all gradients together, and of the tensor where it is largest.
fn difference(a: &Gradients, b: &Gradients) -> (f64, f64) {
    assert_eq!(Vec::from_iter(a.keys()), Vec::from_iter(b.keys()));
    let (mut all, mut worst) = ([0.0; 2], 0f64);
    for name in b.keys() {
        let (a, b) = (numbers(&a[name]), numbers(&b[name]));
        let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let part = [squares(&mut a.iter().zip(&b).map(|(a, b)| a - b)), squares(&mut b.iter().copied())];
        assert!(part[1] > 0.0, "{name} has no gradient");
        worst = worst.max((part[0] / part[1]).sqrt());
        all = [all[0] + part[0], all[1] + part[1]];
    }
    ((all[0] / all[1]).sqrt(), worst)
}

fn weights(policy: &Policy) -> Vec<u32> {
    policy.trainable().iter().flat_map(|t| numbers(&t.var)).map(f32::to_bits).collect()
}

#[derive(Deserialize)]
struct Fixture {
    rows: Vec<[Vec<u32>; 3]>,
    reference: Vec<[f32; 2]>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: TrainConfig,
    loss: f64,
    metrics: BTreeMap<String, f64>,
    /// Of the pairs; all 1 where there are none.
    weights: Option<[f32; 4]>,
}

impl Fixture {
    fn read() -> Self {
        serde_json::from_slice(&fs::read(fixtures().join("dpo.json")).unwrap()).unwrap()
    }
}

#[test]
fn losses_metrics_and_every_gradient_equal_trl() {
    equals_trl(&policy());
    let plain = Compute::plain(&Device::Cpu, Precision::F32);
    equals_trl(&Policy::load_on(&fixtures().join("model"), &plain).unwrap());
}

fn equals_trl(policy: &Policy) {
    let fixture = Fixture::read();
    let dir = tempfile::tempdir().unwrap();
    let pairs = store(dir.path(), &fixture.rows);
    for case in &fixture.cases {
        // Weights stand where distances would, for a schedule that takes them as they are.
        let data = DpoData {
            pairs: &pairs,
            reference: &fixture.reference,
            distances: &case.weights.unwrap_or([1.0; 4]),
            schedule: &|_, given| Ok(given.to_vec()),
            measured: true,
            round: (0, 1),
        };
        let objective = Dpo::new(&data, &case.config).unwrap();
        let (step, state) = first_step_of(policy, &objective, &case.config, &[0, 1, 2, 3]);
        let close = |what: &str, a: f64, b: f64| {
            assert!((a - b).abs() < 2e-6 * b.abs().max(1.0), "{}: {what} is {a}, TRL's {b}", case.name);
        };
        close("loss", step.loss, case.loss);
        for (name, value) in &case.metrics {
            close(name, state.means.mean(name).unwrap(), *value);
        }
        let theirs =
            candle_core::safetensors::load(fixtures().join(format!("{}.safetensors", case.name)), &Device::Cpu);
        let d = difference(&step.gradients, &theirs.unwrap().into_iter().collect());
        assert!(d.0 < 2e-6 && d.1 < 5e-6, "{}: gradients differ by {d:?}", case.name);
    }
}

#[test]
fn loss_type_sft_is_sft_on_the_chosen_whatever_the_pairs_weights() {
    let all = Data::new(7);
    let rows = [4, 0, 6, 2, 1, 5, 3];
    let config = |sft_weight| TrainConfig { loss_type: LossType::Sft.into(), sft_weight, ..config() };
    let sft = all.sft();
    let sft = SftData { rows: &sft, weights: None };
    let (expected, _) = first_step(&Sft::new(&sft).unwrap(), &config(1.0), &rows);
    let nothing = |_: StepContext, distances: &[f32]| Ok(vec![0.0; distances.len()]);
    for weigh in [&schedule as &Weigh<'_>, &ones, &nothing] {
        let data = all.dpo(weigh);
        let of = |sft_weight| first_step(&Dpo::new(&data, &config(sft_weight)).unwrap(), &config(sft_weight), &rows);
        let (whole, state) = of(1.0);
        assert!((whole.loss - expected.loss).abs() < 1e-6 * expected.loss, "{} and {}", whole.loss, expected.loss);
        let d = difference(&whole.gradients, &expected.gradients);
        assert!(d.0 < 1e-6 && d.1 < 2e-6, "{d:?}");
        assert!((state.means.mean("nll_loss").unwrap() - expected.loss).abs() < 1e-6 * expected.loss);
        let (half, _) = of(0.5);
        let halved = expected.gradients.iter().map(|(n, g)| (n.clone(), (g / 2.0).unwrap())).collect();
        let d = difference(&half.gradients, &halved);
        assert!((half.loss - expected.loss / 2.0).abs() < 1e-6 && d.0 < 1e-6 && d.1 < 2e-6, "{} {d:?}", half.loss);
    }
}

#[test]
fn passes_sum_to_the_big_batch() {
    let all = Data::new(7);
    let data = all.dpo(&schedule);
    let dpo = Dpo::new(&data, &TrainConfig { sft_weight: 0.5, ..config() }).unwrap();
    let order = [4, 0, 6, 2, 1, 5, 3];
    let (sft, weights) = (all.sft(), [1.0, 2.0, 0.0, 0.5, 1.0, 3.0, 1.0]);
    let sft = SftData { rows: &sft, weights: Some(&weights) };
    for objective in [&dpo as &dyn Objective, &Sft::new(&sft).unwrap()] {
        let by = |n| first_step(objective, &TrainConfig { per_device_train_batch_size: n, ..config() }, &order).0;
        let whole = by(7);
        for n in [1, 2, 3] {
            let parts = by(n);
            assert!((parts.loss - whole.loss).abs() < 1e-6 * whole.loss.abs(), "{} and {}", parts.loss, whole.loss);
            let d = difference(&parts.gradients, &whole.gradients);
            assert!(d.0 < 1e-6 && d.1 < 2e-6, "{n} rows a pass: {d:?}");
        }
    }
}

#[test]
fn pairs_of_weight_zero_count_but_take_no_pass() {
    let all = Data::new(5);
    let step = |schedule: &Weigh<'_>, rows: &[usize]| {
        let data = all.dpo(schedule);
        first_step(&Dpo::new(&data, &config()).unwrap(), &config(), rows)
    };
    let (with, state) = step(&|_, d| Ok(d.iter().map(|&d| f32::from(d > 1.0)).collect()), &[0, 4, 1, 3]);
    let (without, rest) = step(&ones, &[4, 3]);
    assert_eq!(state.tokens, rest.tokens);
    // Two of four pairs: half the mean over two.
    assert_eq!(with.loss, without.loss / 2.0);
    let halved = without.gradients.iter().map(|(n, g)| (n.clone(), (g / 2.0).unwrap())).collect();
    assert_eq!(difference(&with.gradients, &halved), (0.0, 0.0));
    assert_eq!(state.means.mean("distances/mean"), Some(1.0));
    assert_eq!(state.means.mean("rewards/margins"), rest.means.mean("rewards/margins"));

    let (none, state) = step(&|_, d| Ok(vec![0.0; d.len()]), &[0, 1]);
    assert_eq!((none.loss, state.tokens), (0.0, 0));
    assert!(none.gradients.values().flat_map(numbers).all(|g| g == 0.0));
}

/// DPO without any notion of a weight, to compare with.
struct Plain<'a> {
    dpo: Dpo<'a>,
    loss: PairLoss,
    reference: &'a [[f32; 2]],
}

impl Objective for Plain<'_> {
    fn name(&self) -> String {
        self.dpo.name()
    }
    fn rows(&self) -> &TokenStore {
        self.dpo.rows()
    }
    fn data_hash(&self) -> String {
        self.dpo.data_hash()
    }
    fn weigh(&self, _: u64, _: u64, rows: &[usize], _: &mut StepMeans) -> Result<Vec<f32>> {
        Ok(vec![f32::NAN; rows.len()])
    }
    fn counts(&self, _: f32) -> bool {
        true
    }
    fn value(
        &self,
        row: usize,
        _: f32,
        logps: &[f32],
        tokens: &[usize],
        of: Denominators,
        _: &mut StepMeans,
    ) -> Valued {
        let ratios = [0, 1].map(|i| f64::from(logps[i]) - f64::from(self.reference[row][i]));
        let (loss, [chosen, rejected]) = self.loss.of(ratios, [tokens[0], tokens[1]]);
        (loss / of.rows, [chosen / of.rows, rejected / of.rows])
    }
}

#[test]
fn all_weights_one_is_plain_dpo_to_the_bit() {
    let all = Data::new(7);
    let data = all.dpo(&ones);
    let [mut weighted, mut plain] = [policy(), policy()];
    super::dpo(&mut weighted, &data, &config(), 5, &all.dir.path().join("weighted")).unwrap();
    let (dpo, loss) = (Dpo::new(&data, &config()).unwrap(), PairLoss::new(&config()).unwrap());
    let objective = Plain { dpo, loss, reference: &all.reference };
    train(&mut plain, &objective, &config(), 5, &all.dir.path().join("plain"), &Solo).unwrap();
    assert!(weights(&weighted) == weights(&plain));
    assert!(weights(&weighted) != weights(&policy()));
}

/// Trains in `dir`, crashing when asked for the weights of step `crash`, and returns the weights if it ended.
fn run(all: &Data, config: &TrainConfig, dir: &Path, crash: Option<u64>) -> Result<Vec<u32>> {
    let mut policy = policy();
    if let Some(lora) = &config.lora {
        policy.add_lora(lora, 1)?;
    }
    let stop = |at: StepContext, distances: &[f32]| match crash {
        Some(step) if at.step == step => Err(Error::new(Code::EngineTensor, "crash")),
        _ => schedule(at, distances),
    };
    dpo(&mut policy, &all.dpo(&stop), config, 3, dir)?;
    Ok(weights(&policy))
}

/// Metrics every two steps and checkpoints every three: a line straddles a checkpoint, a crash comes after both.
fn uneven() -> TrainConfig {
    TrainConfig { logging_steps: 2, save_steps: 3, num_train_epochs: 5, weight_decay: 0.1, ..config() }
}

#[test]
fn a_crash_at_any_step_changes_no_bit() {
    let all = Data::new(7);
    let whole = all.dir.path().join("whole");
    let expected = run(&all, &uneven(), &whole, None).unwrap();
    let metrics = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 5);
    for crash in 0..10 {
        let dir = all.dir.path().join(format!("crash-{crash}"));
        assert_eq!(run(&all, &uneven(), &dir, Some(crash)).unwrap_err().code(), Code::EngineTensor);
        // What a killed process leaves of a line.
        let journal = fs::OpenOptions::new().append(true).open(dir.join("metrics.jsonl"));
        std::io::Write::write_all(&mut journal.unwrap(), b"{\"step\":").unwrap();
        assert!(run(&all, &uneven(), &dir, None).unwrap() == expected, "crash at step {crash}");
        assert_eq!(fs::read_to_string(dir.join("metrics.jsonl")).unwrap(), metrics);
        // Called once more it finds everything done.
        assert!(run(&all, &uneven(), &dir, Some(0)).unwrap() == expected);
    }
}

#[test]
fn adapters_resume_too_and_leave_the_rest_alone() {
    let all = Data::new(7);
    let config = TrainConfig { lora: Some(LoraConfig { r: 2, ..Default::default() }), ..uneven() };
    let expected = run(&all, &config, &all.dir.path().join("whole"), None).unwrap();
    let dir = all.dir.path().join("crash");
    run(&all, &config, &dir, Some(8)).unwrap_err();
    assert!(run(&all, &config, &dir, None).unwrap() == expected);
    let bytes = fs::read(dir.join("checkpoint-10/trainable.safetensors")).unwrap();
    let names = safetensors::SafeTensors::deserialize(&bytes).unwrap().names().join(" ");
    assert!(names.split(' ').all(|name| name.contains("lora_")), "{names}");
}

/// The tests above can fail: a checkpoint whose optimizer state is lost gives other bits.
#[test]
fn a_resume_without_the_optimizer_state_ends_elsewhere() {
    let all = Data::new(7);
    let expected = run(&all, &uneven(), &all.dir.path().join("whole"), None).unwrap();
    let dir = all.dir.path().join("lost");
    run(&all, &uneven(), &dir, Some(4)).unwrap_err();
    let checkpoint = dir.join("checkpoint-3");
    let path = checkpoint.join("optimizer.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let before = files::sha256(&bytes);
    bytes[start..].fill(0);
    fs::write(&path, &bytes).unwrap();
    let state = fs::read_to_string(checkpoint.join("state.json")).unwrap();
    let state = files::unseal(&state).unwrap().replace(&before, &files::sha256(&bytes));
    fs::write(checkpoint.join("state.json"), files::seal(&state)).unwrap();
    assert!(run(&all, &uneven(), &dir, None).unwrap() != expected);
}

#[test]
fn a_checkpoint_of_other_data_seed_or_configuration_is_refused() {
    let mut all = Data::new(7);
    let dir = all.dir.path().join("run");
    run(&all, &uneven(), &dir, Some(4)).unwrap_err();
    let refused = |all: &Data, config| {
        let e = run(all, &config, &dir, None).unwrap_err();
        assert_eq!(e.code(), Code::TrainCheckpoint);
        e.to_string()
    };
    assert!(refused(&all, TrainConfig { beta: 0.2, ..uneven() }).ends_with("another configuration or seed"));
    all.reference[0][0] += 1.0;
    assert!(refused(&all, uneven()).contains("was made with other data"));
    all.reference[0][0] -= 1.0;
    // How often checkpoints are written may change.
    run(&all, &TrainConfig { save_steps: 1, save_total_limit: 1, ..uneven() }, &dir, None).unwrap();
}

#[test]
fn the_first_number_that_is_none_stops_training_and_keeps_the_checkpoint() {
    let all = Data::new(7);
    let dir = all.dir.path().join("run");
    let bad = |at: StepContext, d: &[f32]| Ok(vec![if at.step == 4 { f32::NAN } else { 1.0 }; d.len()]);
    let e = dpo(&mut policy(), &all.dpo(&bad), &uneven(), 3, &dir).unwrap_err();
    assert_eq!(e.code(), Code::TrainNonFinite);
    assert!(e.to_string().starts_with("step 5: row "), "{e}");
    assert!(e.to_string().ends_with("give a loss of NaN"), "{e}");
    assert!(dir.join("checkpoint-3").is_dir());

    // A learning rate that blows the weights up is found in the numbers they give.
    let config = TrainConfig { learning_rate: 1e30, warmup_ratio: 0.0, ..uneven() };
    let e = run(&all, &config, &all.dir.path().join("blown"), None).unwrap_err();
    assert_eq!(e.code(), Code::TrainNonFinite);
}

/// The second of two ranks, the first of which has the same part in every step and is asked to stop during `stop`.
struct Second {
    stop: u64,
    asked: Cell<u64>,
}

impl Collective for Second {
    fn rank(&self) -> usize {
        1
    }
    fn size(&self) -> usize {
        2
    }
    fn sum(&self, part: Result<StepGradients>) -> Result<StepGradients> {
        let StepGradients { loss, gradients } = part?;
        let twice = |(name, g): (String, Tensor)| Ok((name, (g * 2.0)?));
        Ok(StepGradients { loss: 2.0 * loss, gradients: gradients.into_iter().map(twice).collect::<Result<_>>()? })
    }
    fn agree(&self, stop: bool) -> Result<bool> {
        self.asked.set(self.asked.get() + 1);
        Ok(stop || self.asked.get() == self.stop)
    }
}

#[test]
fn the_optimizer_takes_what_the_ranks_sum_and_all_stop_together() {
    let all = Data::new(7);
    let in_dir = |name: &str, schedule: &Weigh<'_>, ranks: &dyn Collective| {
        let (dir, mut policy) = (all.dir.path().join(name), policy());
        let data = all.dpo(schedule);
        let done = train(&mut policy, &Dpo::new(&data, &config()).unwrap(), &config(), 3, &dir, ranks);
        let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<BTreeMap<String, f64>>>();
        (done, lines, dir)
    };
    let (done, alone, _) = in_dir("alone", &schedule, &Solo);
    done.unwrap();
    let (done, both, dir) = in_dir("both", &schedule, &Second { stop: 3, asked: Cell::default() });
    assert_eq!(done.unwrap_err().code(), Code::RunInterrupted);
    assert!(both.len() == 3 && dir.join("checkpoint-3").is_dir() && alone.len() == 4);
    for name in ["loss", "grad_norm"] {
        // Times two is exact; the learning rate of the first step is 0.
        assert_eq!(both[0][name], 2.0 * alone[0][name], "{name}");
    }

    let fails = |at: StepContext, d: &[f32]| match at.step {
        1 => Err(Error::new(Code::EngineTensor, "crash")),
        _ => schedule(at, d),
    };
    let (done, ..) = in_dir("failed", &fails, &Second { stop: 9, asked: Cell::default() });
    assert_eq!(done.unwrap_err().message(), "rank 1 of 2, step 2: crash");
}

#[test]
fn a_round_begins_at_its_own_reference_and_learns_to_prefer() {
    let mut all = Data::new(6);
    let mut seen = 0;
    let reference = reference_logps(&policy(), &all.pairs, |rows| {
        seen += rows;
        Ok(())
    });
    all.reference = reference.unwrap();
    assert_eq!(seen, 6);
    let dir = all.dir.path().join("run");
    let config = TrainConfig { num_train_epochs: 20, gradient_accumulation_steps: 3, ..config() };
    dpo(&mut policy(), &all.dpo(&ones), &config, 3, &dir).unwrap();
    let lines: Vec<BTreeMap<String, f64>> = fs::read_to_string(dir.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (first, last) = (&lines[0], &lines[19]);
    assert!((first["loss"] - std::f64::consts::LN_2).abs() < 1e-6, "{first:?}");
    assert!(first["rewards/margins"].abs() < 1e-6);
    assert!(last["loss"] < 0.65 && last["rewards/margins"] > 0.1, "{last:?}");
    assert_eq!((first["weights/ess"], first["learning_rate"]), (6.0, 0.0));
    assert_eq!((last["step"], last["epoch"], last["rewards/accuracies"]), (20.0, 20.0, 1.0));
}

#[test]
fn reference_equals_trls_log_probabilities() {
    let fixture = Fixture::read();
    let dir = tempfile::tempdir().unwrap();
    let logps = reference_logps(&policy(), &store(dir.path(), &fixture.rows), |_| Ok(())).unwrap();
    for (i, name) in ["logps/chosen", "logps/rejected"].into_iter().enumerate() {
        let mean = logps.iter().map(|l| f64::from(l[i])).sum::<f64>() / 4.0;
        assert!((mean - fixture.cases[0].metrics[name]).abs() < 1e-5, "{name}: {mean}");
    }
}

#[test]
fn long_passes_are_cut_at_the_budget_alone() {
    let all = Data::new(900);
    let mut passes = vec![];
    let whole = reference_logps(&policy(), &all.pairs, |rows| {
        passes.push(rows);
        Ok(())
    });
    assert!(passes.len() > 1 && passes.iter().sum::<u64>() == 900, "{passes:?}");
    assert_eq!(whole.unwrap().len(), 900);
}

#[test]
fn sft_lowers_the_loss_per_token_and_resumes() {
    let all = Data::new(7);
    let rows = all.sft();
    let config = TrainConfig { num_train_epochs: 20, learning_rate: 1e-2, ..config() };
    let dir = all.dir.path().join("run");
    let mut trained = policy();
    sft(&mut trained, &SftData { rows: &rows, weights: None }, &config, 3, &dir).unwrap();
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let loss: Vec<f64> =
        text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["loss"].as_f64().unwrap()).collect();
    assert!(loss[0] > 3.0 && loss[39] < 0.7 * loss[0], "{loss:?}");
    assert!(!text.contains("weights/") && !text.contains("rewards/"));
    // Continues from the newest checkpoint but one where the newest is lost.
    fs::remove_file(dir.join("checkpoint-40/state.json")).unwrap();
    let mut again = policy();
    sft(&mut again, &SftData { rows: &rows, weights: None }, &config, 3, &dir).unwrap();
    assert!(weights(&again) == weights(&trained));
    assert_eq!(fs::read_to_string(dir.join("metrics.jsonl")).unwrap(), text);
}

#[test]
fn sft_weighs_rows() {
    let all = Data::new(2);
    let rows = all.sft();
    let config = TrainConfig { num_train_epochs: 1, gradient_accumulation_steps: 1, ..config() };
    let loss = |rows: &TokenStore, weights: Option<&[f32]>| {
        let dir = tempfile::tempdir().unwrap();
        sft(&mut policy(), &SftData { rows, weights }, &config, 3, dir.path()).unwrap();
        let line: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap()).unwrap();
        line["loss"].as_f64().unwrap()
    };
    let tokens = [0, 1].map(|row| rows.get(row, 1).len() as f64);
    let alone = [0, 1].map(|row| {
        let dir = tempfile::tempdir().unwrap();
        loss(&store(dir.path(), &[[rows.get(row, 0).to_vec(), rows.get(row, 1).to_vec()]]), None) * tokens[row]
    });
    let weighed = |a: f64, b: f64| (a * alone[0] + b * alone[1]) / (tokens[0] + tokens[1]);
    for [a, b] in [[2.0, 0.5], [0.0, 1.0], [0.0, 0.0]] {
        let (found, expected) = (loss(&rows, Some(&[a, b])), weighed(a.into(), b.into()));
        assert!((found - expected).abs() < 1e-5, "{a} {b}: {found} {expected}");
    }
    assert_eq!(loss(&rows, Some(&[1.0, 1.0])).to_bits(), loss(&rows, None).to_bits());
    let short = SftData { rows: &rows, weights: Some(&[1.0]) };
    let e = sft(&mut policy(), &short, &config, 3, all.dir.path()).unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::TrainRows, "2 rows have 1 weights"));
}

#[test]
fn rows_the_model_cannot_take_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = |row: [Vec<u32>; 2]| {
        let rows = store(dir.path(), &[[vec![3], vec![4]], row]);
        let e = sft(&mut policy(), &SftData { rows: &rows, weights: None }, &config(), 0, &dir.path().join("run"))
            .unwrap_err();
        assert_eq!(e.code(), Code::TrainRow);
        e.to_string()
    };
    assert_eq!(refuse([vec![3; 60], vec![4; 5]]), "row 1 has 65 tokens, the model takes 64");
    assert_eq!(refuse([vec![3], vec![4, 32]]), "row 1 has token 32, the model knows 32 tokens");
    let empty: [[Vec<u32>; 2]; 0] = [];
    let e = sft(&mut policy(), &SftData { rows: &store(dir.path(), &empty), weights: None }, &config(), 0, dir.path())
        .unwrap_err();
    assert_eq!(e.to_string(), "there is no row to train on");
}
