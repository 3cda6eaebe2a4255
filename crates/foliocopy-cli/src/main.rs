//! The program `foliocopy`.

mod budget;
mod command;
mod exit;
mod export;
mod header;
mod interrupt;
mod output_file;
mod percent;
mod percent_of_limit;
mod printer;
mod profile;
mod progress;
mod report;
mod selftest;
mod table;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::exit::Exit;

/// The program, its version and its build, as results name it: `foliocopy 0.1.0 (6d93225a0b1c, release)`.
pub(crate) const PROGRAM: &str =
    concat!("foliocopy ", env!("CARGO_PKG_VERSION"), " (", env!("FOLIOCOPY_BUILD"), ")");

/// Copies memory in pages and folios, as fast as this CPU allows, and measures it
#[derive(Parser)]
#[command(name = "foliocopy", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

/// The program's definition, for what is generated from it.
fn program() -> clap::Command {
    Cli::command()
}

/// What holds for every command where it is parsed.
fn throughout(command: clap::Command) -> clap::Command {
    let help = match command.get_after_help() {
        Some(own) => format!("{own}\n\n{}", exit::help()),
        None => exit::help(),
    };
    // A negative number, size or duration is refused as a value, by what its option takes, and not as an option that
    // nobody knows.
    let number = |arg: clap::Arg| match arg.get_value_names() {
        Some([name]) if ["SIZE", "DURATION"].contains(&name.as_str()) => arg.allow_hyphen_values(true),
        _ if arg.get_action().takes_values() => arg.allow_negative_numbers(true),
        _ => arg,
    };
    command.after_help(help).mut_args(number).mut_subcommands(throughout)
}

fn main() -> ExitCode {
    let matches = throughout(program()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command.run() {
        Ok(code) => code,
        // Whoever reads us has seen enough (`foliocopy info | head`).
        Err(error) if is_broken_pipe(&error) => Exit::Good.into(),
        Err(error) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            printer::note(format_args!("{style}error:{style:#} {error:#}"));
            Exit::CannotRun.into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
