//! `plugin new`: a crate or a script to begin with, from templates that are part of the program.

mod python;

use crate::cli::print;
use ldalign::{Code, Error, Result, files, library::Kind};
use std::path::{Path, PathBuf};

/// Arguments of `plugin new`.
#[derive(clap::Args)]
pub struct New {
    /// Name of the crate or script, and id of the plugin: a-z, 0-9 and single `-`, beginning with a letter
    name: String,
    /// What it is to be
    #[arg(long, value_enum)]
    kind: Kind,
    /// Makes a script in Python, which the bundled plugin `python` runs, in place of a crate
    #[arg(long, conflicts_with = "sdk")]
    python: bool,
    /// Directory to make [default: NAME]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Directory of the SDK's source [default: that of the source this program was built from, if it is there]
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
    /// License of the plugin
    #[arg(long, value_enum, default_value_t = License::Mit)]
    license: License,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum License {
    Mit,
    #[value(name = "apache-2.0")]
    Apache,
    #[value(name = "mit-or-apache-2.0")]
    MitOrApache,
}

impl License {
    /// As Cargo.toml names it, and the files it takes.
    fn parts(self, name: &str) -> (&'static str, Vec<(&'static str, String)>) {
        let mit = include_str!("../../../../LICENSE-MIT")
            .replace("2026 The LD-Align authors", &format!("The {name} authors"));
        let apache = include_str!("../../../../LICENSE-APACHE").to_owned();
        match self {
            Self::Mit => ("MIT", vec![("LICENSE", mit)]),
            Self::Apache => ("Apache-2.0", vec![("LICENSE", apache)]),
            Self::MitOrApache => ("MIT OR Apache-2.0", vec![("LICENSE-MIT", mit), ("LICENSE-APACHE", apache)]),
        }
    }
}

/// The SDK's source tree, in canonical form.
struct Sdk(PathBuf);

impl Sdk {
    /// The one given, else that of the tree this program was built from: the SDK is on no registry.
    fn choose(given: Option<&Path>) -> Result<Self> {
        let built_from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk"));
        let path = given.or(Some(built_from).filter(|p| p.join("Cargo.toml").is_file())).ok_or_else(|| {
            Error::new(Code::PluginNew, "the source tree that this program was built from is gone")
                .hint("--sdk DIR names the directory `sdk` of LD-Align's repository")
        })?;
        let manifest = files::read_text(&path.join("Cargo.toml"))?;
        if !manifest.lines().any(|l| l == "name = \"ldalign-sdk\"") {
            return Err(Error::new(Code::PluginNew, format!("{} is not the SDK's source", path.display()))
                .hint("give the directory `sdk` of LD-Align's repository"));
        }
        Ok(Self(path.canonicalize().map_err(|e| files::io_error(path, "open", e))?))
    }
    /// The dependency on the crate in `folder` of the SDK, as a value of TOML.
    fn dependency(&self, folder: &str) -> String {
        // JSON's strings are TOML's.
        let path = serde_json::Value::from(self.0.join(folder).to_string_lossy().trim_end_matches('/'));
        format!("{{ path = {path} }}")
    }
}

