//! Checked ranges of bytes: memory of any address and length that may fault.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use crate::error::CopyError;
use crate::page::{PageRange, PageRangeMut};

/// The end of the lower half of the address space, at the smallest usual number of address bits.
const LOWER_HALF: usize = 1 << 47;

/// Whether a range of some length starts and ends in the lower half, and not at null. Nearly every range does.
#[inline(always)]
fn is_plain(address: usize, bytes: usize) -> bool {
    address.wrapping_sub(1) < LOWER_HALF.saturating_sub(bytes)
}

/// Checks a range.
fn check(address: usize, bytes: usize) -> Result<(), CopyError> {
    if bytes == 0 || is_plain(address, bytes) {
        return Ok(());
    }
    if address == 0 {
        return Err(CopyError::Null);
    }
    match address.checked_add(bytes - 1) {
        Some(last) if bytes <= isize::MAX as usize => match last < end_of_process() {
            true => Ok(()),
            false => Err(CopyError::NotCanonical { address }),
        },
        _ => Err(CopyError::ByteOverflow { bytes }),
    }
}

/// Checks a destination and a source of one length, which is not 0.
#[inline(always)]
pub(crate) fn check_pair(dst: usize, src: usize, bytes: usize) -> Result<(), CopyError> {
    let apart = dst.wrapping_sub(src) >= bytes && src.wrapping_sub(dst) >= bytes;
    if apart && is_plain(dst, bytes) && is_plain(src, bytes) {
        return Ok(());
    }
    /// The rest of the check, for unusual ranges.
    #[cold]
    fn check_closely(dst: usize, src: usize, bytes: usize, apart: bool) -> Result<(), CopyError> {
        check(dst, bytes)?;
        check(src, bytes)?;
        if apart { Ok(()) } else { Err(CopyError::Overlap) }
    }
    check_closely(dst, src, bytes, apart)
}

/// The first address that no process can have.
///
/// A kernel with 5-level paging gives addresses above 47 bits only to a caller that names one
/// (`Documentation/arch/x86/x86_64/5level-paging.rst`).
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
fn end_of_process() -> usize {
    use core::ptr;
    use std::sync::OnceLock;

    static END: OnceLock<usize> = OnceLock::new();
    *END.get_or_init(|| {
        let (above, bytes) = (ptr::without_provenance_mut(LOWER_HALF << 1), 1);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a mapping at a place of the kernel's choice, which nobody uses before it is gone.
        let place = unsafe {
            let place = libc::mmap(above, bytes, libc::PROT_NONE, flags, -1, 0);
            if place != libc::MAP_FAILED {
                libc::munmap(place, bytes);
            }
            place
        };
        if place != libc::MAP_FAILED && place.addr() >= LOWER_HALF { 1 << 56 } else { LOWER_HALF }
    })
}

/// Elsewhere nothing is known of addresses.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(miri))))]
fn end_of_process() -> usize {
    usize::MAX
}

macro_rules! range {
    ($(#[$doc:meta])* $range:ident, $pointer:ty, $memory:ty) => {
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq)]
        pub struct $range<'a> {
            start: $pointer,
            bytes: usize,
            memory: PhantomData<$memory>,
        }

        impl $range<'_> {
            /// The first byte.
            pub const fn as_ptr(&self) -> $pointer {
                self.start
            }

            /// Length in bytes.
            pub const fn bytes(&self) -> usize {
                self.bytes
            }

            /// The `bytes` bytes from byte `offset` on; `None` where the range ends before.
            pub fn part(self, offset: usize, bytes: usize) -> Option<Self> {
                let within = offset.checked_add(bytes)? <= self.bytes;
                // INVARIANT: a part of the range.
                within.then(|| Self { start: self.start.wrapping_add(offset), bytes, memory: PhantomData })
            }
        }

        // SAFETY: the range is what a reference to a slice is, less the promise that the memory doesn't change; the
        // constructors make sure that it may be used from any thread.
        unsafe impl Send for $range<'_> {}
        // SAFETY: a shared range only tells its place. A shared source can also be copied from, which changes nothing.
        unsafe impl Sync for $range<'_> {}
    };
}

range! {
    /// Bytes to read from. They may fault, and others may write them meanwhile: a mapped file, guest memory. No reference to
    /// them is ever made.
    ///
    /// # Invariants
    ///
    /// For `'a` the memory is as [`ByteRange::new`] says.
    #[derive(Clone, Copy)]
    ByteRange, *const u8, &'a [u8]
}

range! {
    /// Bytes to write to. They may fault, and others may read and write them meanwhile. No reference to them is ever made.
    ///
    /// # Invariants
    ///
    /// For `'a` the memory is as [`ByteRangeMut::new`] says.
    ByteRangeMut, *mut u8, &'a mut [u8]
}

