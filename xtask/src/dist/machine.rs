//! The machine for which packages are made.

use std::env::consts::ARCH;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::need::{self, SYSROOT_AARCH64};
use crate::vm::emulator;

/// The machine for which packages are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    /// This machine.
    This,
    /// An aarch64 machine: a cross compiler builds for it, and QEMU runs its programs.
    Aarch64,
}

/// Rust's name of an aarch64 machine.
pub(super) const TRIPLE: &str = "aarch64-unknown-linux-gnu";

impl Machine {
    /// Its name in `uname -m`.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::This => ARCH,
            Self::Aarch64 => "aarch64",
        }
    }

    /// Builds the shipped files, and returns their folder. One command builds all of them, so that later callers need not
    /// build.
    pub(super) fn build_release(self, shell: &Shell) -> Result<PathBuf> {
        let (target, folder): (&[&str], _) = match self {
            Self::This => (&[], "target/release".into()),
            Self::Aarch64 => (&["--target", TRIPLE], format!("target/{TRIPLE}/release")),
        };
        let _linker = shell.push_env(need::LINKER_AARCH64.0, need::LINKER_AARCH64.1);
        cmd!(
            shell,
            "cargo build --quiet --release --package foliocopy-cli --package foliocopy-capi {target...}"
        )
        .quiet()
        .run()?;
        Ok(shell.current_dir().join(folder))
    }

    /// The name of a tool of the machine's compiler or binutils.
    pub(super) fn tool(self, name: &str) -> String {
        match self {
            Self::This => name.to_owned(),
            Self::Aarch64 => format!("aarch64-linux-gnu-{name}"),
        }
    }

    /// The value of a variable of dpkg-architecture for the machine.
    pub(super) fn debian(self, shell: &Shell, variable: &str) -> Result<String> {
        let machine: &[&str] = if self == Self::Aarch64 { &["--host-arch", "arm64"] } else { &[] };
        let asked = cmd!(shell, "dpkg-architecture {machine...} --query {variable}").quiet().ignore_stderr();
        asked.read().context("dpkg-architecture is missing: apt install dpkg-dev")
    }

    /// Where dpkg-shlibdeps finds libraries that are not where an installed system has them.
    pub(super) fn libraries(self) -> Option<String> {
        (self == Self::Aarch64).then(|| format!("-l{SYSROOT_AARCH64}/lib"))
    }

    /// The words, after `env`, in front of a program for that machine which runs here.
    pub(super) fn runner(self, shell: &Shell) -> Result<Vec<String>> {
        Ok(match self {
            Self::This => Vec::new(),
            Self::Aarch64 => {
                vec![emulator::USER.newest(shell)?.display().to_string(), "-L".into(), SYSROOT_AARCH64.into()]
            }
        })
    }
}
