//! The tools of another suite of Debian in a root of their own. A newer kernel's headers need the compiler and the C library
//! with which it was built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::archive::KEYRING;
use crate::need::{self, Need};

/// The suite whose backports have the newest kernels.
pub(crate) const SUITE: &str = "trixie";

/// Those backports.
pub(crate) const BACKPORTS: &str = "trixie-backports";

/// The packages that build a module there.
const PACKAGES: &str = "make,gcc-14,libelf1t64,libssl3t64,zlib1g";

/// The folder of the modules as seen inside.
pub(crate) const BUILD: &str = "/build";

/// Runs in a mount namespace of its own, so nothing stays mounted. objtool reads its limits from /proc.
const INSIDE: &str = r#"mount -t proc proc "$1/proc" && mount --bind "$2" "$1/build" && exec chroot "$1" \
    make --no-print-directory -C "$3" KDIR="$4" KBUILD_EXTRA_SYMBOLS="$5""#;

/// A root with those tools.
pub(crate) struct Chroot {
    pub(crate) root: PathBuf,
}

impl Chroot {
    /// Makes a root with debootstrap, or takes it from the cache.
    pub(crate) fn bootstrapped(shell: &Shell, cache: &Path, mirror: &str) -> Result<Self> {
        let root = cache.join(format!("root-{SUITE}"));
        // A kernel of that suite is built with its tools, in a chroot.
        need::demand(shell, &[Need::Root, need::DEBOOTSTRAP])?;
        let complete = root.join("bootstrapped");
        if !complete.exists() {
            eprintln!("making a root of {SUITE}");
            if root.exists() {
                fs::remove_dir_all(&root)?;
            }
            cmd!(
                shell,
                "debootstrap --variant=minbase --keyring={KEYRING} --include={PACKAGES} {SUITE} {root} {mirror}"
            )
            .quiet()
            .ignore_stdout()
            .run()
            .context("debootstrap failed")?;
            fs::create_dir_all(root.join(BUILD.trim_start_matches('/')))?;
            fs::write(complete, "")?;
        }
        Ok(Self { root })
    }

    /// Runs `make` in `module`, a folder below [`BUILD`], where `folder` is mounted.
    pub(crate) fn make(
        &self,
        shell: &Shell,
        folder: &Path,
        module: &Path,
        headers: &str,
        symbols: &Path,
    ) -> Result<Output> {
        let root = &self.root;
        cmd!(shell, "unshare --mount sh -c {INSIDE} sh {root} {folder} {module} {headers} {symbols}")
            .quiet()
            .ignore_status()
            .output()
            .context("can't run unshare")
    }
}
