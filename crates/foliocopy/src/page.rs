//! The page, and checked ranges of pages.

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

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

    /// Views bytes as pages; `None` where they don't start at a page boundary, or are not a whole number of pages.
    pub fn from_bytes(bytes: &[u8]) -> Option<&[Self]> {
        // SAFETY: a page is an array of bytes, and `align_to` returns aligned pages.
        match unsafe { bytes.align_to() } {
            ([], pages, []) => Some(pages),
            _ => None,
        }
    }

    /// Views bytes as writable pages; `None` where they don't start at a page boundary, or are not a whole number of pages.
    pub fn from_bytes_mut(bytes: &mut [u8]) -> Option<&mut [Self]> {
        // SAFETY: a page is an array of bytes, of which every value is valid, and `align_to_mut` returns aligned pages.
        match unsafe { bytes.align_to_mut() } {
            ([], pages, []) => Some(pages),
            _ => None,
        }
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
        let [a, b, c, d, ..] = self.0;
        write!(formatter, "Page([{a:02x}, {b:02x}, {c:02x}, {d:02x}, ..])")
    }
}

/// The place of a range of pages. It promises nothing about the memory there.
///
/// # Invariants
///
/// `start` is aligned to a page, and the range ends within the address space and is at most
/// `isize::MAX` bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: *mut Page,
    nr_pages: usize,
}

impl Span {
    /// The `nr_pages` pages from `start` on.
    #[inline]
    pub(crate) fn new(start: *mut Page, nr_pages: usize) -> Result<Self, CopyError> {
        let address = start.addr();
        if nr_pages != 0 && start.is_null() {
            return Err(CopyError::Null);
        }
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(CopyError::Misaligned { address, alignment: PAGE_SIZE });
        }
        let overflow = CopyError::Overflow { nr_pages };
        let bytes = nr_pages.checked_mul(PAGE_SIZE).filter(|bytes| *bytes <= isize::MAX as usize);
        // A range may end with the last byte of the address space, hence the `- 1`.
        address.checked_add(bytes.ok_or(overflow)?.saturating_sub(1)).ok_or(overflow)?;
        // INVARIANT: alignment and length were checked above.
        Ok(Self { start, nr_pages })
    }

    /// The first page.
    pub(crate) const fn start(self) -> *mut Page {
        self.start
    }

    /// Length in pages.
    #[cfg(feature = "std")]
    pub(crate) const fn nr_pages(self) -> usize {
        self.nr_pages
    }

    /// Length in bytes.
    pub(crate) const fn bytes(self) -> usize {
        self.nr_pages * PAGE_SIZE
    }

    /// The `nr_pages` pages from page `first` on, which are within the range.
    #[cfg(feature = "std")]
    pub(crate) fn part(self, first: usize, nr_pages: usize) -> Self {
        let within = first.checked_add(nr_pages).is_some_and(|end| end <= self.nr_pages);
        assert!(within, "{nr_pages} pages from page {first} of {}", self.nr_pages);
        // INVARIANT: a part of the range.
        Self { start: self.start.wrapping_add(first), nr_pages }
    }

    /// Whether the two ranges have a byte in common.
    #[inline]
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let distance = self.start.addr().abs_diff(other.start.addr());
        let first = if self.start.addr() <= other.start.addr() { self } else { other };
        distance < first.bytes() && self.nr_pages != 0 && other.nr_pages != 0
    }
}

macro_rules! range {
    ($(#[$doc:meta])* $range:ident, $pointer:ty, $memory:ty) => {
        $(#[$doc])*
        #[derive(Debug, PartialEq, Eq)]
        pub struct $range<'a> {
            span: Span,
            memory: PhantomData<$memory>,
        }

        impl $range<'_> {
            const fn of(span: Span) -> Self {
                Self { span, memory: PhantomData }
            }

            #[cfg(feature = "std")]
            pub(crate) const fn span(&self) -> Span {
                self.span
            }

            /// The first page.
            pub const fn as_ptr(&self) -> $pointer {
                self.span.start
            }

            /// Length in pages.
            pub const fn nr_pages(&self) -> usize {
                self.span.nr_pages
            }

            /// Length in bytes.
            pub const fn bytes(&self) -> usize {
                self.span.bytes()
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
    /// Whole pages to read from. They may fault, and others may write them meanwhile: guest memory, a shared mapping, a
    /// poisoned frame. No reference to their contents is ever made.
    ///
    /// # Invariants
    ///
    /// For `'a` the memory is as [`PageRange::new`] says.
    #[derive(Clone, Copy)]
    PageRange, *const Page, &'a [Page]
}

range! {
    /// Whole pages to write to. They may fault, and others may read and write them meanwhile. No reference to their
    /// contents is ever made.
    ///
    /// # Invariants
    ///
    /// For `'a` the memory is as [`PageRangeMut::new`] says.
    PageRangeMut, *mut Page, &'a mut [Page]
}

impl PageRange<'_> {
    /// The `nr_pages` pages from `start` on.
    ///
    /// # Errors
    ///
    /// [`CopyError::Null`] where there are pages and `start` is null. [`CopyError::Misaligned`] where `start` is not the
    /// start of a page. [`CopyError::Overflow`] where the range would be longer than `isize::MAX` bytes or wrap around the
    /// end of the address space.
    ///
    /// # Safety
    ///
    /// As long as the range exists, the pages are mapped readable, except that a read may raise SIGBUS. Other threads,
    /// processes and devices may read and write them meanwhile.
    pub unsafe fn new(start: *const Page, nr_pages: usize) -> Result<Self, CopyError> {
        // INVARIANT: this function's contract is that the memory is mapped readable for `'a`.
        Span::new(start.cast_mut(), nr_pages).map(Self::of)
    }
}

impl PageRangeMut<'_> {
    /// The `nr_pages` pages from `start` on.
    ///
    /// # Errors
    ///
    /// As [`PageRange::new`].
    ///
    /// # Safety
    ///
    /// As long as the range exists, the pages are mapped writable, except that an access may raise SIGBUS, and no Rust
    /// reference to them exists. Other threads, processes and devices may read and write them meanwhile.
    pub unsafe fn new(start: *mut Page, nr_pages: usize) -> Result<Self, CopyError> {
        // INVARIANT: this function's contract is that the memory is mapped writable for `'a`, without a reference to it.
        Span::new(start, nr_pages).map(Self::of)
    }

    /// Borrows the range for a shorter time, so that a copy does not consume it.
    pub const fn reborrow(&mut self) -> PageRangeMut<'_> {
        // INVARIANT: the same memory, for a shorter time.
        PageRangeMut::of(self.span)
    }
}

