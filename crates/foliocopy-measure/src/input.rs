//! Reads files that a user names: regular files alone, and only up to a limit.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Opens a regular file. Whatever else `path` names is refused: a pipe would be waited for, a device may never end.
pub fn open(path: &Path) -> io::Result<File> {
    // Returns at once from a pipe without a writer, and from a device.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    // Asked before opening too, since opening may do something to a device.
    check_kind(&path.metadata()?)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check_kind(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let too_long =
        || io::Error::other(format!("it is longer than {} MiB, which no such file is", limit >> 20));
    if file.metadata()?.len() > limit {
        return Err(too_long());
    }
    let mut content = Vec::new();
    // It may be growing, and /proc tells no lengths.
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit { Err(too_long()) } else { Ok(content) }
}

fn check_kind(metadata: &std::fs::Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, and only files are read")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn only_files_are_read_and_only_so_much() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "0123456789").unwrap();
        assert_eq!(read(&file, 10).unwrap(), b"0123456789");
        assert!(read(&file, 9).unwrap_err().to_string().contains("longer than"));
        // Its length is said to be 0.
        assert!(read(Path::new("/proc/self/maps"), 9).unwrap_err().to_string().contains("longer than"));
        let pipe = directory.path().join("pipe");
        let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name ends.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        for (path, kind) in [
            (pipe.as_path(), "a pipe"),
            (directory.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            assert!(read(path, 10).unwrap_err().to_string().contains(kind));
        }
    }
}