impl New {
    /// Writes the crate and says what to do next.
    pub fn run(&self) -> Result<()> {
        let Self { name, kind, license, .. } = self;
        check_name(name)?;
        let dir = self.dir.clone().unwrap_or_else(|| name.into());
        if dir.symlink_metadata().is_ok() {
            return Err(Error::new(Code::PluginNew, format!("{} is there already", dir.display()))
                .hint("choose another name, or another directory with --dir"));
        }
        if self.python {
            return self.script(&dir);
        }
        let sdk = Sdk::choose(self.sdk.as_deref())?;
        let lib = name.replace('-', "_");
        let (spdx, licenses) = license.parts(name);
        let source = match kind {
            Kind::Encoder => include_str!("new/encoder.rs"),
            Kind::Distance => include_str!("new/distance.rs"),
            Kind::Schedule => include_str!("new/schedule.rs"),
        };
        let dev_dependencies =
            format!("\n[dev-dependencies]\nldalign-conformance = {}\n", sdk.dependency("conformance"));
        let sdk = sdk.dependency("");
        let values = [
            ("__NAME__", name.as_str()),
            ("__LIB__", &lib),
            ("__KIND__", kind.name()),
            ("__LICENSE__", spdx),
            ("__SDK__", &sdk),
            ("__DEV_DEPENDENCIES__", &dev_dependencies),
            ("__CONFORMS__", "\n#[cfg(test)]\nldalign_conformance::conforms!();\n"),
        ];
        files::write_dir(&dir, |dir| {
            let write = |file: &str, text: &str| files::write(&dir.join(file), fill(text, &values).as_bytes());
            files::make_dir(&dir.join("src"))?;
            write("Cargo.toml", include_str!("new/Cargo.toml.txt"))?;
            write("README.md", include_str!("new/README.md.txt"))?;
            write(".gitignore", "/target\n")?;
            write("src/lib.rs", source)?;
            licenses.iter().try_for_each(|(file, text)| write(file, text))
        })?;
        let dir = dir.display();
        print(&format!(
            "{dir}: a {kind} plugin that works; make it yours in {dir}/src/lib.rs. Then\n\n    cd {dir}\n    cargo test\n    cargo build --release\n    \
             ldalign plugin check target/release/lib{lib}.so\n\nand in a run's config\n\n    {kind}: {dir}/target/release/lib{lib}.so"
        ))
    }

    /// The same for a script.
    fn script(&self, dir: &Path) -> Result<()> {
        let Self { name, kind, license, .. } = self;
        let module = python::module(name, *kind);
        let test = format!("test_{module}");
        let values =
            [("__NAME__", name.as_str()), ("__KIND__", kind.name()), ("__MODULE__", &module), ("__TEST__", &test)];
        files::write_dir(dir, |dir| {
            let write = |file: &str, text: &str| files::write(&dir.join(file), fill(text, &values).as_bytes());
            python::files(name, *kind).iter().try_for_each(|(file, text)| write(file, text))?;
            license.parts(name).1.iter().try_for_each(|(file, text)| write(file, text))
        })?;
        let dir = dir.display();
        print(&format!(
            "{dir}: a {kind} in Python that works; make it yours in {dir}/{module}.py. Then\n\n    cd {dir}\n    python3 {test}.py\n    \
             ldalign plugin check {module}.py\n\nand in a run's config\n\n    {kind}: {{ plugin: python, options: {{ script: {dir}/{module}.py }} }}"
        ))
    }
}

/// A template with its gaps filled.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value))
}

/// Names that a crate cannot bear: Rust's keywords, crates that a plugin depends on or that come with the compiler, and
/// directories of `target`.
const TAKEN: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else enum examples extern false \
    final fn for gen if impl in incremental ldalign-abi ldalign-conformance ldalign-sdk let loop macro match mod move mut override priv \
    proc-macro pub ref return schemars self serde static std struct super test trait true try type typeof unsafe unsized use virtual where while \
    yield";

fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::new(Code::PluginNew, format!("`{name}` is no name for a plugin: {why}"))
            .hint("a name is made of a-z, 0-9 and single `-`, begins with a letter, and has at most 64 characters"))
    };
    if TAKEN.split_whitespace().any(|taken| taken == name) {
        return refuse("the name is taken by Rust or by what a plugin is built with");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return refuse("it must begin with a letter from a to z");
    }
    if let Some(c) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return refuse(&format!("it holds {c:?}"));
    }
    if name.ends_with('-') || name.contains("--") {
        return refuse("a `-` must stand between two letters or digits");
    }
    if name.len() > 64 {
        return refuse("it is too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ids_and_crates() {
        for good in ["a", "chord", "chord-length2", "l1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "must begin with a letter"),
            ("2d", "must begin with a letter"),
            ("-a", "must begin with a letter"),
            ("Chord", "must begin with a letter"),
            ("../up", "must begin with a letter"),
            ("a_b", "holds '_'"),
            ("a/b", "holds '/'"),
            ("chörd", "holds 'ö'"),
            ("a-", "must stand between"),
            ("a--b", "must stand between"),
            ("match", "taken by Rust"),
            ("serde", "taken by Rust"),
            (&"a".repeat(65), "too long"),
        ] {
            let e = check_name(bad).expect_err(bad);
            assert!(e.message().contains(why), "{e}");
        }
    }
}
