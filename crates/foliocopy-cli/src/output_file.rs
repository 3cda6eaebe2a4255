//! A file that the user asked for. This module alone decides where it may lie and how it is written.
//!
//! | the path names | before the work | after it |
//! |---|---|---|
//! | nothing | a file is written beside it and removed | written beside it, renamed when whole |
//! | a regular file, by links or not | refused without `--force`, opened with it | written in place |
//! | a device or a pipe | opened | written |
//! | this process's standard output or error | nothing | written to that stream |
//! | a link to nothing, a directory, a disk, a socket | refused | |
//!
//! A file that exists keeps its links, mode, owner and mount, since it is never replaced. Its old content stays where the
//! file system has no room for the new one.

mod identity;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use foliocopy_measure::text::shown;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::interrupt;
use crate::printer;
use identity::{Identity, Stream};

/// What is written to prove that there is room for something.
const PROOF: [u8; 4096] = [0; 4096];

/// Where output goes.
pub(crate) struct OutputFile {
    path: PathBuf,
    force: bool,
    identity: Identity,
    place: Place,
}

enum Place {
    /// Standard output or standard error of this process.
    Stream(Stream),
    /// What exists already, open.
    Existing(File),
    /// Nothing yet.
    New,
}

impl OutputFile {
    /// Opens or proves the place at `path`, `-` being standard output. A file that exists is refused without `force`.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self> {
        let new = |identity, place| Ok(Self { path: path.to_owned(), force, identity, place });
        if let Some(stream) = Stream::named(path) {
            return new(Identity::Stream(stream), Place::Stream(stream));
        }
        let name = path.as_os_str().as_bytes();
        ensure!(!name.is_empty(), "the name of a file is empty: name one, or `-` for standard output");
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Ok(target) = path.read_link() {
                    bail!(
                        "`{}` is a link to `{}`, which is not there: name that file, or remove the link",
                        shown(path),
                        shown(&target)
                    );
                }
                ensure!(
                    !name.ends_with(b"/") && !name.ends_with(b"/."),
                    "`{}` would be a directory: name a file",
                    shown(path)
                );
                let identity = Identity::of_new(path).with_context(|| cannot_write(path))?;
                // The proof goes at once: nothing is left of a run that is killed.
                fill_beside(path, &PROOF)?;
                return new(identity, Place::New);
            }
            Err(error) => return Err(error).with_context(|| cannot_write(path)),
        };
        let kind = metadata.file_type();
        ensure!(!kind.is_dir(), "`{}` is a directory: name a file in it", shown(path));
        ensure!(
            !kind.is_block_device(),
            "`{}` is a disk, which is never overwritten: name a file",
            shown(path)
        );
        ensure!(!kind.is_socket(), "`{}` is a socket: name a file, a device or a pipe", shown(path));
        let identity = Identity::of(&metadata);
        if let Identity::Stream(stream) = identity {
            return new(identity, Place::Stream(stream));
        }
        ensure!(
            !kind.is_file() || force,
            "`{}` exists: name another file, or add --force to overwrite it",
            shown(path)
        );
        let file = open_existing(path, kind.is_fifo())?;
        new(identity, Place::Existing(file))
    }

    /// Opens or proves all of `paths`, no two of which may name one file.
    pub(crate) fn create_all<'a>(
        paths: impl IntoIterator<Item = &'a Path>,
        force: bool,
    ) -> Result<Vec<Self>> {
        let mut files: Vec<Self> = Vec::new();
        for path in paths {
            let file = Self::create(path, force)?;
            if let Some(other) = files.iter().find(|other| other.identity.collides(&file.identity)) {
                let (one, two) = (shown(&other.path), shown(path));
                let and = if one == two { String::new() } else { format!(", also called `{two}`") };
                bail!("two outputs go to `{one}`{and}: give each its own file");
            }
            files.push(file);
        }
        Ok(files)
    }

    /// Whether this is standard output, which is then no place for anything else.
    pub(crate) fn is_standard_output(&self) -> bool {
        self.identity == Identity::Stream(Stream::Output)
    }

    /// Whether `input` names this very file.
    pub(crate) fn is_also(&self, input: &Path) -> bool {
        input.metadata().is_ok_and(|metadata| Identity::of(&metadata).collides(&self.identity))
    }

    /// Writes the whole content and puts it in place.
    pub(crate) fn write(self, content: &[u8]) -> Result<()> {
        match self.place {
            Place::Stream(Stream::Output) => printer::raw(content),
            Place::Stream(Stream::Error) => {
                io::stderr().write_all(content).with_context(|| cannot_write(&self.path))
            }
            Place::Existing(file) => write_in_place(file, content).with_context(|| cannot_write(&self.path)),
            Place::New => match write_beside(&self.path, content) {
                Err(error) if self.force && already_exists(&error) => {
                    Self::create(&self.path, true)?.write(content)
                }
                written => written,
            },
        }
    }

    /// As [`OutputFile::write`], for content that took long: where its place can't take it, another can.
    pub(crate) fn keep(self, content: &[u8]) -> Result<()> {
        let path = self.path.clone();
        self.write(content).inspect_err(|_| {
            // At once: what comes next may fail as well.
            printer::note(match elsewhere(&path, content) {
                Some(kept) => {
                    format!("what `{}` could not take was written to `{}`", shown(&path), shown(&kept))
                }
                None => {
                    format!("what `{}` could not take could be written nowhere else either", shown(&path))
                }
            });
        })
    }
}

