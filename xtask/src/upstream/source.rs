//! The kernel's source, as Debian's archive has it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::vm::archive::Archive;

/// An unpacked source tree.
pub(crate) struct Source {
    /// The version of Debian's package.
    pub(crate) version: String,
    tree: PathBuf,
    outputs: PathBuf,
    /// Exists while the tree is not as the archive has it.
    dirty: PathBuf,
}

impl Source {
    /// Fetches a `linux-source` package, or takes it from the cache.
    pub(crate) fn fetch(shell: &Shell, archive: &Archive, package: &str, cache: &Path) -> Result<Self> {
        let version = archive.version(shell, package)?;
        let folder = cache.join(&version);
        let source = Self {
            tree: folder.join(package),
            outputs: folder.join("output"),
            dirty: folder.join("dirty"),
            version,
        };
        if source.tree.exists() && !source.dirty.exists() {
            return Ok(source);
        }
        eprintln!("fetching {package} {} (170 MB)", source.version);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&source.outputs)?;
        fs::write(&source.dirty, "being unpacked")?;
        archive.unpack(shell, &[package.to_owned()], &folder)?;
        let tarball = folder.join("usr/src").join(format!("{package}.tar.xz"));
        // Kconfig reads every folder, but of drivers and the like nothing is compiled.
        let unneeded =
            ["drivers", "sound", "net", "fs"].map(|part| format!("--exclude={package}/{part}/**.c"));
        cmd!(shell, "tar -xf {tarball} -C {folder} --exclude={package}/Documentation/*/* {unneeded...}")
            .quiet()
            .run()?;
        fs::remove_file(tarball)?;
        fs::remove_file(&source.dirty)?;
        Ok(source)
    }

    /// Where it lies.
    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Where what is built for one architecture goes.
    pub(crate) fn output(&self, architecture: &str) -> PathBuf {
        self.outputs.join(architecture)
    }

    /// Starts to patch the tree.
    pub(crate) fn patch(&self, shell: &Shell) -> Result<Patched<'_>> {
        cmd!(shell, "patch --version")
            .quiet()
            .ignore_stdout()
            .run()
            .context("this needs patch: install it")?;
        fs::write(&self.dirty, "patched")?;
        Ok(Patched { source: self, applied: Vec::new().into() })
    }
}

/// A source tree with some of the series applied. Where it is not restored the next run fetches a new one.
pub(crate) struct Patched<'a> {
    source: &'a Source,
    applied: std::cell::RefCell<Vec<PathBuf>>,
}

impl Patched<'_> {
    pub(crate) fn source(&self) -> &Source {
        self.source
    }

    /// Applies the next patch, exactly where it says.
    pub(crate) fn apply(&self, shell: &Shell, patch: &Path) -> Result<()> {
        let tree = self.source.tree();
        let output =
            cmd!(shell, "patch -d {tree} -p1 --fuzz=0 --no-backup-if-mismatch -i {patch}").quiet().read()?;
        ensure!(!output.contains("offset"), "it applies elsewhere than it says:\n{output}");
        self.applied.borrow_mut().push(patch.to_owned());
        Ok(())
    }

    /// What the kernel's own style checker says. The sign-off is whoever's who sends the series.
    pub(crate) fn checkpatch(&self, shell: &Shell, patch: &Path) -> Result<()> {
        let tree = self.source.tree();
        cmd!(shell, "perl {tree}/scripts/checkpatch.pl --root={tree} --strict --quiet --no-signoff {patch}")
            .quiet()
            .run()
            .context("checkpatch has complaints")
    }

    /// Takes the patches out again.
    pub(crate) fn restore(self, shell: &Shell) -> Result<()> {
        let tree = self.source.tree();
        while let Some(patch) = self.applied.borrow_mut().pop() {
            cmd!(shell, "patch -d {tree} -p1 -R --fuzz=0 -i {patch}").quiet().ignore_stdout().run()?;
        }
        Ok(fs::remove_file(&self.source.dirty)?)
    }
}
