//! `cargo xtask dist`: makes the tarball and the Debian packages, and tests that they install and run.

mod clean_root;
mod debian;
mod emulated;
mod machine;
mod man3;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::need::{self, Need};
use machine::Machine;
use tree::Tree;

/// The needs of making the packages.
pub(crate) const NEEDS: &[Need] = &[need::DPKG_DEV, need::MAKE];

/// The needs of testing them.
pub(crate) const NEEDS_OF_TEST: &[Need] =
    &[need::DPKG_DEV, need::PKG_CONFIG, need::MAKE, need::APT, Need::Root, need::DEBOOTSTRAP];

/// The needs of making and testing packages for aarch64 on another machine.
pub(crate) const NEEDS_OF_AARCH64: &[Need] = &[
    need::DPKG_DEV,
    need::PKG_CONFIG,
    need::GCC_AARCH64,
    need::QEMU_USER_AARCH64,
    Need::Target(machine::TRIPLE),
];

/// The arguments of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also install the package into a clean Debian root and run it there (as root, with debootstrap)
    #[arg(long)]
    test: bool,
    /// Build for aarch64; --test unpacks the package then, and runs it under QEMU
    #[arg(long)]
    aarch64: bool,
}

/// The files of a release.
pub(crate) struct Dist {
    tarball: PathBuf,
    package: PathBuf,
    /// The kernel modules' package, which exists only for x86-64.
    dkms: Option<PathBuf>,
}

pub(crate) fn run(shell: &Shell, args: Args) -> Result<()> {
    let (machine, needs) = match (args.aarch64, args.test) {
        (true, _) => (Machine::Aarch64, NEEDS_OF_AARCH64),
        (false, true) => (Machine::This, NEEDS_OF_TEST),
        (false, false) => (Machine::This, NEEDS),
    };
    need::demand(shell, needs)?;
    let dist = make_for(shell, machine)?;
    match machine {
        _ if !args.test => {}
        Machine::Aarch64 => emulated::test(shell, &dist)?,
        Machine::This => {
            clean_root::test(shell, &dist)?;
            clean_root::test_dkms(shell)?;
        }
    }
    for file in [dist.tarball, dist.package].into_iter().chain(dist.dkms) {
        println!("{}", file.display());
    }
    Ok(())
}

/// Makes the packages and tests them.
pub(crate) fn test(shell: &Shell) -> Result<()> {
    let _alone = alone();
    clean_root::test(shell, &make_for(shell, Machine::This)?)
}

/// Tests the kernel modules' package.
pub(crate) fn test_dkms(shell: &Shell) -> Result<()> {
    let _alone = alone();
    clean_root::test_dkms(shell)
}

/// Makes the packages for aarch64 and tests them.
pub(crate) fn test_aarch64(shell: &Shell) -> Result<()> {
    let _alone = alone();
    emulated::test(shell, &make_for(shell, Machine::Aarch64)?)
}

/// Makes the packages.
pub(crate) fn make(shell: &Shell) -> Result<()> {
    let _alone = alone();
    make_for(shell, Machine::This).map(drop)
}

/// Waits until no other step works in `target/dist`.
fn alone() -> MutexGuard<'static, ()> {
    static STEP: Mutex<()> = Mutex::new(());
    STEP.lock().expect("no step panics")
}

fn make_for(shell: &Shell, machine: Machine) -> Result<Dist> {
    let directory = shell.current_dir().join("target/dist");
    shell.create_dir(&directory)?;
    let built = build(shell, machine)?;

    let version = env!("CARGO_PKG_VERSION");
    let name = format!("foliocopy-{version}-{}-linux-gnu", machine.architecture());
    let staged = directory.join(&name);
    Tree::new(&staged, "lib").fill(shell, &built)?;
    let tarball = directory.join(format!("{name}.tar.gz"));
    let epoch = epoch(shell)?;
    // The archive of a commit always has the same bytes.
    cmd!(
        shell,
        "tar --create --gzip --file {tarball} --directory {directory} --sort=name --owner=0 --group=0 --numeric-owner --mtime=@{epoch} {name}"
    )
    .run()?;

    let package = debian::package(shell, &directory, &built, &epoch)?;
    let modules = || dkms_package(shell, env!("CARGO_PKG_VERSION"));
    let dkms = (machine.architecture() == "x86_64").then(modules).transpose()?;
    Ok(Dist { tarball, package, dkms })
}

/// Packs the kernel modules under `version`.
fn dkms_package(shell: &Shell, version: &str) -> Result<PathBuf> {
    let directory = shell.current_dir().join("target/dist");
    shell.create_dir(&directory)?;
    debian::dkms::package(shell, &directory, version, &epoch(shell)?)
}

