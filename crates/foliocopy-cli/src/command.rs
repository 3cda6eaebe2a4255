//! The subcommands, a file each: `Args` says what it takes, `run` does it.

pub(crate) mod info;

use std::process::ExitCode;

use clap::Subcommand;

/// What the program can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show this CPU, its primitives, what the policy picks and why, and the NUMA topology
    Info(info::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Info(args) => info::run(args),
        }
    }
}
