//! A file in memory.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;

/// A shared mapping of a file, which may be cut short meanwhile.
pub(crate) struct Mapping {
    start: *mut u8,
    bytes: usize,
}

impl Mapping {
    /// Maps the first `bytes` bytes of a file, more than it has if that is asked for: whole huge pages where it lies on hugetlbfs.
    pub(crate) fn of(file: &File, bytes: usize, protection: libc::c_int) -> io::Result<Self> {
        let bytes = bytes
            .checked_next_multiple_of(page_size(file)?)
            .filter(|bytes| *bytes != 0)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (flags, descriptor) = (libc::MAP_SHARED | libc::MAP_NORESERVE, file.as_raw_fd());
        // SAFETY: new memory, at a place of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, descriptor, 0) };
        match start {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            start => Ok(Self { start: start.cast(), bytes }),
        }
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it any more.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

/// The unit in which a file can be mapped: the block of hugetlbfs, which is a huge page.
fn page_size(file: &File) -> io::Result<usize> {
    let mut of = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the kernel writes what is known of the file system; zeros are valid for it anyway.
    let of = unsafe {
        if libc::fstatfs(file.as_raw_fd(), of.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        of.assume_init()
    };
    Ok(if of.f_type == libc::HUGETLBFS_MAGIC { of.f_bsize as usize } else { 4096 })
}
