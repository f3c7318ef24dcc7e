//! What a validation says of a run that is to come: whether its rule may choose by its distance.

use super::{Line, Verdict, name};
use crate::{
    Result,
    config::RunConfig,
    files,
    pairs::Asked,
    plugin::PluginRecord,
    rundir::{JsonFile, Layout, Made, Record},
};
use serde::Deserialize;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// The record of what a validation in the directory `output` found.
pub(super) fn record(output: &Path) -> Record {
    Record::new(output, "validate")
}

/// The part of validate.json that others read.
#[derive(Debug, Deserialize)]
pub struct Found {
    /// Prompts measured on.
    pub prompts: usize,
    /// Responses measured on.
    pub responses: usize,
    /// Every encoder with every distance, then the baselines.
    pub lines: Vec<Line>,
    /// The encoders, and what their options named.
    #[serde(default)]
    encoders: Vec<PluginRecord>,
    /// The distances.
    #[serde(default)]
    distances: Vec<PluginRecord>,
}

impl Found {
    /// Where a validation lies in a run directory.
    pub fn file(layout: &Layout) -> JsonFile<Self> {
        JsonFile::new(layout.validation().join("validate.json"))
    }
}

/// How a run stands whose rule chooses among samples by distance.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// No validation lies in its directory.
    NotValidated,
    /// One does, but this is not what was written.
    Damaged(PathBuf),
    /// One does, but of other encoders and distances than this.
    Other(String),
    /// Its encoder and distance were looked at, but nobody has judged.
    Unjudged(String),
    /// Its encoder and distance were validated.
    Validated(String, Box<Line>),
}

impl Standing {
    /// Whether there is a validation and it does not forbid the rule.
    pub fn permits(&self) -> bool {
        matches!(self, Self::Validated(_, line) if Verdict::of(&line.measures.accuracy) != Verdict::DoNot)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DO: &str = "a distance that does not follow quality harms: `ldalign validate` on judged rows tells";
        match self {
            Self::NotValidated => write!(f, "not validated; {DO}"),
            Self::Damaged(path) => {
                write!(f, "{} is not what `ldalign validate` wrote, and says nothing; {DO}", path.display())
            }
            Self::Other(pair) => write!(f, "the validation beside the run did not try {pair}; {DO}"),
            Self::Unjudged(pair) => {
                write!(f, "the validation beside the run has no judgements to hold {pair} against; {DO}")
            }
            Self::Validated(pair, line) => {
                let show = |figure| super::table::show(figure).join(" ");
                write!(f, "{pair}: pairwise accuracy {}", show(&line.measures.accuracy))?;
                if line.measures.accuracy_apart.value.is_some() {
                    write!(f, ", golden apart {}", show(&line.measures.accuracy_apart))?;
                }
                write!(f, ": {}", Verdict::of(&line.measures.accuracy))
            }
        }
    }
}

/// Whether a config's rule chooses among samples by distance, where its data brings no rejected responses.
pub fn chooses(config: &RunConfig) -> bool {
    config.samples() > 1 && config.pairs.rule.asks() != Asked::Nothing
}

