//! The page, and checked ranges of pages.

use core::fmt;
use core::mem::MaybeUninit;
#[cfg(feature = "std")]
use core::ptr;

use crate::error::CopyError;

/// The logarithm of [`PAGE_SIZE`], as the kernel names it.
pub const PAGE_SHIFT: u32 = 12;

/// Bytes in a page: 4096, the base page of x86-64 and the unit in which this crate counts.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// One page of memory: 4096 bytes, aligned to 4096 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct Page([u8; PAGE_SIZE]);

impl Page {
    /// A page of zeros.
    pub const fn zeroed() -> Self {
        Self::filled(0)
    }

    /// A page in which every byte is `byte`.
    pub const fn filled(byte: u8) -> Self {
        Self([byte; PAGE_SIZE])
    }

    /// The bytes of the page.
    pub const fn as_bytes(&self) -> &[u8; PAGE_SIZE] {
        &self.0
    }

    /// The bytes of the page, to be written.
    pub const fn as_bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        &mut self.0
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: [u8; 8] = self.0[..8].try_into().expect("a page has more than eight bytes");
        write!(formatter, "Page({shown:02x?}..)")
    }
}

/// A range of whole pages that may fault, and that others may read and write: guest memory, a shared
/// mapping, a frame that has been poisoned. No reference to its contents is ever made.
///
/// # Invariants
///
/// `start` is aligned to a page, and the range ends within the address space and is at most
/// `isize::MAX` bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    start: *mut Page,
    nr_pages: usize,
}

impl PageRange {
    /// The `nr_pages` pages from `start` on.
    ///
    /// # Errors
    ///
    /// [`CopyError::Misaligned`] where `start` is not the start of a page,
    /// [`CopyError::Overflow`] where the range would be longer than `isize::MAX` bytes or wrap around
    /// the end of the address space.
    #[inline]
    pub fn new(start: *mut Page, nr_pages: usize) -> Result<Self, CopyError> {
        let address = start.addr();
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(CopyError::Misaligned { address, alignment: PAGE_SIZE });
        }
        let overflow = CopyError::Overflow { nr_pages };
        let bytes = nr_pages.checked_mul(PAGE_SIZE).filter(|bytes| *bytes <= isize::MAX as usize);
        // A range may end with the last byte there is, hence the `- 1`.
        address.checked_add(bytes.ok_or(overflow)?.saturating_sub(1)).ok_or(overflow)?;
        // INVARIANT: alignment and length were checked above.
        Ok(Self { start, nr_pages })
    }

    /// The first page.
    pub const fn start(self) -> *mut Page {
        self.start
    }

    /// Length in pages.
    pub const fn nr_pages(self) -> usize {
        self.nr_pages
    }

    /// Length in bytes.
    pub const fn bytes(self) -> usize {
        self.nr_pages * PAGE_SIZE
    }

    /// A page that is only read.
    #[cfg(feature = "std")]
    pub(crate) const fn of(page: &'static Page) -> Self {
        // INVARIANT: a page that exists.
        Self { start: ptr::from_ref(page).cast_mut(), nr_pages: 1 }
    }

    /// What remains from page `first` on, which is at most the length.
    #[cfg(feature = "std")]
    pub(crate) fn skip(self, first: usize) -> Self {
        assert!(first <= self.nr_pages, "page {first} of {}", self.nr_pages);
        // INVARIANT: a part of the range.
        Self { start: self.start.wrapping_add(first), nr_pages: self.nr_pages - first }
    }

    /// The `nr_pages` pages from page `first` on, which are within the range.
    #[cfg(feature = "std")]
    pub(crate) fn part(self, first: usize, nr_pages: usize) -> Self {
        let rest = self.skip(first);
        assert!(nr_pages <= rest.nr_pages, "{nr_pages} pages of {}", rest.nr_pages);
        // INVARIANT: a part of the range.
        Self { nr_pages, ..rest }
    }

    /// Whether the two ranges have a byte in common.
    #[inline]
    pub fn overlaps(self, other: Self) -> bool {
        let distance = self.start.addr().abs_diff(other.start.addr());
        let first = if self.start.addr() <= other.start.addr() { self } else { other };
        distance < first.bytes() && self.nr_pages != 0 && other.nr_pages != 0
    }
}

impl From<&mut [Page]> for PageRange {
    fn from(pages: &mut [Page]) -> Self {
        // INVARIANT: Rust's own rules for slices are stricter than ours.
        Self { start: pages.as_mut_ptr(), nr_pages: pages.len() }
    }
}

impl From<&mut [MaybeUninit<Page>]> for PageRange {
    fn from(pages: &mut [MaybeUninit<Page>]) -> Self {
        // INVARIANT: Rust's own rules for slices are stricter than ours.
        Self { start: pages.as_mut_ptr().cast(), nr_pages: pages.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(address: usize, nr_pages: usize) -> Result<PageRange, CopyError> {
        PageRange::new(core::ptr::without_provenance_mut(address), nr_pages)
    }

    #[test]
    fn a_range_starts_at_a_page() {
        assert_eq!(range(4096 + 64, 1), Err(CopyError::Misaligned { address: 4160, alignment: 4096 }));
    }

    #[test]
    fn a_range_ends_within_the_address_space() {
        let last = usize::MAX - PAGE_SIZE + 1;
        assert!(range(last, 1).is_ok());
        assert_eq!(range(last, 2), Err(CopyError::Overflow { nr_pages: 2 }));
        assert_eq!(range(0, usize::MAX), Err(CopyError::Overflow { nr_pages: usize::MAX }));
        let longest = isize::MAX as usize / PAGE_SIZE;
        assert!(range(0, longest).is_ok());
        assert_eq!(range(0, longest + 1), Err(CopyError::Overflow { nr_pages: longest + 1 }));
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        let overlaps = |a: usize, n: usize, b: usize, m: usize| {
            let (a, b) = (range(a * PAGE_SIZE, n).unwrap(), range(b * PAGE_SIZE, m).unwrap());
            assert_eq!(a.overlaps(b), b.overlaps(a));
            a.overlaps(b)
        };
        assert!(overlaps(1, 1, 1, 1));
        assert!(overlaps(1, 4, 2, 1));
        assert!(overlaps(1, 2, 2, 9));
        assert!(!overlaps(1, 1, 2, 1));
        assert!(!overlaps(1, 4, 5, 4));
        assert!(!overlaps(1, 0, 1, 1));
        assert!(!overlaps(2, 0, 1, 9));
    }
}
