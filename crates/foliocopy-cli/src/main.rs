//! The program `foliocopy`.

mod budget;
mod command;
mod conclusion;
mod exit;
mod export;
mod header;
mod help;
mod interrupt;
mod latency;
mod load;
mod mask;
mod matrix;
mod output_file;
mod percent;
mod percent_of_limit;
mod printer;
mod probes;
mod profile;
mod progress;
mod report;
mod row_source;
mod selftest;
mod shares;
mod table;
mod wrap;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use foliocopy_measure::text::harmless;

use crate::exit::Exit;

/// The program, its version and its build, as results name it: `foliocopy 0.1.0 (6d93225a0b1c, release)`.
pub(crate) const PROGRAM: &str =
    concat!("foliocopy ", env!("CARGO_PKG_VERSION"), " (", env!("FOLIOCOPY_BUILD"), ")");

/// Find the fastest way to copy memory pages on this machine, and have programs and the kernel copy that way
#[derive(Parser)]
#[command(name = "foliocopy", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

/// The program's definition, for `man` and `completions`.
fn program() -> clap::Command {
    Cli::command()
}

/// What holds for every command where it is parsed. `path` is what is typed before its subcommands, such as `kernel patch`.
fn throughout(command: clap::Command, path: &str) -> clap::Command {
    let below = match command.get_after_help() {
        Some(own) => format!("{own}\n\n{}", help::below(path)),
        None => help::below(path),
    };
    // A negative number, size or duration is refused as a value of its option, and not as an unknown option.
    let number = |arg: clap::Arg| match arg.get_value_names() {
        Some([name]) if ["SIZE", "DURATION"].contains(&name.as_str()) => arg.allow_hyphen_values(true),
        _ if arg.get_action().takes_values() => arg.allow_negative_numbers(true),
        _ => arg,
    };
    command.after_help(below).mut_args(number).mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        throughout(sub, path.trim_start())
    })
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&throughout(program(), "").try_get_matches_from(arguments)?)
}

/// clap's message about the arguments. Arguments that steer terminals or forge lines are shown harmless.
fn refuse(error: clap::Error) -> ! {
    let shown = env::args_os().map(|argument| harmless(&argument.to_string_lossy()).into_owned().into());
    parse(shown).err().unwrap_or(error).exit()
}

fn main() -> ExitCode {
    let cli = parse(env::args_os()).unwrap_or_else(|error| refuse(error));
    match interrupt::survive_limits().map_err(Into::into).and_then(|()| cli.command.run()) {
        Ok(code) => code,
        Err(error) => {
            let style = anstyle::AnsiColor::Red.on_default().bold();
            printer::note(format_args!("{style}error:{style:#} {}", harmless(&format!("{error:#}"))));
            Exit::CannotRun.into()
        }
    }
}
