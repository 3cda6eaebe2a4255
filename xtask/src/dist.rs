//! `cargo xtask dist`: the tarball and the Debian packages, and the proof that they install and run.

mod clean_root;
mod debian;
mod man3;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::need::{self, Need};
use tree::Tree;

/// The needs of making the packages.
pub(crate) const NEEDS: &[Need] = &[need::DPKG_DEV, need::MAKE];

/// The needs of testing them.
pub(crate) const NEEDS_OF_TEST: &[Need] =
    &[need::DPKG_DEV, need::PKG_CONFIG, need::MAKE, need::APT, Need::Root, need::DEBOOTSTRAP];

/// What `cargo xtask dist` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also install the package into a clean Debian root and run it there (as root, with debootstrap)
    #[arg(long)]
    test: bool,
}

/// The files that a release is made of.
pub(crate) struct Dist {
    tarball: PathBuf,
    package: PathBuf,
    /// The kernel modules' package; they are for x86-64 alone.
    dkms: Option<PathBuf>,
}

pub(crate) fn run(shell: &Shell, args: Args) -> Result<()> {
    need::demand(shell, if args.test { NEEDS_OF_TEST } else { NEEDS })?;
    let dist = make(shell)?;
    if args.test {
        clean_root::test(shell, &dist)?;
        clean_root::test_dkms(shell)?;
    }
    for file in [dist.tarball, dist.package].into_iter().chain(dist.dkms) {
        println!("{}", file.display());
    }
    Ok(())
}

/// Makes the packages and tests them.
pub(crate) fn test(shell: &Shell) -> Result<()> {
    clean_root::test(shell, &make(shell)?)
}

/// Tests the kernel modules' package.
pub(crate) fn test_dkms(shell: &Shell) -> Result<()> {
    clean_root::test_dkms(shell)
}

/// Makes the packages.
pub(crate) fn make(shell: &Shell) -> Result<Dist> {
    let directory = shell.current_dir().join("target/dist");
    shell.create_dir(&directory)?;
    let built = build(shell)?;

    let version = env!("CARGO_PKG_VERSION");
    let name = format!("foliocopy-{version}-{}-linux-gnu", std::env::consts::ARCH);
    let staged = directory.join(&name);
    Tree::new(&staged, "lib").fill(shell, &built)?;
    let tarball = directory.join(format!("{name}.tar.gz"));
    let epoch = epoch(shell)?;
    // A commit always gives the same bytes.
    cmd!(
        shell,
        "tar --create --gzip --file {tarball} --directory {directory} --sort=name --owner=0 --group=0 --numeric-owner --mtime=@{epoch} {name}"
    )
    .run()?;

    let package = debian::package(shell, &directory, &built, &epoch)?;
    let modules = || dkms_package(shell, env!("CARGO_PKG_VERSION"));
    let dkms = cfg!(target_arch = "x86_64").then(modules).transpose()?;
    Ok(Dist { tarball, package, dkms })
}

/// Packs the kernel modules under that version.
fn dkms_package(shell: &Shell, version: &str) -> Result<PathBuf> {
    let directory = shell.current_dir().join("target/dist");
    shell.create_dir(&directory)?;
    debian::dkms::package(shell, &directory, version, &epoch(shell)?)
}

/// The files that cargo built, and those that the program generates.
struct Built {
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

/// Builds the shipped files. One command, so that later steps find them built.
pub(crate) fn build_release(shell: &Shell) -> Result<()> {
    let build = cmd!(shell, "cargo build --quiet --release --package foliocopy-cli --package foliocopy-capi");
    Ok(build.quiet().run()?)
}

fn build(shell: &Shell) -> Result<Built> {
    build_release(shell)?;
    let target = shell.current_dir().join("target/release");
    let generated = shell.current_dir().join("target/dist/generated");
    shell.remove_path(&generated)?;
    let (man, completions) = (generated.join("man"), generated.join("completions"));
    shell.create_dir(&completions)?;
    let program = target.join("foliocopy");
    cmd!(shell, "{program} man --output {man}").run()?;
    let header = shell.read_file("crates/foliocopy-capi/include/foliocopy.h")?;
    let example = shell.read_file("crates/foliocopy-capi/examples/copy.c")?;
    for (name, page) in man3::pages(&header, &example, env!("CARGO_PKG_VERSION")) {
        shell.write_file(man.join(name), page)?;
    }
    for (name, of) in [("foliocopy.bash", "bash"), ("_foliocopy", "zsh"), ("foliocopy.fish", "fish")] {
        let script = cmd!(shell, "{program} completions {of}").read()?;
        shell.write_file(completions.join(name), script + "\n")?;
    }
    Ok(Built {
        program,
        shared_library: target.join("libfoliocopy.so"),
        static_library: target.join("libfoliocopy.a"),
        man,
        completions,
    })
}

/// In front of the name of every function of the C library.
pub(crate) const PREFIX: &str = "foliocopy_";

/// Makes an archive of one object out of what cargo made. Rust's own symbols become local: another library that has them
/// too can stand beside it, of whatever version.
pub(crate) fn localize(shell: &Shell, archive: &Path, localized: &Path) -> Result<()> {
    let object = localized.with_extension("o");
    // Groups of which the linker would keep one by name are settled here, as their names become local.
    cmd!(shell, "ld --relocatable --force-group-allocation --whole-archive {archive} -o {object}")
        .quiet()
        .run()?;
    // The standard library's bitcode is no bitcode once it is concatenated, and binutils with LLVM's plugin choke on it.
    cmd!(shell, "objcopy --wildcard --keep-global-symbol={PREFIX}* --remove-section=.llvmbc --remove-section=.llvmcmd {object}")
        .quiet()
        .run()?;
    shell.remove_path(localized)?;
    cmd!(shell, "ar rcsD {localized} {object}").quiet().run()?;
    Ok(shell.remove_path(object)?)
}

/// When the commit was made, in seconds: the time that all packed files bear.
fn epoch(shell: &Shell) -> Result<String> {
    cmd!(shell, "git log -1 --format=%ct").read().context("can't ask git when the commit was made")
}