impl ByteRange<'_> {
    /// The `bytes` bytes from `start` on.
    ///
    /// # Errors
    ///
    /// [`CopyError::Null`] where there are bytes and `start` is null. [`CopyError::ByteOverflow`] where the range would be
    /// longer than `isize::MAX` bytes or wrap around the end of the address space. [`CopyError::NotCanonical`] where it reaches
    /// an address that no process can have.
    ///
    /// # Safety
    ///
    /// As long as the range exists, the bytes are mapped readable, except that a read may raise SIGBUS. Other threads,
    /// processes and devices may read and write them meanwhile.
    pub unsafe fn new(start: *const u8, bytes: usize) -> Result<Self, CopyError> {
        check(start.addr(), bytes)?;
        // INVARIANT: this function's contract is that the memory is mapped readable for `'a`.
        Ok(Self { start, bytes, memory: PhantomData })
    }
}

impl ByteRangeMut<'_> {
    /// The `bytes` bytes from `start` on.
    ///
    /// # Errors
    ///
    /// As [`ByteRange::new`].
    ///
    /// # Safety
    ///
    /// As long as the range exists, the bytes are mapped writable, except that an access may raise SIGBUS, and no Rust
    /// reference to them exists. Other threads, processes and devices may read and write them meanwhile.
    pub unsafe fn new(start: *mut u8, bytes: usize) -> Result<Self, CopyError> {
        check(start.addr(), bytes)?;
        // INVARIANT: this function's contract is that the memory is mapped writable for `'a`, without a reference to it.
        Ok(Self { start, bytes, memory: PhantomData })
    }

    /// Borrows the range for a shorter time, so that a copy does not consume it.
    pub const fn reborrow(&mut self) -> ByteRangeMut<'_> {
        // INVARIANT: the same memory, for a shorter time.
        ByteRangeMut { start: self.start, bytes: self.bytes, memory: PhantomData }
    }
}

// INVARIANT, of each conversion below: a slice and a range of pages are mapped for `'a`, and at most `isize::MAX` bytes long; no
// other reference to a mutable one exists.

impl<'a> From<&'a [u8]> for ByteRange<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { start: bytes.as_ptr(), bytes: bytes.len(), memory: PhantomData }
    }
}

impl<'a> From<&'a mut [u8]> for ByteRangeMut<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self { start: bytes.as_mut_ptr(), bytes: bytes.len(), memory: PhantomData }
    }
}

impl<'a> From<&'a mut [MaybeUninit<u8>]> for ByteRangeMut<'a> {
    fn from(bytes: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { start: bytes.as_mut_ptr().cast(), bytes: bytes.len(), memory: PhantomData }
    }
}

impl<'a> From<PageRange<'a>> for ByteRange<'a> {
    fn from(pages: PageRange<'a>) -> Self {
        Self { start: pages.as_ptr().cast(), bytes: pages.bytes(), memory: PhantomData }
    }
}

impl<'a> From<PageRangeMut<'a>> for ByteRangeMut<'a> {
    fn from(pages: PageRangeMut<'a>) -> Self {
        Self { start: pages.as_ptr().cast(), bytes: pages.bytes(), memory: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_in_a_process() {
        assert_eq!(check(0, 0), Ok(()));
        assert_eq!(check(usize::MAX, 0), Ok(()));
        assert_eq!(check(0, 1), Err(CopyError::Null));
        assert_eq!(check(1, 1), Ok(()));
        assert_eq!(check(1, LOWER_HALF - 1), Ok(()));
        assert_eq!(check(2, usize::MAX), Err(CopyError::ByteOverflow { bytes: usize::MAX }));
        let longest = isize::MAX as usize;
        assert_eq!(check(1, longest + 1), Err(CopyError::ByteOverflow { bytes: longest + 1 }));
        assert_eq!(check(usize::MAX, 2), Err(CopyError::ByteOverflow { bytes: 2 }));
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
    #[test]
    fn no_process_has_an_address_that_is_not_canonical() {
        let end = end_of_process();
        assert!([1 << 47, 1 << 56].contains(&end), "{end:#x}");
        assert_eq!(check(end - 1, 1), Ok(()));
        for (address, bytes) in [(end, 1), (end - 1, 2), (1 << 63, 8), (usize::MAX, 1), (1, end)] {
            assert_eq!(check(address, bytes), Err(CopyError::NotCanonical { address }), "{address:#x}");
        }
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        for (a, b, bytes, overlaps) in
            [(10, 14, 4, false), (10, 13, 4, true), (10, 10, 1, true), (1, 2, 1, false)]
        {
            let expected = if overlaps { Err(CopyError::Overlap) } else { Ok(()) };
            assert_eq!(check_pair(a, b, bytes), expected);
            assert_eq!(check_pair(b, a, bytes), expected);
        }
        assert_eq!(check_pair(0, 10, 1), Err(CopyError::Null));
        assert_eq!(check_pair(10, usize::MAX, 9), Err(CopyError::ByteOverflow { bytes: 9 }));
    }
}
