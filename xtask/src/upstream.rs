//! `cargo xtask upstream`: tests the patch series under kmod/upstream on the Linux source for which it is made.
//!
//! The series must apply without fuzz and pass checkpatch. Each step must compile for x86-64, and the last one for three
//! architectures. Where pages are copied one by one, the machine code must stay the same. The new assembly must copy and stop
//! at faults correctly, in a process of this machine. `boot` builds kernels with the series and boots them.

mod architecture;
mod boot;
mod disassembly;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::need::{self, Need};
use crate::source::{PACKAGE, Source};
use architecture::{ARCHITECTURES, Architecture, NEEDS_OF_ARCHITECTURES};

/// The folder of the series.
const SERIES: &str = "kmod/upstream";

/// The needs of compiling the kernel.
const NEEDS: &[Need] = &[
    need::APT,
    need::MAKE,
    Need::Program(&["flex"], "flex"),
    Need::Program(&["bison"], "bison"),
    Need::Program(&["bc"], "bc"),
    Need::Program(&["patch"], "patch"),
    Need::Header("libelf.h", "libelf-dev"),
    Need::Header("openssl/opensslv.h", "libssl-dev"),
];

/// The arguments of `cargo xtask upstream`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Build that Linux with the series, twice, and boot it under QEMU: an hour of two cores, 6 GB
    Boot(boot::Args),
}

pub(crate) fn run(shell: &Shell, args: Args) -> Result<()> {
    let more = if args.command.is_some() { boot::NEEDS } else { NEEDS_OF_ARCHITECTURES };
    need::demand(shell, &[NEEDS, more].concat())?;
    let patches = patches(shell)?;

    let source = Source::fetch(shell)?;
    eprintln!("{PACKAGE} {}", source.version);
    match args.command {
        Some(Command::Boot(args)) => boot::run(shell, &source.with_series(shell, &patches)?, &args),
        None => compile(shell, &source, &patches),
    }
}

/// Applies the series, and compiles the files that it touches.
fn compile(shell: &Shell, source: &Source, patches: &[PathBuf]) -> Result<()> {
    eprintln!("compiling the unpatched source, for {}", names());
    let before = compile_all(shell, source)?;

    let [x86_64, ..] = ARCHITECTURES;
    let patched = source.patch()?;
    for patch in patches {
        eprintln!("{}", patch.file_name().unwrap_or_default().display());
        patched.apply(shell, patch)?;
        patched.checkpatch(shell, patch)?;
        x86_64.compile(shell, patched.source()).context("this step does not compile for x86-64")?;
    }

    eprintln!("compiling the whole series, for {}", names());
    let after = compile_all(shell, patched.source())?;
    for ((architecture, before), after) in ARCHITECTURES.iter().zip(&before).zip(&after) {
        architecture.compare(before, after).with_context(|| architecture.name)?;
    }
    eprintln!("running the new assembly");
    run_loops(shell, patched.source())?;
    patched.restore(shell)?;
    eprintln!("the series holds on {PACKAGE} {}", source.version);
    Ok(())
}

/// The series, in order.
fn patches(shell: &Shell) -> Result<Vec<PathBuf>> {
    let mut patches = shell.read_dir(SERIES)?;
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    ensure!(!patches.is_empty(), "no patch in {SERIES}");
    patches.iter().map(|patch| Ok(fs::canonicalize(shell.current_dir().join(patch))?)).collect()
}

fn names() -> String {
    ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ")
}

/// The disassembly of the files that the series touches, one item for each architecture.
fn compile_all(shell: &Shell, source: &Source) -> Result<Vec<disassembly::Objects>> {
    let compile = |architecture: &Architecture| {
        architecture.compile(shell, source)?;
        architecture.disassemble(shell, source)
    };
    ARCHITECTURES
        .iter()
        .map(|architecture| compile(architecture).with_context(|| format!("on {}", architecture.name)))
        .collect()
}

/// Links the kernel's own objects into a program of this machine, and runs them over memory that faults.
fn run_loops(shell: &Shell, source: &Source) -> Result<()> {
    let [x86_64, ..] = ARCHITECTURES;
    let output = source.output(x86_64.arch);
    let objects = ["copy_page_64.o", "copy_mc_64.o"].map(|name| output.join("arch/x86/lib").join(name));
    let program = output.join("loops");
    let test = shell.current_dir().join(SERIES).join("loops.c");
    cmd!(shell, "gcc -O2 -g -Wall -Wextra -Werror -no-pie -z noexecstack -o {program} {test} {objects...}")
        .quiet()
        .run()
        .context("the kernel's objects do not link into a program")?;
    cmd!(shell, "{program}").quiet().run().context("the new assembly does not do what it should")
}
