//! The subcommands, a file each: `Args` says what it takes, `run` does it.

pub(crate) mod info;
pub(crate) mod report;

use std::process::ExitCode;

use clap::Subcommand;

/// What the program can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show this CPU, its primitives, what the policy picks and why, and the NUMA topology
    Info(info::Args),
    /// Show results as one HTML page, as SVG charts or as a mail
    Report(report::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Info(args) => info::run(args),
            Command::Report(args) => report::run(args),
        }
    }
}