/// The files that cargo built, and those that the program generates.
struct Built {
    machine: Machine,
    program: PathBuf,
    shared_library: PathBuf,
    static_library: PathBuf,
    /// Manual pages.
    man: PathBuf,
    /// Completions: `foliocopy.bash`, `_foliocopy`, `foliocopy.fish`.
    completions: PathBuf,
}

/// The name that programs record when they are linked with the library, as its build script sets it.
const SONAME: &str = "libfoliocopy.so.0";

/// Builds the shipped files for this machine, in one command, so that later steps need not build them again.
pub(crate) fn build_release(shell: &Shell) -> Result<()> {
    Machine::This.build_release(shell).map(drop)
}

fn build(shell: &Shell, machine: Machine) -> Result<Built> {
    let target = machine.build_release(shell)?;
    let runner = &machine.runner(shell)?;
    let generated = shell.current_dir().join("target/dist/generated");
    shell.remove_path(&generated)?;
    let (man, completions) = (generated.join("man"), generated.join("completions"));
    shell.create_dir(&completions)?;
    let program = target.join("foliocopy");
    cmd!(shell, "env {runner...} {program} man --output {man}").run()?;
    let header = shell.read_file("crates/foliocopy-capi/include/foliocopy.h")?;
    let example = shell.read_file("crates/foliocopy-capi/examples/copy.c")?;
    for (name, page) in man3::pages(&header, &example, env!("CARGO_PKG_VERSION")) {
        shell.write_file(man.join(name), page)?;
    }
    for (name, of) in [("foliocopy.bash", "bash"), ("_foliocopy", "zsh"), ("foliocopy.fish", "fish")] {
        let script = cmd!(shell, "env {runner...} {program} completions {of}").read()?;
        shell.write_file(completions.join(name), script + "\n")?;
    }
    Ok(Built {
        machine,
        program,
        shared_library: target.join("libfoliocopy.so"),
        static_library: target.join("libfoliocopy.a"),
        man,
        completions,
    })
}

/// The prefix of every function of the C library.
pub(crate) const PREFIX: &str = "foliocopy_";

/// Turns cargo's archive into one with a single object. Rust's own symbols become local, so that the archive can be linked with
/// another Rust library of any version.
pub(crate) fn localize(shell: &Shell, archive: &Path, localized: &Path) -> Result<()> {
    localize_for(shell, Machine::This, archive, localized)
}

fn localize_for(shell: &Shell, machine: Machine, archive: &Path, localized: &Path) -> Result<()> {
    let [ld, objcopy, ar] = ["ld", "objcopy", "ar"].map(|name| machine.tool(name));
    let object = localized.with_extension("o");
    // The linker keeps one of several groups with one name. That happens here, before the names become local.
    cmd!(shell, "{ld} --relocatable --force-group-allocation --whole-archive {archive} -o {object}")
        .quiet()
        .run()?;
    // Concatenated bitcode of the standard library is invalid, and binutils with LLVM's plugin fail on it.
    cmd!(shell, "{objcopy} --wildcard --keep-global-symbol={PREFIX}* --remove-section=.llvmbc --remove-section=.llvmcmd {object}")
        .quiet()
        .run()?;
    shell.remove_path(localized)?;
    cmd!(shell, "{ar} rcsD {localized} {object}").quiet().run()?;
    Ok(shell.remove_path(object)?)
}

/// Builds a C program with the header, the library and the pkg-config file that are installed in `root`.
fn build_against(shell: &Shell, machine: Machine, root: &Path, program: &Path) -> Result<()> {
    let source = Path::new("xtask/src/dist/copies.c");
    let multiarch = machine.debian(shell, "DEB_HOST_MULTIARCH")?;
    let flags = cmd!(shell, "pkg-config --cflags --libs foliocopy")
        .env("PKG_CONFIG_LIBDIR", root.join("usr/lib").join(multiarch).join("pkgconfig"))
        .read()
        .context("pkg-config does not find the installed foliocopy.pc")?;
    let (compiler, flags) = (machine.tool("gcc"), flags.split_whitespace());
    Ok(cmd!(shell, "{compiler} -Wall -Werror -o {program} {source} {flags...}").quiet().run()?)
}

/// The time of the commit in seconds, which is the time of all packed files.
fn epoch(shell: &Shell) -> Result<String> {
    cmd!(shell, "git log -1 --format=%ct").read().context("can't ask git when the commit was made")
}
