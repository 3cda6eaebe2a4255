//! `foliocopy kernel`: the kernel modules.

mod bench;
mod debugfs;
mod livepatch;
mod load;
mod module;
mod patch;
mod run_all;
mod selftest;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

/// Arguments of `foliocopy kernel`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The commands on the kernel modules.
#[derive(Subcommand)]
enum Command {
    /// Show whether the module is loaded, how it copies and what it has copied, or what is missing; exit code 3 where it is
    /// not loaded
    Status(status::Args),
    /// Load foliocopy.ko: it benchmarks and tests itself, and changes nothing about how the kernel copies
    Load(load::LoadArgs),
    /// Unload foliocopy.ko
    Unload,
    /// Find out which copy is fastest inside this kernel: its own, foliocopy's or a bare primitive
    Bench(Box<bench::Args>),
    /// Check inside this kernel that every copy is right and survives real faults
    Selftest,
    /// Measure in one run what a real machine can tell: status, self-test, bench and migration, in one file to send
    RunAll(run_all::Args),
    /// Replace the running kernel's folio_copy() and folio_mc_copy() by foliocopy's, and put them back
    Patch(patch::Args),
}

/// Why there is nothing to do with them on this architecture.
pub(crate) const NO_MODULE: &str = "the kernel modules are for x86-64 alone: there is none for aarch64";

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!cfg!(target_arch = "aarch64"), NO_MODULE);
    match args.command {
        Command::Status(args) => status::run(args),
        Command::Load(args) => load::load(args),
        Command::Unload => load::unload(),
        Command::Bench(args) => bench::run(*args),
        Command::Selftest => selftest::run(),
        Command::RunAll(args) => run_all::run(args),
        Command::Patch(args) => patch::run(args),
    }
}
