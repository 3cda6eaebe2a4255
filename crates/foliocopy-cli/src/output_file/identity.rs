//! Tells which file a path names.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A stream that this process has open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

impl Stream {
    /// The one that `path` names by one of the names that every system has.
    pub(super) fn named(path: &Path) -> Option<Self> {
        match path.to_str()? {
            "-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Self::Output),
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Self::Error),
            _ => None,
        }
    }
}

/// The identity of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Stream(Stream),
    /// Device and inode of a file that exists.
    Inode(u64, u64),
    /// A device or terminal: several outputs may go there.
    Device,
    /// Device and inode of the folder, and the name that a file will have in it.
    Name(u64, u64, OsString),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        // Null devices and terminals are shared: two outputs to them do no harm.
        if metadata.file_type().is_char_device() {
            return Self::Device;
        }
        if is_open_as(io::stdout(), metadata) {
            Self::Stream(Stream::Output)
        } else if is_open_as(io::stderr(), metadata) {
            Self::Stream(Stream::Error)
        } else {
            Self::Inode(metadata.dev(), metadata.ino())
        }
    }

    /// The identity of a file that does not exist yet.
    pub(super) fn of_new(path: &Path) -> io::Result<Self> {
        let folder = folder(path).metadata()?;
        Ok(Self::Name(folder.dev(), folder.ino(), path.file_name().unwrap_or_default().to_owned()))
    }

    /// Whether two outputs would get into each other's way.
    pub(super) fn collides(&self, other: &Self) -> bool {
        self == other && *self != Self::Device
    }
}

/// The folder that a file lies in.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn is_open_as(stream: impl AsFd, metadata: &Metadata) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (metadata.dev(), metadata.ino()))
}