/// How the run of a config stands; None where its rule chooses nothing by distance. `plugins` are its encoder and its
/// distance, `has_rejected` says whether the data brings its rejected responses.
///
/// # Errors
/// Where the disk fails.
pub fn standing(config: &RunConfig, plugins: [&PluginRecord; 2], has_rejected: bool) -> Result<Option<Standing>> {
    if has_rejected || !chooses(config) {
        return Ok(None);
    }
    let file = Found::file(&Layout::new(&config.output_dir));
    match record(files::parent(file.path())).made()? {
        Made::No => return Ok(Some(Standing::NotValidated)),
        Made::Whole => {}
        Made::Damaged(path) => return Ok(Some(Standing::Damaged(path))),
    }
    let Ok(found) = file.read() else { return Ok(Some(Standing::Damaged(file.into_path()))) };
    // A script, or a model's directory, of which only the name is the same.
    let is_other = |plugin: &PluginRecord, of: &PluginRecord| {
        let contents =
            |record: &PluginRecord| record.files.values().map(|file| file.sha256.clone()).collect::<Vec<_>>();
        name(plugin) == name(of) && contents(plugin) != contents(of)
    };
    let changed = found.encoders.iter().any(|of| is_other(plugins[0], of))
        || found.distances.iter().any(|of| is_other(plugins[1], of));
    let [encoder, distance] = plugins.map(name);
    let pair = format!("{encoder} with {distance}");
    if changed {
        return Ok(Some(Standing::Other(format!("{pair} as they are now"))));
    }
    let is_it = |line: &Line| line.encoder.as_ref() == Some(&encoder) && line.distance == distance;
    Ok(Some(match found.lines.into_iter().find(is_it) {
        Some(line) if line.measures.accuracy.value.is_none() => Standing::Unjudged(pair),
        Some(line) => Standing::Validated(pair, line.into()),
        None => Standing::Other(pair),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn a_validation_of_another_script_of_the_same_name_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({"model": "m", "output_dir": dir.path(), "data": {"path": "d"}, "encoder": "e", "distance": "d",
            "schedule": "uniform", "pairs": "nearest-over-farthest", "generate": {"samples": 4}});
        let config: RunConfig = serde_json::from_value(config).unwrap();
        let of = |sha256: &str| {
            let mut record = serde_json::to_value(record("d")).unwrap();
            record["files"] = json!({"script": {"path": "/my.py", "sha256": sha256}});
            serde_json::from_value::<PluginRecord>(record).unwrap()
        };
        let figure = json!({"value": 0.7, "interval": [0.65, 0.75]});
        let line = json!({"encoder": "e layer=1", "distance": "d layer=1", "accuracy": figure, "auc": figure,
            "label_correlation": figure, "length_correlation": figure});
        let found =
            json!({"prompts": 8, "responses": 16, "lines": [line], "encoders": [record("e")], "distances": [of("1")]});
        let output = dir.path().join("validate");
        fs::create_dir_all(&output).unwrap();
        fs::write(output.join("validate.json"), found.to_string()).unwrap();
        super::record(&output).write(&[output.join("validate.json")]).unwrap();
        let standing = |distance: &PluginRecord| standing(&config, [&record("e"), distance], false).unwrap().unwrap();
        assert!(standing(&of("1")).permits());
        assert_eq!(standing(&of("2")), Standing::Other("e layer=1 with d layer=1 as they are now".into()));
    }

    fn record(id: &str) -> PluginRecord {
        serde_json::from_value(json!({"kind": "encoder", "id": id, "name": id, "version": "1", "sha256": "00", "origin": {"state": "local"}, "options": {"layer": 1}})).unwrap()
    }

    #[test]
    fn a_rule_stands_as_its_validation_says() {
        let dir = tempfile::tempdir().unwrap();
        let config = |rule: &str, samples: usize| -> RunConfig {
            let text = json!({"model": "m", "output_dir": dir.path(), "data": {"path": "d"}, "encoder": "e", "distance": "d",
                "schedule": "uniform", "pairs": rule, "generate": {"samples": samples}});
            serde_json::from_value(text).unwrap()
        };
        let (encoder, distance) = (record("e"), record("d"));
        let of = |config: &RunConfig| standing(config, [&encoder, &distance], false).unwrap();
        let nearest = config("nearest-over-farthest", 4);
        for other in [config("golden-over-own", 1), config("all", 4), config("nearest-over-farthest", 1)] {
            assert_eq!(of(&other), None);
        }
        assert_eq!(standing(&nearest, [&encoder, &distance], true).unwrap(), None);
        let standing = of(&nearest).unwrap();
        assert!(standing == Standing::NotValidated && !standing.permits());
        let validated = |distance: &str, accuracy: f64| {
            let figure = |v: f64| json!({"value": v, "interval": [v - 0.05, v + 0.05]});
            let line = json!({"encoder": "e layer=1", "distance": distance, "accuracy": figure(accuracy), "auc": figure(0.7),
                "label_correlation": figure(-0.3), "length_correlation": figure(0.1)});
            fs::create_dir_all(dir.path().join("validate")).unwrap();
            let found = json!({"prompts": 8, "responses": 16, "lines": [line]});
            let (output, file) = (dir.path().join("validate"), dir.path().join("validate/validate.json"));
            fs::write(&file, found.to_string()).unwrap();
            super::record(&output).write(&[file]).unwrap();
            let standing = of(&nearest).unwrap();
            (standing.permits(), standing.to_string())
        };
        assert_eq!(
            validated("d layer=1", 0.71),
            (true, "e layer=1 with d layer=1: pairwise accuracy 0.710 [0.660, 0.760]: may be used".into())
        );
        assert!(validated("d layer=1", 0.6).0);
        let (permits, said) = validated("d layer=1", 0.4);
        assert!(!permits && said.ends_with("do not choose by it"), "{said}");
        let (permits, said) = validated("d", 0.71);
        assert!(
            !permits && said.starts_with("the validation beside the run did not try e layer=1 with d layer=1"),
            "{said}"
        );
        let file = dir.path().join("validate/validate.json");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace("0.71", "0.81")).unwrap();
        // What was changed is no more than none.
        let standing = of(&nearest).unwrap();
        assert!(standing == Standing::Damaged(file.clone()) && !standing.permits());
        assert!(standing.to_string().contains("validate.json is not what `ldalign validate` wrote"), "{standing}");
        let record = super::record(files::parent(&file));
        fs::write(record.path(), "{}").unwrap();
        assert_eq!(of(&nearest), Some(Standing::Damaged(record.path().to_owned())));
    }
}