// INVARIANT, of each conversion below: a slice of pages is mapped for `'a`, aligned, and at most `isize::MAX` bytes long;
// no other reference to a mutable one exists.

impl<'a> From<&'a [Page]> for PageRange<'a> {
    fn from(pages: &'a [Page]) -> Self {
        Self::of(Span { start: pages.as_ptr().cast_mut(), nr_pages: pages.len() })
    }
}

impl<'a> From<&'a mut [Page]> for PageRange<'a> {
    fn from(pages: &'a mut [Page]) -> Self {
        Self::from(&*pages)
    }
}

impl<'a> From<&'a mut [Page]> for PageRangeMut<'a> {
    fn from(pages: &'a mut [Page]) -> Self {
        Self::of(Span { start: pages.as_mut_ptr(), nr_pages: pages.len() })
    }
}

impl<'a> From<&'a mut [MaybeUninit<Page>]> for PageRangeMut<'a> {
    fn from(pages: &'a mut [MaybeUninit<Page>]) -> Self {
        Self::of(Span { start: pages.as_mut_ptr().cast(), nr_pages: pages.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(address: usize, nr_pages: usize) -> Result<Span, CopyError> {
        Span::new(core::ptr::without_provenance_mut(address), nr_pages)
    }

    #[test]
    fn a_range_starts_at_a_page() {
        assert_eq!(span(4096 + 64, 1), Err(CopyError::Misaligned { address: 4160, alignment: 4096 }));
        assert_eq!(span(0, 1), Err(CopyError::Null));
    }

    #[test]
    fn a_range_ends_within_the_address_space() {
        let last = usize::MAX - PAGE_SIZE + 1;
        assert!(span(last, 1).is_ok());
        assert_eq!(span(last, 2), Err(CopyError::Overflow { nr_pages: 2 }));
        assert_eq!(span(PAGE_SIZE, usize::MAX), Err(CopyError::Overflow { nr_pages: usize::MAX }));
        let longest = isize::MAX as usize / PAGE_SIZE;
        assert!(span(PAGE_SIZE, longest).is_ok());
        assert_eq!(span(PAGE_SIZE, longest + 1), Err(CopyError::Overflow { nr_pages: longest + 1 }));
    }

    #[test]
    fn overlap_is_symmetric_and_exact() {
        let overlaps = |a: usize, n: usize, b: usize, m: usize| {
            let (a, b) = (span(a * PAGE_SIZE, n).unwrap(), span(b * PAGE_SIZE, m).unwrap());
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

    #[test]
    fn bytes_are_pages_where_they_are_aligned() {
        let mut pages = [Page::filled(1), Page::filled(2)];
        let (_, bytes, _) = {
            // SAFETY: a page is an array of bytes.
            unsafe { pages.align_to_mut::<u8>() }
        };
        assert_eq!(Page::from_bytes(bytes).map(<[_]>::len), Some(2));
        assert_eq!(Page::from_bytes(&bytes[..PAGE_SIZE]).map(<[_]>::len), Some(1));
        assert_eq!(Page::from_bytes(&bytes[..0]).map(<[_]>::len), Some(0));
        assert_eq!(Page::from_bytes(&bytes[1..]), None);
        assert_eq!(Page::from_bytes(&bytes[..PAGE_SIZE + 1]), None);
        Page::from_bytes_mut(bytes).unwrap()[1] = Page::filled(3);
        assert!(pages[1] == Page::filled(3));
    }
}
