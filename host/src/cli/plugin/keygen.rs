//! `plugin keygen`: a key pair for signing.

use crate::cli::print;
use ldalign::{Result, share::keys};
use std::path::PathBuf;

/// Arguments of `plugin keygen`.
#[derive(clap::Args)]
pub struct Keygen {
    /// File for the secret key; the public key goes to FILE.pub
    file: PathBuf,
    /// No password: whoever can read the file can sign
    #[arg(long)]
    no_password: bool,
}

impl Keygen {
    /// Makes the pair and prints the public key.
    pub fn run(&self) -> Result<()> {
        let (key, public) = keys::generate(&self.file, !self.no_password)?;
        let (secret, text) = (self.file.display(), String::from(key.clone()));
        print(&format!("{key}\nsecret  {secret}\npublic  {}\n{text}", public.display()))
    }
}
