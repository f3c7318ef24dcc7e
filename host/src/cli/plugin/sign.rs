//! `plugin sign`: the signature beside a package.

use crate::cli::print;
use ldalign::{
    Code, Error, Result, files,
    share::{archive::Package, keys},
};
use std::path::PathBuf;

/// Arguments of `plugin sign`.
#[derive(clap::Args)]
pub struct Sign {
    /// The package (.ldp)
    package: PathBuf,
    /// File with the secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl Sign {
    /// Signs and says where.
    pub fn run(&self) -> Result<()> {
        let package = Package::open(&self.package)?;
        let (signature, key) = keys::sign(&package.id, &package.bytes, &self.key)?;
        let path = keys::signature_path(&self.package);
        if path.exists() && !keys::signature_of(&self.package)?.starts_with("untrusted comment:") {
            let what = format!("{} is there already, and is no signature", path.display());
            return Err(Error::new(Code::FileTaken, what).hint("move it away"));
        }
        files::write(&path, signature.as_bytes())?;
        print(&format!("{}\n{} signed by {key}", path.display(), package.id))
    }
}
