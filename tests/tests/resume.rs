//! A run killed at any moment and started again ends in the same bits as one that was left alone.

use ldalign_tests::runs;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Two rounds with every stage in them; the auto-encoder makes scoring long enough to be hit.
const RUN: &str = "
rounds: 2
generate: { samples: 1, max_new_tokens: 24, batch_size: 4, temperature: 0.7, top_p: 0.9 }
encoder: { plugin: autoencoder, options: { steps: 40 } }
train: { learning_rate: 1.0e-4, per_device_train_batch_size: 2, gradient_accumulation_steps: 2, num_train_epochs: 3, save_steps: 2 }
";

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |t| t.lines().count())
}

#[test]
fn killed_in_every_stage_ends_in_the_same_bits() {
    killed_in_every_stage(1, "golden-over-own", &[]);
}

#[test]
fn killed_with_several_samples_a_prompt_ends_in_the_same_bits() {
    for rule in ["nearest-over-farthest", "medoid-over-outlier"] {
        killed_in_every_stage(4, rule, &[]);
    }
}

/// QLoRA: adapters on a base in 4 bits.
#[test]
fn killed_on_a_base_in_blocks_ends_in_the_same_bits() {
    let lora = "train.lora={ r: 4, lora_alpha: 8, target_modules: [all-linear] }";
    killed_in_every_stage(1, "golden-over-own", &["quantize=nf4", lora]);
}

fn killed_in_every_stage(samples: usize, rule: &str, more: &[&str]) {
    let (samples_set, rule_set) = (format!("generate.samples={samples}"), format!("pairs={rule}"));
    let sets = &[&[samples_set.as_str(), rule_set.as_str()], more].concat();
    let whole = tempfile::tempdir().expect("a temporary directory");
    let config = runs::config(whole.path(), RUN);
    runs::succeed(runs::command("run", &config, sets));
    let expected = runs::bytes(&whole.path().join("run"));

    let killed = tempfile::tempdir().expect("a temporary directory");
    let config = runs::config(killed.path(), RUN);
    let run = killed.path().join("run");
    let at = |name: &str| run.join(name);
    // The state on disk that says a stage is under way; each is hit by a process of its own.
    let moments: [(&str, &dyn Fn() -> bool); 10] = [
        ("generating", &|| lines(&at("round-1/generations.partial.jsonl")) >= 5 * samples),
        ("generating again", &|| lines(&at("round-1/generations.partial.jsonl")) >= 15 * samples),
        ("listing candidates", &|| at("round-1/done/generate.json").exists()),
        ("scoring", &|| at("round-1/done/candidates.json").exists()),
        ("making pairs", &|| at("round-1/done/score.json").exists()),
        ("computing the reference", &|| at("round-1/done/pairs.json").exists()),
        ("training", &|| at("round-1/train/checkpoint-2").exists()),
        ("training again", &|| at("round-1/train/checkpoint-6").exists()),
        ("generating in round 2", &|| lines(&at("round-2/generations.partial.jsonl")) >= 3 * samples),
        ("training in round 2", &|| at("round-2/train/checkpoint-4").exists()),
    ];
    for (name, moment) in moments {
        let mut child = runs::command("run", &config, sets).spawn().expect("the binary starts");
        assert!(runs::kill_when(&mut child, moment), "the run ended before it could be killed while {name}");
        assert!(!at("round-2/done/train.json").exists(), "the run was over when it was killed while {name}");
    }
    runs::succeed(runs::command("run", &config, sets));
    let got = runs::bytes(&run);
    // These name the output directory.
    let same = |a: &std::collections::BTreeMap<_, _>| {
        let mut a = a.clone();
        for name in ["config.yaml", "manifest.json", "report.html"] {
            a.remove(Path::new(name));
        }
        a
    };
    assert_eq!(same(&got), same(&expected));

    // The comparison can fail: another seed gives other bits.
    let other = tempfile::tempdir().expect("a temporary directory");
    let config = runs::config(other.path(), RUN);
    runs::succeed(runs::command("run", &config, &[&sets[..], &["seed=1"]].concat()));
    assert_ne!(same(&runs::bytes(&other.path().join("run"))), same(&expected));
}

#[test]
fn a_signal_stops_cleanly_and_the_run_goes_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = runs::config(dir.path(), RUN);
    let run = dir.path().join("run");
    let mut child = runs::command("run", &config, &[]).spawn().expect("the binary starts");
    let start = Instant::now();
    while lines(&run.join("round-1/generations.partial.jsonl")) < 3 {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: the child is ours and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    assert_eq!(child.wait().expect("a child can be waited for").code(), Some(130));
    runs::succeed(runs::command("run", &config, &[]));
    assert!(run.join("report.html").exists());
}

#[test]
fn another_config_or_a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = runs::config(dir.path(), "generate: { samples: 1, max_new_tokens: 8 }\ntrain: { max_steps: 2 }");
    runs::succeed(runs::command("run", &config, &[]));
    let refused = |sets: &[&str]| {
        let out = runs::command("run", &config, sets).output().expect("the binary starts");
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8(out.stderr).expect("messages are UTF-8")
    };
    let changed = refused(&["train.beta=0.3"]);
    assert!(changed.contains("config.train.beta was 0.1, is 0.3"), "{changed}");
    let model = dir.path().join("run/round-1/model/model.safetensors");
    let mut bytes = fs::read(&model).expect("the model is there");
    *bytes.last_mut().expect("the model is not empty") ^= 1;
    fs::write(&model, bytes).expect("the model can be written");
    let damaged = refused(&[]);
    assert!(damaged.contains("not what stage train of round 1 wrote"), "{damaged}");
}
