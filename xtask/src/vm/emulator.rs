//! QEMU's emulators of aarch64. Backports have newer versions than a stable release of Debian.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::archive::{self, Archive};
use super::kernel;
use crate::need::Missing;

/// The version with the instructions of MOPS.
const WANTED: u32 = 10;

/// A program of QEMU, and the Debian package that has it.
pub(crate) struct Emulator(&'static str, &'static str);

/// Runs a program on this machine's kernel. From backports it needs no library.
pub(crate) const USER: Emulator = Emulator("qemu-aarch64", "qemu-user");

/// Runs a machine. From backports it needs the libraries that this machine's own version needs.
pub(crate) const SYSTEM: Emulator = Emulator("qemu-system-aarch64", "qemu-system-arm");

impl Emulator {
    /// This machine's program if it is new enough, otherwise that of the backports, which is not installed. If there is
    /// neither, this machine's old one: tests name the instructions that it lacks.
    pub(crate) fn newest(&self, shell: &Shell) -> Result<PathBuf> {
        let own = PathBuf::from(self.0);
        if version(shell, &own)? >= WANTED {
            return Ok(own);
        }
        match self.backport(shell).map_err(anyhow::Error::downcast::<Missing>) {
            Ok(program) => Ok(program),
            Err(Ok(missing)) => {
                eprintln!("no newer {}: {missing}", self.0);
                Ok(own)
            }
            Err(Err(error)) => Err(error),
        }
    }

    /// The program of the backports.
    fn backport(&self, shell: &Shell) -> Result<PathBuf> {
        let &Self(program, package) = self;
        let cache = fs::canonicalize(shell.current_dir())?.join(kernel::CACHE);
        let root = cache.join("qemu");
        let unpacked = root.join("usr/bin").join(program);
        if !unpacked.exists() {
            fs::create_dir_all(&root)?;
            let suite = format!("{}-backports", archive::suite(shell)?);
            let archive = Archive::of_suites(shell, &cache, &[&suite])?;
            archive.refresh(shell)?;
            eprintln!("fetching {package} of {suite}");
            archive.unpack_file(shell, package, &format!("usr/bin/{program}"), &root)?;
        }
        match version(shell, &unpacked) {
            Ok(found) if found >= WANTED => Ok(unpacked),
            Ok(found) => Err(Missing(format!("the archive has version {found}")).into()),
            Err(error) => Err(Missing(format!("that of the archive does not run: {error:#}")).into()),
        }
    }
}

/// The first number of a program's version.
pub(crate) fn version(shell: &Shell, program: &Path) -> Result<u32> {
    let said = cmd!(shell, "{program} --version").quiet().ignore_stderr().read()?;
    let number = said.split("version ").nth(1).and_then(|version| version.split('.').next()?.parse().ok());
    number.with_context(|| format!("{} does not say its version", program.display()))
}
