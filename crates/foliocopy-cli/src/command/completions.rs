//! `foliocopy completions`: scripts by which shells complete the words of foliocopy.

use std::process::ExitCode;

use anyhow::Result;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::printer;

/// Arguments of `foliocopy completions`.
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
    printer::print(script)?;
    Ok(Exit::Good.into())
}
