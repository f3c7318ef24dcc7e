//! Models and data sets named by a Hugging Face Hub id: `hub:owner/name@revision[:file]`.
//!
//! Nothing is downloaded unless a config says so, and never without a revision: the commit it stood for is recorded.

use crate::{Code, Error, Result};
use std::{path::PathBuf, str::FromStr};

const PREFIX: &str = "hub:";

/// Whether a text is as the Hub's names are, `owner/name`.
pub fn is_name(text: &str) -> bool {
    matches!(text.split('/').collect::<Vec<_>>()[..], [owner, name] if !owner.is_empty() && !name.is_empty())
        && !text.starts_with(['.', '~'])
}

/// Whether a path of a config names something on the Hub.
pub fn is_hub(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// A pinned repository on the Hub, and a file in it for data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`.
    pub repo: String,
    /// Commit, tag or branch.
    pub revision: String,
    /// The data file; None for a model.
    pub file: Option<String>,
}

impl FromStr for HubId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::new(Code::HubId, format!("`{text}`: {what}")).hint(
                "write hub:owner/name@revision for a model and hub:owner/name@revision:path/in/repo.jsonl for data",
            )
        };
        let id = text.strip_prefix(PREFIX).ok_or_else(|| wrong("expected hub: in front"))?;
        let (repo, rest) = id.split_once('@').ok_or_else(|| wrong("a revision is missing"))?;
        let (revision, file) = match rest.split_once(':') {
            Some((revision, file)) => (revision, Some(file)),
            None => (rest, None),
        };
        let name = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !repo.split_once('/').is_some_and(|(owner, model)| name(owner) && name(model)) {
            return Err(wrong("expected owner/name before the @"));
        }
        if revision.is_empty() || file == Some("") {
            return Err(wrong("the revision or the file is empty"));
        }
        // The file is joined to a cache directory.
        if file.is_some_and(|f| f.starts_with('/') || f.split('/').any(|part| part == "..")) {
            return Err(wrong("the file must lie inside the repository"));
        }
        Ok(Self { repo: repo.into(), revision: revision.into(), file: file.map(str::to_owned) })
    }
}

/// What a download gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The model's directory, or the data file.
    pub path: PathBuf,
    /// The commit that the revision stood for.
    pub commit: String,
}

/// Fails in a build that cannot download.
pub fn supported(id: &HubId) -> Result<()> {
    if cfg!(feature = "hub") {
        return Ok(());
    }
    Err(Error::new(Code::HubFeature, format!("{} is on the Hub, and this build cannot download", id.repo))
        .hint("build with --features hub, or download it yourself and give the local path"))
}

/// Downloads (or finds in the Hub's cache) what an id names.
#[cfg(not(feature = "hub"))]
pub fn fetch(id: &HubId) -> Result<Fetched> {
    supported(id)?;
    unreachable!("the feature is off")
}

/// Downloads (or finds in the Hub's cache) what an id names.
#[cfg(feature = "hub")]
pub fn fetch(id: &HubId) -> Result<Fetched> {
    use hf_hub::{Repo, RepoType, api::sync::Api};
    let failed = |what: &str, e: hf_hub::api::sync::ApiError| {
        Error::new(Code::HubDownload, format!("{}@{}: cannot download {what}", id.repo, id.revision))
            .hint("check the id, the revision and the network; private repositories need HF_TOKEN")
            .caused_by(e)
    };
    let kind = if id.file.is_some() { RepoType::Dataset } else { RepoType::Model };
    let repo = |revision: &str| Repo::with_revision(id.repo.clone(), kind, revision.to_owned());
    let api = Api::new().map_err(|e| failed("anything", e))?;
    let info = api.repo(repo(&id.revision)).info().map_err(|e| failed("the list of files", e))?;
    // From here on by commit, so that a branch which moves meanwhile cannot mix two versions.
    let pinned = api.repo(repo(&info.sha));
    let wanted = |name: &str| match &id.file {
        Some(file) => name == file,
        None => {
            !name.contains('/')
                && (name.ends_with(".json") || name.ends_with(".safetensors") || name.ends_with(".jinja"))
        }
    };
    let mut path = None;
    for name in info.siblings.iter().map(|s| s.rfilename.as_str()).filter(|n| wanted(n)) {
        path = Some(pinned.get(name).map_err(|e| failed(name, e))?);
    }
    let path = path.ok_or_else(|| {
        let what = id.file.as_deref().unwrap_or("a model in safetensors");
        Error::new(Code::HubMissing, format!("{}@{} has no {what}", id.repo, info.sha))
            .hint("look at the repository's list of files")
    })?;
    let path = if id.file.is_some() { path } else { path.parent().map_or(path.clone(), PathBuf::from) };
    Ok(Fetched { path, commit: info.sha })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_pinned_or_refused() {
        let id: HubId = "hub:org/some.model-1@refs/pr/2".parse().unwrap();
        assert_eq!((id.repo.as_str(), id.revision.as_str(), id.file), ("org/some.model-1", "refs/pr/2", None));
        let id: HubId = "hub:org/set@abc:data/train.jsonl".parse().unwrap();
        assert_eq!(id.file.as_deref(), Some("data/train.jsonl"));
        for bad in [
            "hub:org/name",
            "hub:name@main",
            "hub:a/b/c@main",
            "hub:org/name@",
            "hub:o/n@m:",
            "hub:o/n@m:../x",
            "hub:o/n@m:/x",
        ] {
            assert_eq!(bad.parse::<HubId>().unwrap_err().code(), Code::HubId, "{bad}");
        }
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_feature_it_refuses() {
        let e = fetch(&"hub:o/n@main".parse().unwrap()).unwrap_err();
        assert_eq!(e.code(), Code::HubFeature);
    }
}
