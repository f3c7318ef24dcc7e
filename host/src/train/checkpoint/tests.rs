#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    config::TrainConfig,
    model::Gradients,
    ops::{Compute, Precision},
};
use candle_core::{Device, Var};

struct Bench {
    dir: tempfile::TempDir,
    trainable: Vec<Trainable>,
    optimizer: AdamW,
}

/// The metrics of so many steps.
fn lines(step: u64) -> Vec<u8> {
    (1..=step).map(|step| format!("{{\"step\":{step}}}\n")).collect::<String>().into_bytes()
}

impl Bench {
    fn new() -> Self {
        let var = |x: &[f32]| Var::from_tensor(&Tensor::new(x, &Device::Cpu).unwrap()).unwrap();
        let trainable = vec![
            Trainable { name: "a".into(), var: var(&[1.0, 2.0]) },
            Trainable { name: "b".into(), var: var(&[3.0]) },
        ];
        let compute = Compute::new(&Device::Cpu, Precision::F32);
        let optimizer = AdamW::new(&compute, &trainable, &TrainConfig::default()).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), trainable, optimizer }
    }
    fn checkpoints(&self, keep: usize) -> Checkpoints {
        let identity = Identity { config: "c".into(), data: "d".into() };
        Checkpoints { dir: self.dir.path().to_owned(), keep, identity }
    }
    /// Takes a step and saves it.
    fn advance(&mut self, step: u64, keep: usize) -> State {
        let gradients: Gradients =
            self.trainable.iter().map(|t| (t.name.clone(), t.var.ones_like().unwrap())).collect();
        self.optimizer.step(step, &gradients, 0.1, 1.0).unwrap();
        let state = State { step, tokens: 10 * step, ..Default::default() };
        self.checkpoints(keep).save(&state, &lines(step), &self.trainable, &self.optimizer).unwrap();
        state
    }
    fn resume(&mut self) -> Result<Option<State>> {
        let found = self.checkpoints(2).resume(&self.trainable, &mut self.optimizer)?;
        Ok(found.map(|(state, metrics)| {
            assert_eq!(metrics, lines(state.step));
            state
        }))
    }
    fn numbers(&self) -> Vec<f32> {
        self.trainable.iter().flat_map(|t| t.var.to_vec1::<f32>().unwrap()).collect()
    }
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn the_newest_is_restored_and_the_oldest_removed() {
    let mut bench = Bench::new();
    assert_eq!(bench.resume().unwrap(), None);
    let states: Vec<_> = (9..12).map(|step| (bench.advance(step, 2), bench.numbers())).collect();
    assert_eq!(bench.names(), ["checkpoint-10", "checkpoint-11"]);
    let mut fresh = Bench { dir: bench.dir, ..Bench::new() };
    assert_eq!(fresh.resume().unwrap().as_ref(), Some(&states[2].0));
    assert_eq!(fresh.numbers(), states[2].1);
}

#[test]
fn what_a_killed_process_did_not_remove_is_removed_at_the_next_start() {
    let mut bench = Bench::new();
    (1..5).for_each(|step| drop(bench.advance(step, 9)));
    assert_eq!(bench.names().len(), 4);
    assert_eq!(bench.resume().unwrap().map(|state| state.step), Some(4));
    assert_eq!(bench.names(), ["checkpoint-3", "checkpoint-4"]);
}

#[test]
fn no_field_of_the_state_is_believed_where_it_was_changed() {
    let mut bench = Bench::new();
    let older = bench.advance(1, 2);
    bench.advance(2, 2);
    let path = bench.checkpoints(2).path(2).join(STATE);
    let text = fs::read_to_string(&path).unwrap();
    for (was, is) in
        [("\"step\": 2", "\"step\": 4"), ("\"tokens\": 20", "\"tokens\": 21"), ("\"weights\": null", "\"weights\": 1")]
    {
        assert!(text.contains(was));
        fs::write(&path, text.replace(was, is)).unwrap();
        assert_eq!(bench.resume().unwrap().as_ref(), Some(&older), "{is}");
    }
    // A whole one under the name of another step.
    fs::write(&path, text).unwrap();
    fs::rename(bench.checkpoints(2).path(2), bench.checkpoints(2).path(7)).unwrap();
    assert_eq!(bench.resume().unwrap(), Some(older));
}

#[test]
fn a_damaged_one_gives_way_to_the_one_before() {
    for name in [METRICS, TRAINABLE, OPTIMIZER, STATE] {
        let mut bench = Bench::new();
        let older = (bench.advance(1, 2), bench.numbers());
        bench.advance(2, 2);
        let path = bench.checkpoints(2).path(2).join(name);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(bench.resume().unwrap().as_ref(), Some(&older.0), "{name}");
        assert_eq!(bench.numbers(), older.1);
        // Coming to it again, even keeping one alone, never leaves only the damaged one.
        fs::remove_file(&path).unwrap();
        bench.advance(1, 1);
        assert_eq!(bench.names(), ["checkpoint-1", "checkpoint-2"]);
        let state = bench.advance(2, 1);
        assert_eq!(bench.names(), ["checkpoint-2"]);
        assert_eq!(bench.resume().unwrap(), Some(state));
    }
}

#[test]
fn one_of_something_else_is_refused() {
    let mut bench = Bench::new();
    bench.advance(1, 2);
    for (config, data, what) in [
        ("x", "d", "another configuration or seed"),
        ("c", "x", "other data (rows, reference log-probabilities or distances)"),
    ] {
        let mut checkpoints = bench.checkpoints(2);
        checkpoints.identity = Identity { config: config.into(), data: data.into() };
        let e = checkpoints.resume(&bench.trainable, &mut bench.optimizer).unwrap_err();
        assert_eq!(e.code(), Code::TrainCheckpoint);
        assert!(e.to_string().ends_with(&format!("checkpoint-1 was made with {what}")), "{e}");
    }
    bench.trainable.pop();
    let other = Var::from_tensor(&Tensor::new(&[0f32; 3], &Device::Cpu).unwrap()).unwrap();
    bench.trainable.push(Trainable { name: "b".into(), var: other });
    let e = bench.resume().unwrap_err();
    assert!(e.to_string().ends_with("b is F32 [1]; expected F32 [3]"), "{e}");
}

#[test]
fn a_full_disk_is_noticed_before_writing() {
    let e = check_space(Path::new("run/checkpoint-5"), 3 << 20, 2 << 20).unwrap_err();
    assert_eq!(e.to_string(), "run/checkpoint-5 needs 3 MiB, 2 MiB are free");
    assert!(free_space(Path::new(".")).unwrap() > 0);
    assert!(check_space(Path::new("x"), 1, 2).is_ok());
}
