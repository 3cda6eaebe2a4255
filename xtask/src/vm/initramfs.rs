//! The guest's root file system: a cpio archive in the `newc` format, described in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

/// An initramfs that is being written.
pub(crate) struct Initramfs {
    archive: BufWriter<fs::File>,
    inode: u32,
    /// The folders in it.
    folders: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Starts an initramfs, with the console that the kernel needs before the init runs, and the folders for the init's mounts.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let archive = BufWriter::new(file);
        let mut initramfs = Self { archive, inode: 0, folders: BTreeSet::new() };
        for folder in ["dev", "proc", "sys", "tmp"] {
            initramfs.folder(Path::new(folder))?;
        }
        // The kernel opens the console for the init, before the init can mount devtmpfs.
        initramfs.entry("dev/console", ModeFileType::Char, 0o600, (5, 1), &[])?;
        Ok(initramfs)
    }

    /// Adds an executable file, and the folders that it is in.
    pub(crate) fn program(&mut self, name: &str, from: &Path) -> Result<()> {
        self.regular(name, from, 0o755)
    }

    /// Adds a file that is not executable, and the folders that it is in.
    pub(crate) fn file(&mut self, name: &str, from: &Path) -> Result<()> {
        self.regular(name, from, 0o644)
    }

    /// Adds a link to an existing file of the same folder.
    pub(crate) fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.entry(name, ModeFileType::Symlink, 0o777, (0, 0), to.as_bytes())
    }

    fn regular(&mut self, name: &str, from: &Path, permissions: u32) -> Result<()> {
        self.folder(Path::new(name).parent().unwrap_or(Path::new("")))?;
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.entry(name, ModeFileType::Regular, permissions, (0, 0), &contents)
    }

    fn folder(&mut self, folder: &Path) -> Result<()> {
        let Some(parent) = folder.parent() else { return Ok(()) };
        self.folder(parent)?;
        if self.folders.insert(folder.to_owned()) {
            let name = folder.to_str().context("a folder's name is text")?;
            self.entry(name, ModeFileType::Directory, 0o755, (0, 0), &[])?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        name: &str,
        kind: ModeFileType,
        permissions: u32,
        device: (u32, u32),
        contents: &[u8],
    ) -> Result<()> {
        self.inode += 1;
        let entry = Builder::new(name)
            .ino(self.inode)
            .nlink(1)
            .mode(permissions)
            .set_mode_file_type(kind)
            .rdev_major(device.0)
            .rdev_minor(device.1);
        let size = contents.len().try_into().with_context(|| format!("{name} is too large"))?;
        let mut writer = entry.write(&mut self.archive, size);
        writer.write_all(contents)?;
        writer.finish()?;
        Ok(())
    }

    /// Completes the archive.
    pub(crate) fn finish(self) -> Result<()> {
        Ok(trailer(self.archive)?.flush()?)
    }
}
