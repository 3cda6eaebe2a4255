//! The program `foliocopy`.

mod command;
mod exit;
mod export;
mod header;
mod interrupt;
mod output_file;
mod percent_of_limit;
mod printer;
mod profile;
mod progress;
mod report;
mod selftest;
mod table;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::exit::Exit;

/// Copies memory in pages and folios, as fast as this CPU allows, and measures it
#[derive(Parser)]
#[command(name = "foliocopy", version, after_help = exit::HELP, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

/// The program's definition, for what is generated from it.
fn program() -> clap::Command {
    Cli::command()
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        // Whoever reads us has seen enough (`foliocopy info | head`).
        Err(error) if is_broken_pipe(&error) => Exit::Good.into(),
        Err(error) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            anstream::eprintln!("{style}error:{style:#} {error:#}");
            Exit::CannotRun.into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
