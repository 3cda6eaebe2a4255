#![doc = include_str!("../README.md")]

use std::io;

use foliocopy::{ByteRange, ByteRangeMut, CopyMcError, SkippedBytes, copy_mc_bytes, copy_mc_skipping};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::volatile_memory::{self, VolatileSlice};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryError, Permissions};

/// Reads and writes that survive memory which can't be accessed: what [`vm_memory::Bytes`] has, by [`foliocopy`].
///
/// Memory that goes bad is `PartialBuffer`: the bytes before it are copied, to the byte, and none behind it. Where a fault would
/// not be survived, nothing is copied, and the error is `IOError` with [`foliocopy::CopyError`] in it.
pub trait BytesMc<A> {
    /// The error of the memory's own reads and writes.
    type E;

    /// Fills `buffer` with the bytes from `address` on.
    ///
    /// # Errors
    ///
    /// `PartialBuffer` where memory is bad, or ends before the buffer is full. The memory's own error where there is none at
    /// the address.
    fn read_mc(&self, buffer: &mut [u8], address: A) -> Result<(), Self::E>;

    /// Writes `buffer` to the bytes from `address` on, and marks what was written as dirty.
    ///
    /// # Errors
    ///
    /// As [`BytesMc::read_mc`].
    fn write_mc(&self, buffer: &[u8], address: A) -> Result<(), Self::E>;

    /// Fills `buffer` like [`BytesMc::read_mc`], with zeros for bytes that are lost, and reports those. Answers how many they
    /// are. Offsets count from the start of the buffer. An error's own counts are those of its region.
    ///
    /// # Errors
    ///
    /// As [`BytesMc::read_mc`], but not for bad memory.
    fn read_mc_skipping(
        &self,
        buffer: &mut [u8],
        address: A,
        report: impl FnMut(&SkippedBytes),
    ) -> Result<usize, Self::E>;
}

/// Copies between two slices that survive memory which can't be accessed.
pub trait VolatileSliceMc {
    /// Copies as many bytes as both slices have, and marks what was written as dirty. Answers how many.
    ///
    /// # Errors
    ///
    /// `PartialBuffer` where memory is bad. `IOError` where the slices overlap, and where a fault would not be survived:
    /// nothing is copied then.
    fn copy_mc_to_volatile_slice<S: BitmapSlice>(
        &self,
        slice: VolatileSlice<S>,
    ) -> volatile_memory::Result<usize>;
}

impl<B: BitmapSlice> VolatileSliceMc for VolatileSlice<'_, B> {
    fn copy_mc_to_volatile_slice<S: BitmapSlice>(
        &self,
        slice: VolatileSlice<S>,
    ) -> volatile_memory::Result<usize> {
        let bytes = self.len().min(slice.len());
        let guard = self.ptr_guard();
        // SAFETY: whoever made the slice promised that its memory is there for as long as it, and shared. The guard keeps it
        // mapped.
        let source = unsafe { ByteRange::new(guard.as_ptr(), bytes) }.map_err(refused)?;
        write(&slice.subslice(0, bytes)?, source)?;
        Ok(bytes)
    }
}

impl<B: BitmapSlice> BytesMc<usize> for VolatileSlice<'_, B> {
    type E = volatile_memory::Error;

    fn read_mc(&self, buffer: &mut [u8], address: usize) -> Result<(), Self::E> {
        read(&self.subslice(address, buffer.len())?, |source| copy_mc_bytes(buffer.into(), source))
    }

    fn write_mc(&self, buffer: &[u8], address: usize) -> Result<(), Self::E> {
        write(&self.subslice(address, buffer.len())?, buffer.into())
    }

    fn read_mc_skipping(
        &self,
        buffer: &mut [u8],
        address: usize,
        report: impl FnMut(&SkippedBytes),
    ) -> Result<usize, Self::E> {
        let slice = self.subslice(address, buffer.len())?;
        read(&slice, |source| copy_mc_skipping(buffer.into(), source, report))
    }
}

impl<M: GuestMemory + ?Sized> BytesMc<GuestAddress> for M {
    type E = GuestMemoryError;

