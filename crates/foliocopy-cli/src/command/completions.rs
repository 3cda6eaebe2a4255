//! `foliocopy completions`: what a shell needs to complete our commands.

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap_complete::Shell;

use crate::exit::Exit;

/// What `foliocopy completions` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell; its completions go to standard output
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let mut program = crate::program();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "foliocopy", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)?;
    Ok(Exit::Good.into())
}
