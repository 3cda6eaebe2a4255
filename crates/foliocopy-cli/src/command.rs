//! The subcommands, a file each: `Args` says what it takes, `run` does it.

pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod info;
pub(crate) mod kernel;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod roofline;
pub(crate) mod selftest;
pub(crate) mod survey;
pub(crate) mod tune;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;

/// What the program can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Copy real memory with every contender, cache-cold and cache-hot, and show who is faster
    Bench(Box<bench::Args>),
    /// Time move_pages(2) between NUMA nodes for folios of several sizes, or stress it
    Migrate(migrate::Args),
    /// Check every primitive of this CPU, and that copies stop at bad memory; exit code 1 where one is wrong
    Selftest(selftest::Args),
    /// Show this CPU, its primitives, what the policy picks and why, and the NUMA topology
    Info(info::Args),
    /// The kernel modules: have the running kernel copy by foliocopy
    Kernel(kernel::Args),
    /// Compare results with older ones, cell by cell; exit code 1 where something became slower
    Compare(compare::Args),
    /// Show results as one HTML page, as SVG charts or as a mail
    Report(report::Args),
    /// Measure a published table again and show both figures
    Reproduce(reproduce::Args),
    /// Measure the limits of this machine's memory and where each primitive stands against them
    Roofline(roofline::Args),
    /// Measure every way to copy on this CPU, for those who keep its table
    Survey(survey::Args),
    /// Find the table by which copies are fastest on this CPU, and write it as a profile
    Tune(tune::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
    /// Write the manual pages
    Man(man::Args),
}

/// This program, to be started once more. It is found though its file has been replaced or removed since.
pub(crate) fn this_program() -> Result<PathBuf> {
    const THIS: &str = "/proc/self/exe";
    // In the process that is about to become the program, this still names what it is forked from.
    fs::symlink_metadata(THIS).context("can't find this program itself: is /proc mounted?")?;
    Ok(THIS.into())
}

impl Command {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Command::Bench(args) => bench::run(*args),
            Command::Migrate(args) => migrate::run(args),
            Command::Selftest(args) => selftest::run(args),
            Command::Info(args) => info::run(args),
            Command::Kernel(args) => kernel::run(args),
            Command::Compare(args) => compare::run(args),
            Command::Report(args) => report::run(args),
            Command::Reproduce(args) => reproduce::run(args),
            Command::Roofline(args) => roofline::run(args),
            Command::Survey(args) => survey::run(args),
            Command::Tune(args) => tune::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Man(args) => man::run(args),
        }
    }
}