    fn read_mc(&self, buffer: &mut [u8], address: GuestAddress) -> Result<(), Self::E> {
        each_slice(self, address, buffer.len(), Permissions::Read, |slice, done| {
            slice.read_mc(&mut buffer[done..done + slice.len()], 0)
        })
    }

    fn write_mc(&self, buffer: &[u8], address: GuestAddress) -> Result<(), Self::E> {
        each_slice(self, address, buffer.len(), Permissions::Write, |slice, done| {
            slice.write_mc(&buffer[done..done + slice.len()], 0)
        })
    }

    fn read_mc_skipping(
        &self,
        buffer: &mut [u8],
        address: GuestAddress,
        mut report: impl FnMut(&SkippedBytes),
    ) -> Result<usize, Self::E> {
        let mut nr_skipped = 0;
        each_slice(self, address, buffer.len(), Permissions::Read, |slice, done| {
            nr_skipped += slice.read_mc_skipping(&mut buffer[done..done + slice.len()], 0, |skipped| {
                report(&SkippedBytes { offset: done + skipped.offset, ..*skipped });
            })?;
            Ok(())
        })?;
        Ok(nr_skipped)
    }
}

/// Copies the slices of a range of a guest's memory, in ascending order, by a function that takes a slice and the number of bytes
/// before it.
fn each_slice<'a, M: GuestMemory + ?Sized>(
    memory: &'a M,
    address: GuestAddress,
    bytes: usize,
    access: Permissions,
    mut copy: impl FnMut(
        VolatileSlice<'a, vm_memory::bitmap::BS<'a, M::Bitmap>>,
        usize,
    ) -> volatile_memory::Result<()>,
) -> Result<(), GuestMemoryError> {
    let mut done = 0;
    for slice in memory.get_slices(address, bytes, access)?.stop_on_error()? {
        let length = slice.len();
        if let Err(error) = copy(slice, done) {
            return Err(match error {
                volatile_memory::Error::PartialBuffer { completed, .. } => {
                    GuestMemoryError::PartialBuffer { expected: bytes, completed: done + completed }
                }
                // What lies in the slices before is copied.
                _ if done != 0 => GuestMemoryError::PartialBuffer { expected: bytes, completed: done },
                error => error.into(),
            });
        }
        done += length;
    }
    if done == bytes {
        Ok(())
    } else {
        Err(GuestMemoryError::PartialBuffer { expected: bytes, completed: done })
    }
}

/// Reads the whole slice by a function that takes its memory.
fn read<R, B: BitmapSlice>(
    slice: &VolatileSlice<B>,
    copy: impl FnOnce(ByteRange<'_>) -> Result<R, CopyMcError>,
) -> volatile_memory::Result<R> {
    let guard = slice.ptr_guard();
    // SAFETY: whoever made the slice promised that its memory is there for as long as it, and shared. The guard keeps it mapped.
    let source = unsafe { ByteRange::new(guard.as_ptr(), slice.len()) }.map_err(refused)?;
    copy(source).map_err(|error| failed(error, slice.len()))
}

/// Writes the whole slice, and marks what was written as dirty.
fn write<B: BitmapSlice>(slice: &VolatileSlice<B>, source: ByteRange<'_>) -> volatile_memory::Result<()> {
    let guard = slice.ptr_guard_mut();
    // SAFETY: whoever made the slice promised that its memory is there for as long as it, and shared without references to
    // it. The guard keeps it mapped.
    let destination = unsafe { ByteRangeMut::new(guard.as_ptr(), slice.len()) }.map_err(refused)?;
    let copied = copy_mc_bytes(destination, source);
    let written = match &copied {
        Ok(()) => slice.len(),
        Err(CopyMcError::Memory(bad)) => bad.bytes_copied,
        Err(_) => 0,
    };
    if written != 0 {
        slice.bitmap().mark_dirty(0, written);
    }
    copied.map_err(|error| failed(error, slice.len()))
}

fn failed(error: CopyMcError, expected: usize) -> volatile_memory::Error {
    match error {
        CopyMcError::Memory(bad) => {
            volatile_memory::Error::PartialBuffer { expected, completed: bad.bytes_copied }
        }
        error => refused(error),
    }
}

/// A request that can't be met: nothing was copied.
fn refused(error: impl Into<io::Error>) -> volatile_memory::Error {
    volatile_memory::Error::IOError(error.into())
}
