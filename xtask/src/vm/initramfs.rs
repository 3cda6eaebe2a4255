//! The guest's root file system: a cpio archive in the `newc` form, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` describes it.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

/// An initramfs that is being packed.
pub(crate) struct Initramfs<W: Write> {
    archive: W,
    inode: u32,
}

impl Initramfs<BufWriter<fs::File>> {
    /// Starts one, with the folders and the console that the kernel wants before the init runs.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut initramfs = Self { archive: BufWriter::new(file), inode: 0 };
        for folder in ["dev", "proc", "sys", "tmp", "bin", "lib", "tests"] {
            initramfs.entry(folder, ModeFileType::Directory, 0o755, (0, 0), &[])?;
        }
        // The kernel opens it for the init, before the init can mount devtmpfs.
        initramfs.entry("dev/console", ModeFileType::Char, 0o600, (5, 1), &[])?;
        Ok(initramfs)
    }
}

impl<W: Write> Initramfs<W> {
    /// Adds an executable file.
    pub(crate) fn program(&mut self, name: &str, from: &Path) -> Result<()> {
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.entry(name, ModeFileType::Regular, 0o755, (0, 0), &contents)
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

    /// Ends it.
    pub(crate) fn finish(self) -> Result<()> {
        Ok(trailer(self.archive)?.flush()?)
    }
}