/// What is done with each of several files: [`OutputFile::write`] or [`OutputFile::keep`].
pub(crate) type Way = fn(OutputFile, &[u8]) -> Result<()>;

/// Writes every file, whatever becomes of the others. The error names all that could not be written.
pub(crate) fn write_all(
    files: impl IntoIterator<Item = (OutputFile, Result<Vec<u8>>)>,
    way: Way,
) -> Result<()> {
    let mut errors = files.into_iter().filter_map(|(file, content)| {
        let path = shown(&file.path);
        match content.with_context(|| format!("`{path}` was not written")) {
            Ok(content) => way(file, &content).err(),
            Err(error) => Some(error),
        }
    });
    let Some(first) = errors.next() else { return Ok(()) };
    let further: Vec<String> = errors.map(|error| format!("{error:#}")).collect();
    if further.is_empty() { Err(first) } else { bail!("{first:#}; {}", further.join("; ")) }
}

fn open_existing(path: &Path, is_fifo: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if is_fifo {
        // Where nobody reads, this would wait for ever.
        options.custom_flags(OFlags::NONBLOCK.bits() as i32);
    }
    let file = match options.open(path) {
        Err(error) if is_fifo && error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            bail!("`{}` is a pipe that nobody reads: start its reader first", shown(path))
        }
        opened => opened.with_context(|| cannot_write(path))?,
    };
    if is_fifo {
        rustix::fs::fcntl_setfl(&file, OFlags::empty()).with_context(|| cannot_write(path))?;
    }
    Ok(file)
}

fn write_in_place(mut file: File, content: &[u8]) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return file.write_all(content);
    }
    let _whole = interrupt::hold("a file is being written");
    let length = content.len() as u64;
    if length > metadata.len() {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, length) {
            // A file system without it can only be tried.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    file.rewind()?;
    file.write_all(content)?;
    file.set_len(length)
}

fn write_beside(path: &Path, content: &[u8]) -> Result<()> {
    let _whole = interrupt::hold("a file is being written");
    let temporary = fill_beside(path, content)?;
    temporary.persist_noclobber(path).map_err(|error| error.error).with_context(|| cannot_write(path))?;
    Ok(())
}

/// A file of that content in the folder of `path`, without a name that lasts.
fn fill_beside(path: &Path, content: &[u8]) -> Result<NamedTempFile> {
    let mut temporary = temporary_beside(path)?;
    // Into the file itself: errors of the temporary file would name its path.
    temporary.as_file_mut().write_all(content).with_context(|| cannot_write(path))?;
    Ok(temporary)
}

fn already_exists(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

/// Writes what `path` could not take into the first folder that can, and says where.
fn elsewhere(path: &Path, content: &[u8]) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let folders = [Some(std::env::temp_dir()), Some(PathBuf::from(".")), home];
    let mut suffix = OsString::new();
    if let Some(extension) = path.extension() {
        suffix.push(".");
        suffix.push(extension);
    }
    folders.into_iter().flatten().find_map(|folder| {
        let mut file =
            tempfile::Builder::new().prefix("foliocopy-").suffix(&suffix).tempfile_in(folder).ok()?;
        file.write_all(content).ok()?;
        file.into_temp_path().keep().ok()
    })
}

fn temporary_beside(path: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".foliocopy-")
        // As any new file: what the umask leaves.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(identity::folder(path))
        .map_err(|error| io::Error::new(error.kind(), strip_path(&error)))
        .with_context(|| cannot_write(path))
}

/// The temporary file's name would only confuse.
fn strip_path(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" at path ").next().unwrap_or(&text).to_owned()
}

fn cannot_write(path: &Path) -> String {
    format!("can't write `{}`", shown(path))
}
