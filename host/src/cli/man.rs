//! `man`: the manual, a page for the program and one for each command, made of what `--help` says.

use super::Cli;
use clap::CommandFactory;
use clap_mangen::Man as Page;
use ldalign::{Result, files};
use std::path::PathBuf;

/// Arguments of `man`.
#[derive(clap::Args)]
pub struct Man {
    /// Where the pages are written, such as /usr/local/share/man/man1
    dir: PathBuf,
}

impl Man {
    /// Writes `ldalign.1`, `ldalign-run.1` and so on.
    pub fn run(&self) -> Result<()> {
        files::make_dir(&self.dir)?;
        let mut program = Cli::command();
        // Commands learn what they are called in whole.
        program.build();
        self.write(program)
    }

    fn write(&self, command: clap::Command) -> Result<()> {
        for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
            self.write(part.clone())?;
        }
        let page = Page::new(command);
        files::write_with(&self.dir.join(page.get_filename()), |out| page.render(&mut *out))
    }
}
