#![allow(clippy::unwrap_used)]
use super::*;
use crate::Result;
use crate::checker::Checker;
use std::fs;

/// A directory with the files that a config may name.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("model")).unwrap();
    fs::write(dir.path().join("data.jsonl"), "").unwrap();
    fs::write(dir.path().join("model.gguf"), "").unwrap();
    dir
}

fn load(dir: &tempfile::TempDir, yaml: &str, set: &[&str]) -> Result<RunConfig> {
    let path = dir.path().join("run.yaml");
    fs::write(&path, yaml).unwrap();
    RunConfig::load(&path, &set.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
}

/// The error's text and hint, the temporary directory written as DIR.
fn fails(yaml: &str, set: &[&str]) -> String {
    let dir = place();
    let e = load(&dir, yaml, set).unwrap_err();
    let text = format!("error[{}]: {e:#}\nhint: {}\n", e.code(), e.hint_text().unwrap_or("NONE"));
    text.replace(dir.path().to_str().unwrap(), "DIR")
}

const GOOD: &str = "model: model\noutput_dir: out\ndata: {path: data.jsonl}\n";

#[test]
fn a_tilde_is_the_home_of_the_user() {
    let home = std::env::home_dir().unwrap();
    assert_eq!(schema::at_home("~/model"), home.join("model"));
    for other in ["~", "~other/model", "a/~/b", "./~/x"] {
        assert_eq!(schema::at_home(other), Path::new(other));
    }
    assert!(
        fails("model: ~/no-such-model\noutput_dir: out\ndata: {path: data.jsonl}\n", &[])
            .contains(home.join("no-such-model").to_str().unwrap())
    );
}

#[test]
fn defaults_paths_and_short_forms() {
    let dir = place();
    let c = load(&dir, &format!("{GOOD}distance: cosine\nencoder: {{plugin: ./libx.so, options: {{a: 1}}}}\n"), &[])
        .unwrap();
    assert_eq!(c.model, dir.path().join("model"));
    let file = load(&dir, GOOD, &["model=model.gguf"]).unwrap();
    assert_eq!(file.model, dir.path().join("model.gguf"));
    assert_eq!(c.output_dir, dir.path().join("out"));
    assert_eq!(c.distance, PluginChoice::bundled("cosine"));
    assert_eq!(c.encoder.plugin, dir.path().join("libx.so").to_str().unwrap());
    assert_eq!((c.rounds, c.train.beta, c.train.lora), (1, 0.1, None));
}

#[test]
fn numbers_in_any_notation() {
    let dir = place();
    let c = load(&dir, &format!("{GOOD}train: {{learning_rate: 5e-6, beta: 1, lora: {{}}}}\n"), &[]).unwrap();
    assert_eq!((c.train.learning_rate, c.train.beta), (5e-6, 1.0));
    assert_eq!(c.train.lora, Some(LoraConfig::default()));
}

#[test]
fn presets_and_rules_stand_for_keys_that_are_left_out() {
    let dir = place();
    for (preset, schedule) in [("paper", "linear"), ("spin", "uniform")] {
        let c = load(&dir, &format!("{GOOD}preset: {preset}\ngenerate: {{temperature: 0.7}}\n"), &[]).unwrap();
        let pairing = crate::pairs::Pairing { rule: crate::pairs::Rule::GoldenOverOwn, ..Default::default() };
        assert_eq!((c.samples(), c.pairs, c.schedule), (1, pairing, PluginChoice::bundled(schedule)));
        assert_eq!(c.generate.temperature, 0.7);
    }
    let agrees = "preset: paper\npairs: {drop_cut: true}\nschedule: {plugin: linear, options: {}}\n";
    assert!(load(&dir, &format!("{GOOD}{agrees}"), &[]).unwrap().pairs.drop_cut);
    for (rule, schedule) in [
        ("nearest-over-farthest", "uniform"),
        ("{rule: medoid-over-outlier}", "uniform"),
        ("golden-over-farthest", "linear"),
        ("{drop_cut: true}", "linear"),
    ] {
        let with = |more: &str| load(&dir, &format!("{GOOD}pairs: {rule}\n{more}"), &[]).unwrap().schedule.plugin;
        assert_eq!((with(""), with("schedule: rank\n")), (schedule.to_owned(), "rank".to_owned()), "{rule}");
    }
    let said = fails(&format!("{GOOD}preset: spin\npairs: nearest-over-farthest\n"), &["generate.samples=4"]);
    assert!(said.contains("generate.samples (--set): the preset has 1 here"), "{said}");
    assert!(said.contains("pairs.rule (line 5): the preset has golden-over-own here"), "{said}");
    assert!(!said.contains("schedule"), "{said}");
}

#[test]
fn numbers_that_no_machine_has_are_refused_by_their_keys() {
    let most = u64::MAX;
    for key in [
        "threads",
        "rounds",
        "data.max_length",
        "data.max_prompt_length",
        "generate.batch_size",
        "generate.max_new_tokens",
        "train.lora.r",
        "train.num_train_epochs",
        "train.per_device_train_batch_size",
        "train.gradient_accumulation_steps",
    ] {
        let text = fails(GOOD, &[&format!("{key}={most}")]);
        assert!(text.contains(&format!("{key} (--set): expected ")) && text.contains("at most "), "{text}");
    }
}

#[test]
fn overrides_come_before_checks_and_make_sections() {
    let dir = place();
    let set = ["train.beta=0.2", "train.lora.r=8", "encoder.options.x=1", "data.turns=all", "generate.top_p=0.9"];
    let c = load(&dir, &format!("{GOOD}encoder: mine\ntrain: {{beta: -1}}\n"), &set).unwrap();
    assert_eq!((c.train.beta, c.train.lora.unwrap().r, c.data[0].turns), (0.2, 8, Turns::All));
    assert_eq!((c.encoder.plugin.as_str(), &c.encoder.options["x"]), ("mine", &1.into()));
    let c = load(&dir, &format!("{GOOD}train: {{lora: {{r: 8}}}}\n"), &["train.lora=null"]).unwrap();
    assert_eq!(c.train.lora, None);
}

#[test]
fn data_may_be_a_list_of_files() {
    let dir = place();
    let list = GOOD.replace("data: {path: data.jsonl}", "data: [{path: data.jsonl}, {path: data.jsonl, repeat: 2}]");
    assert_ne!(list, GOOD);
    let c = load(&dir, &list, &["data.1.max_rows=5"]).unwrap();
    assert_eq!((c.data.len(), c.data[1].repeat, c.data[1].max_rows, c.data[0].max_rows), (2, 2, 5, 0));
    assert_eq!(c.data[1].path, dir.path().join("data.jsonl"));
    let again = load(&dir, &c.to_yaml().unwrap(), &[]).unwrap();
    assert_eq!(c.data, again.data);
    // A list of one is written as that one.
    let one = load(&dir, &GOOD.replace("{path: data.jsonl}", "[{path: data.jsonl}]"), &[]).unwrap();
    assert_eq!(serde_json::to_value(&one).unwrap(), serde_json::to_value(load(&dir, GOOD, &[]).unwrap()).unwrap());
    for (set, expected) in [
        ("data.max_rows=5", "`data` is a list: write data.0.max_rows for its first"),
        ("data.2.max_rows=5", "`data.2` is none of the 2 items, 0 to 1"),
        ("data.1.path=nowhere", "data.1.path (--set): no such file"),
        ("data.1.weight=2", "data.1.weight (--set): unknown key"),
        ("data.1.fields={promt: x}", "data.1.fields.promt (--set): unknown field; did you mean `prompt`?"),
        ("data.1.repeat=0", "data.1.repeat (--set): expected a whole number"),
        ("data=[]", "data (--set): expected at least one item, found an empty list"),
        ("eval.data={path: data.jsonl, repeat: 2}", "eval.data.repeat (--set): rows that measure are there once"),
        ("validate.data=[{path: data.jsonl}]", "validate.data (--set): expected a map, found a list"),
    ] {
        let text = fails(&list, &[set]);
        assert!(text.contains(expected), "{set}: {text}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let dir = place();
    let set = [
        "train.lora.r=8",
        "encoder.plugin=x",
        "encoder.options.rate=1e-3",
        "eval.data.path=data.jsonl",
        "train.learning_rate=1e-6",
    ];
    let c = load(&dir, GOOD, &set).unwrap();
    let again = load(&dir, &c.to_yaml().unwrap(), &[]).unwrap();
    assert_eq!(serde_json::to_value(&c).unwrap(), serde_json::to_value(&again).unwrap());
}

#[test]
fn all_faults_at_once_each_with_its_line() {
    let yaml = "\
model: nowhere
output_dir: out
rounds: 0
learning_rate: 1e-6
data:
  path: data.jsonl
  turns: lst
  max_prompt_length: 2000
  fields: {promt: question}
train:
  learning_rat: 1
  learning_rate: \"1e-5\"
  label_smoothing: 0.5
  loss_type: hinge
  per_device_train_batch_size: 2.5
  lora: {r: 0, target_modules: []}
generate: {top_p: 0, temperature: hot}
distance: 3
device: gpu
";
    insta::assert_snapshot!(fails(yaml, &["train.beta=-1", "train.warmup_ratio=2"]));
}

#[test]
fn single_faults() {
    let cases: &[(&str, &[&str])] = &[
        ("rounds: 2\n", &[]),
        ("model: model\noutput_dir: out\ndata: {path: data.jsonl}\nplugin_path: [data.jsonl]\n", &[]),
        ("model: model\noutput_dir: out\ndata: {path: data.jsonl}\ntrain:\n", &[]),
        ("model: model\noutput_dir: out\ndata: {path: data.jsonl}\nencoder: {options: {a: 1}}\n", &[]),
        ("model: model\noutput_dir: out\ndata: {path: data.jsonl}\nencoder: {plugin: x, option: {a: 1}}\n", &[]),
        ("model: hub:org/name\noutput_dir: out\ndata: {path: hub:org/name@main}\n", &[]),
        ("model: model\nmodel: model\n", &[]),
        ("model: [model\n", &[]),
        ("\tmodel: x\n", &[]),
        ("", &[]),
        ("model: model\noutput_dir: out\ndata: {path: data.jsonl}\ntrain: {lr: 1e-5}\n", &[]),
        ("- a\n- b\n", &[]),
        (GOOD, &["train.beta"]),
        (GOOD, &["train..beta=1"]),
        (GOOD, &["seed.x=1"]),
        (GOOD, &["rounds.x=1"]),
        (GOOD, &["train.beta=[1"]),
        (GOOD, &["train.beta=.nan"]),
        (GOOD, &["device=cuda:0"]),
        (GOOD, &["quantize=nf4"]),
        (GOOD, &["quantize=int8"]),
    ];
    let said: Vec<String> = cases.iter().map(|(yaml, set)| fails(yaml, set)).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_checker_is_a_name_or_an_expression() {
    let dir = place();
    let eval = |checker: &str| format!("{GOOD}eval: {{data: {{path: data.jsonl}}, checker: {checker}}}\n");
    let c = load(&dir, &eval("{regex: 'is (.)'}"), &[]).unwrap();
    assert_eq!(c.eval.as_ref().unwrap().checker, Checker::Regex("is (.)".into()));
    let again = load(&dir, &c.to_yaml().unwrap(), &[]).unwrap();
    assert_eq!(again.eval.unwrap().checker, Checker::Regex("is (.)".into()));
    assert_eq!(load(&dir, &eval("last-number"), &[]).unwrap().eval.unwrap().checker, Checker::LastNumber);
    assert!(
        fails(&eval("exat"), &[])
            .contains("eval.checker (line 4): expected exact or last-number or a map, found \"exat\"")
    );
    assert!(
        fails(&eval("{regexp: x}"), &[]).contains("eval.checker.regexp (line 4): unknown key; did you mean `regex`?")
    );
    assert!(
        fails(&eval("{regex: '['}"), &[])
            .contains("eval.checker.regex (line 4): `[` is not a regular expression: unclosed")
    );
}

#[test]
fn a_rule_and_its_samples_fit_or_are_one_fault_with_its_key() {
    let dir = place();
    let pairs = |text: &str| format!("{GOOD}{text}\n");
    let c = load(&dir, GOOD, &[]).unwrap();
    assert_eq!((c.pairs.rule.name(), c.generate.samples, c.samples()), ("golden-over-farthest", Some(4), 4));
    let c = load(&dir, &pairs("pairs: golden-over-own"), &[]).unwrap();
    assert_eq!((c.pairs.rule.name(), c.samples()), ("golden-over-own", 1));
    let c =
        load(&dir, &pairs("pairs: {rule: all, drop_cut: true, min_distance: 0.5}"), &["generate.samples=2"]).unwrap();
    assert!(c.pairs.drop_cut && !c.pairs.drop_equal && c.pairs.min_distance == 0.5 && c.samples() == 2);
    let again = load(&dir, &c.to_yaml().unwrap(), &[]).unwrap();
    assert_eq!((again.pairs, again.samples()), (c.pairs, 2));

    let rules =
        "golden-over-own or golden-over-farthest or nearest-over-farthest or medoid-over-outlier or all or a map";
    for (text, set, expected) in [
        (
            "pairs: golden-over-fartest",
            &[][..],
            &*format!(
                "pairs (line 4): expected {rules}, found \"golden-over-fartest\"; did you mean `golden-over-farthest`?"
            ),
        ),
        ("pairs: 3", &[], &format!("pairs (line 4): expected {rules}, found 3")),
        ("pairs: {rul: all}", &[], "pairs.rul (line 4): unknown key; did you mean `rule`?"),
        ("pairs: {rule: al}", &[], "pairs.rule (line 4): expected one of golden-over-own, "),
        ("pairs: {rule: al}", &[], "found \"al\"; did you mean `all`?"),
        ("pairs: {min_distance: -1}", &[], "pairs.min_distance (line 4): expected a number of at least 0, found -1"),
        (
            "pairs: golden-over-own",
            &["generate.samples=4"],
            "generate.samples (--set): 4, and the rule golden-over-own takes one of them",
        ),
        (
            "pairs: nearest-over-farthest",
            &["generate.samples=1"],
            "generate.samples (--set): 1, and the rule nearest-over-farthest compares more",
        ),
        (
            "pairs: medoid-over-outlier",
            &["generate.samples=1"],
            "generate.samples (--set): 1, and the rule medoid-over-outlier compares more",
        ),
        (
            "pairs: medoid-over-outlier",
            &["generate.samples=2"],
            "generate.samples (--set): 2, and the rule medoid-over-outlier compares more",
        ),
        (
            "pairs: medoid-over-outlier",
            &["permute_distances=true"],
            "permute_distances (--set): has no meaning for the rule medoid-over-outlier",
        ),
        ("generate: {samples: 0}", &[], "generate.samples (line 4): expected a whole number of at least 1"),
        ("generate: {samples: 257}", &[], "at most 256, found 257"),
        (
            "eval: {data: {path: data.jsonl}, generate: {samples: 2}}",
            &[],
            "eval.generate.samples (line 4): an evaluation samples one response a row",
        ),
        (
            "train: {loss_type: [sigmoid, sft], loss_weights: [1]}",
            &[],
            "train.loss_weights (line 4): has 1 numbers for 2 losses",
        ),
        (
            "train: {lr_scheduler_type: cosine_with_min_lr}",
            &[],
            "train.lr_scheduler_kwargs (line 4): cosine_with_min_lr needs one of min_lr",
        ),
    ] {
        let said = fails(&pairs(text), set);
        assert!(said.contains(expected), "{text}: {said}");
        assert_eq!(said.lines().count(), 2, "one fault, said once, with a hint: {said}");
    }
    load(&dir, &pairs("train: {loss_type: sft, sft_weight: 1}"), &[]).unwrap();
}
