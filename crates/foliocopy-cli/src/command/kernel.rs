//! `foliocopy kernel`: the kernel modules.

mod bench;
mod debugfs;
mod load;
mod module;
mod patch;
mod selftest;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

/// What `foliocopy kernel` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What there is to do with them.
#[derive(Subcommand)]
enum Command {
    /// Show the module, how it copies and what it has copied, or what is missing to have it
    Status,
    /// Load foliocopy.ko: it benchmarks and tests itself, and changes nothing about how the kernel copies
    Load(load::LoadArgs),
    /// Unload it
    Unload,
    /// Have the kernel copy real folios with its own functions, with ours and with each primitive, and show who is faster
    Bench(Box<bench::Args>),
    /// Have the module test every primitive, plain and machine-check safe, with real faults; exit code 1 where one is wrong
    Selftest,
    /// Make the running kernel's folio_copy() and folio_mc_copy() ours, by livepatch, or its own again
    Patch(patch::Args),
}

/// Why there is nothing to do with them on this architecture.
pub(crate) const NO_MODULE: &str = "the kernel modules are for x86-64 alone: there is none for aarch64";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!cfg!(target_arch = "aarch64"), NO_MODULE);
    match args.command {
        Command::Status => status::run(),
        Command::Load(args) => load::load(args),
        Command::Unload => load::unload(),
        Command::Bench(args) => bench::run(*args),
        Command::Selftest => selftest::run(),
        Command::Patch(args) => patch::run(args),
    }
}
