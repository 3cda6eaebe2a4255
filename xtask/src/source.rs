//! Linux's source from Debian's archive.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::vm::archive::Archive;

/// The suite and the package that have it.
const SUITE: &str = "trixie-backports";
pub(crate) const PACKAGE: &str = "linux-source-7.3";

/// An unpacked source tree.
pub(crate) struct Source {
    /// The version of Debian's package.
    pub(crate) version: String,
    tree: PathBuf,
    outputs: PathBuf,
    /// Exists while the tree is as in the archive.
    pristine: PathBuf,
}

/// Parts of the source that are not compiled. Kconfig reads their folders nevertheless.
const UNNEEDED: [&str; 4] = ["drivers/gpu", "drivers/media", "drivers/net/*", "sound"];

impl Source {
    /// Fetches it, or takes it from the cache.
    pub(crate) fn fetch(shell: &Shell) -> Result<Self> {
        let cache = fs::canonicalize(shell.current_dir())?.join(".cache/upstream");
        fs::create_dir_all(&cache)?;
        let archive = Archive::of_suites(shell, &cache, &[SUITE])?;
        archive.refresh(shell)?;
        let version = archive.version(shell, PACKAGE)?;
        let folder = cache.join(&version);
        let source = Self {
            tree: folder.join(PACKAGE),
            outputs: folder.join("output"),
            pristine: folder.join("pristine"),
            version,
        };
        if source.pristine.exists() {
            return Ok(source);
        }
        eprintln!("fetching {PACKAGE} {} (170 MB)", source.version);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&source.outputs)?;
        archive.unpack(shell, &[PACKAGE.to_owned()], &folder)?;
        let tarball = folder.join("usr/src").join(format!("{PACKAGE}.tar.xz"));
        let unneeded = UNNEEDED
            .iter()
            .flat_map(|part| ["c", "h"].map(|ending| format!("--exclude={PACKAGE}/{part}/**.{ending}")));
        cmd!(shell, "tar -xf {tarball} -C {folder} --exclude={PACKAGE}/Documentation/*/* {unneeded...}")
            .quiet()
            .run()?;
        fs::remove_file(tarball)?;
        fs::write(&source.pristine, "")?;
        Ok(source)
    }

    /// A copy of the tree with the series applied. It is kept until the series changes.
    pub(crate) fn with_series(&self, shell: &Shell, patches: &[PathBuf]) -> Result<Self> {
        let named = |name: &str| self.outputs.with_file_name(name);
        let series = named("patched");
        let patched = Self {
            version: self.version.clone(),
            tree: named("linux-patched"),
            outputs: named("output-patched"),
            pristine: series,
        };
        let wanted = patches.iter().map(fs::read_to_string).collect::<std::io::Result<String>>()?;
        if fs::read_to_string(&patched.pristine).is_ok_and(|applied| applied == wanted) {
            return Ok(patched);
        }
        for folder in [&patched.tree, &patched.outputs] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        let (from, to) = (&self.tree, &patched.tree);
        // patch(1) replaces files, so the links of other files stay.
        cmd!(shell, "cp -al {from} {to}").quiet().run()?;
        let applying = patched.patch()?;
        patches.iter().try_for_each(|patch| applying.apply(shell, patch))?;
        fs::create_dir_all(&patched.outputs)?;
        fs::write(&patched.pristine, wanted)?;
        Ok(patched)
    }

    /// The folder of the tree.
    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    /// The folder of the builds for one architecture.
    pub(crate) fn output(&self, architecture: &str) -> PathBuf {
        self.outputs.join(architecture)
    }

    /// Starts to patch the tree.
    pub(crate) fn patch(&self) -> Result<Patched<'_>> {
        // An interrupted run leaves the tree patched, and the next run unpacks a new one.
        if self.pristine.exists() {
            fs::remove_file(&self.pristine)?;
        }
        Ok(Patched { source: self, applied: Vec::new().into() })
    }
}

/// A source tree with a part of the series applied.
pub(crate) struct Patched<'a> {
    source: &'a Source,
    applied: std::cell::RefCell<Vec<PathBuf>>,
}

impl Patched<'_> {
    pub(crate) fn source(&self) -> &Source {
        self.source
    }

    /// Applies the next patch, without an offset.
    pub(crate) fn apply(&self, shell: &Shell, patch: &Path) -> Result<()> {
        let tree = self.source.tree();
        let output =
            cmd!(shell, "patch -d {tree} -p1 --fuzz=0 --no-backup-if-mismatch -i {patch}").quiet().read()?;
        ensure!(!output.contains("offset"), "the patch applies only with an offset:\n{output}");
        self.applied.borrow_mut().push(patch.to_owned());
        Ok(())
    }

    /// Runs the kernel's own style checker. The sign-off is left to the person who sends the series.
    pub(crate) fn checkpatch(&self, shell: &Shell, patch: &Path) -> Result<()> {
        let tree = self.source.tree();
        cmd!(shell, "perl {tree}/scripts/checkpatch.pl --root={tree} --strict --quiet --no-signoff {patch}")
            // checkpatch reads the kernel's git repository, and would take ours for it.
            .env("GIT_DIR", tree.join(".git"))
            .quiet()
            .run()
            .context("checkpatch complains")
    }

    /// Removes the patches again.
    pub(crate) fn restore(self, shell: &Shell) -> Result<()> {
        let tree = self.source.tree();
        while let Some(patch) = self.applied.borrow_mut().pop() {
            cmd!(shell, "patch -d {tree} -p1 -R --fuzz=0 -i {patch}").quiet().ignore_stdout().run()?;
        }
        Ok(fs::write(&self.source.pristine, "")?)
    }
}
