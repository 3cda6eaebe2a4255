//! The machine that packages are for.

use std::env::consts::ARCH;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::need;
use crate::vm::emulator;

/// The machine that packages are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    /// This one.
    This,
    /// One of aarch64: a cross compiler builds for it, and QEMU runs its programs.
    Aarch64,
}

/// Where Debian's cross compiler has the libraries of aarch64.
const SYSROOT: &str = "/usr/aarch64-linux-gnu";

/// Rust's name of that machine.
pub(super) const TRIPLE: &str = "aarch64-unknown-linux-gnu";

impl Machine {
    /// Its name in `uname -m`.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::This => ARCH,
            Self::Aarch64 => "aarch64",
        }
    }

    /// Builds what is shipped, and answers the folder in which it lies. In one command, so that whoever asks next has nothing
    /// left to build.
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

    /// The name of a tool of its compiler's or of binutils'.
    pub(super) fn tool(self, name: &str) -> String {
        match self {
            Self::This => name.to_owned(),
            Self::Aarch64 => format!("aarch64-linux-gnu-{name}"),
        }
    }

    /// What dpkg-architecture calls it: a variable's value.
    pub(super) fn debian(self, shell: &Shell, variable: &str) -> Result<String> {
        let machine: &[&str] = if self == Self::Aarch64 { &["--host-arch", "arm64"] } else { &[] };
        let asked = cmd!(shell, "dpkg-architecture {machine...} --query {variable}").quiet().ignore_stderr();
        asked.read().context("dpkg-architecture is missing: apt install dpkg-dev")
    }

    /// Where dpkg-shlibdeps finds libraries that lie elsewhere than on an installed system.
    pub(super) fn libraries(self) -> Option<String> {
        (self == Self::Aarch64).then(|| format!("-l{SYSROOT}/lib"))
    }

    /// The words in front of a program of its that runs here, behind `env`.
    pub(super) fn runner(self, shell: &Shell) -> Result<Vec<String>> {
        Ok(match self {
            Self::This => Vec::new(),
            Self::Aarch64 => {
                vec![emulator::USER.newest(shell)?.display().to_string(), "-L".into(), SYSROOT.into()]
            }
        })
    }
}
