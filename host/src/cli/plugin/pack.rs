//! `plugin pack`: a library as a package file.

use crate::cli::{print, print_json};
use ldalign::{Code, Error, Result, files, share::archive::Package};
use std::path::PathBuf;

/// Arguments of `plugin pack`.
#[derive(clap::Args)]
pub struct Pack {
    /// The plugin library (.so)
    library: PathBuf,
    /// A text for those who consider using it
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// The text of its license
    #[arg(long, value_name = "FILE")]
    license: Option<PathBuf>,
    /// Directory for the package
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Pack {
    /// Packs and says where.
    pub fn run(&self) -> Result<()> {
        let texts = [("README.md", &self.readme), ("LICENSE", &self.license)];
        let texts: Vec<_> = texts.iter().filter_map(|(name, path)| Some((*name, path.as_deref()?))).collect();
        let package = Package::pack(&self.library, &texts)?;
        let path = self.out.join(package.id.file_name());
        if path.exists() && !Package::open(&path).is_ok_and(|there| there.id == package.id) {
            let what = format!("{} is there already, and is no package of {}", path.display(), package.id);
            return Err(Error::new(Code::FileTaken, what).hint("choose another directory with --out"));
        }
        files::make_dir(&self.out)?;
        files::write(&path, &package.bytes)?;
        if self.json {
            return print_json(&serde_json::json!({
                "package": path,
                "sha256": package.sha256,
                "manifest": package.manifest,
            }));
        }
        print(&format!("{}\n{} bytes, sha256 {}", path.display(), package.bytes.len(), package.sha256))
    }
}
