//! A destination and a source of one length.

use crate::error::CopyError;
use crate::page::{PAGE_SHIFT, PAGE_SIZE, Page, Span};

/// One pair of ranges in a batch: a folio, or any other run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FolioPair {
    /// The destination, aligned to a page.
    pub dst: *mut Page,
    /// The source, aligned to a page.
    pub src: *const Page,
    /// The number of pages.
    pub nr_pages: usize,
}

// SAFETY: a pair is two addresses and a number. It promises nothing about the memory there; copies of it are `unsafe`.
unsafe impl Send for FolioPair {}
// SAFETY: a shared pair can only be read: two addresses and a number.
unsafe impl Sync for FolioPair {}

impl FolioPair {
    #[inline]
    pub(crate) const fn bytes(&self) -> usize {
        self.nr_pages * PAGE_SIZE
    }

    /// Whether it can be copied at once: it is valid, not empty, and at most a chunk. Unusual pairs are left to
    /// [`FolioPair::spans`].
    ///
    /// One branch for each condition: [`FolioPair::flaws`] needs more registers than a function may use without saving some.
    #[cfg(not(foliocopy_kernel))]
    #[inline(always)]
    pub(crate) fn is_one_chunk(&self, chunk_bytes: usize) -> bool {
        const LONGEST: usize = 1 << 30;
        const SIGN: usize = !(usize::MAX >> 1);
        let (dst, src) = (self.dst.addr(), self.src.addr());
        let most = if chunk_bytes < LONGEST { chunk_bytes } else { LONGEST } / PAGE_SIZE;
        // Less one, 0 pages are very many, and null is in the upper half of the address space.
        self.nr_pages.wrapping_sub(1) < most
            && (dst | src).is_multiple_of(PAGE_SIZE)
            && (dst.wrapping_sub(1) | src.wrapping_sub(1)) & SIGN == 0
            && dst.wrapping_add(self.bytes() - 1).wrapping_sub(src) >= 2 * self.bytes() - 1
    }

    /// The flaws of the pair, as bits. It has none if both ranges are shorter than 4 GiB, lie in the lower half of the address
    /// space and not at its start, begin at page boundaries, and do not overlap. The bits of a batch are gathered and tested
    /// once.
    #[inline(always)]
    pub(crate) fn flaws(&self) -> usize {
        const SIGN: usize = !(usize::MAX >> 1);
        let (dst, src) = (self.dst.addr(), self.src.addr());
        let bytes = self.nr_pages << PAGE_SHIFT;
        let low_or_high = dst | src | dst.wrapping_sub(1) | src.wrapping_sub(1);
        // The destination ends behind the start of the source, and starts before its end. In the lower half both are signs of
        // distances; an absolute value would take a comparison.
        let (ends_behind, starts_before) = (
            !(dst.wrapping_sub(1).wrapping_sub(src).wrapping_add(bytes)),
            dst.wrapping_sub(src).wrapping_sub(bytes),
        );
        ((low_or_high | (ends_behind & starts_before)) & SIGN)
            | ((dst | src) % PAGE_SIZE)
            | (self.nr_pages >> (32 - PAGE_SHIFT))
    }

    /// Returns destination and source, checked.
    pub(crate) fn spans(&self) -> Result<(Span, Span), CopyError> {
        let dst = Span::new(self.dst, self.nr_pages)?;
        let src = Span::new(self.src.cast_mut(), self.nr_pages)?;
        if dst.overlaps(src) { Err(CopyError::Overlap) } else { Ok((dst, src)) }
    }
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;

    /// A pair without flaws is valid. A pair with flaws is invalid or unusual.
    #[test]
    fn flaws_are_what_the_thorough_check_refuses() {
        const HIGH: usize = !(usize::MAX >> 1);
        let page = |number: usize| number * PAGE_SIZE;
        let at = |dst: usize, src: usize, nr_pages| FolioPair {
            dst: ptr::without_provenance_mut(dst),
            src: ptr::without_provenance(src),
            nr_pages,
        };
        let addresses = [0, 1, page(1), page(2), page(3) + 64, page(5), page(1000), HIGH - PAGE_SIZE];
        for (dst, src) in addresses.iter().flat_map(|dst| addresses.map(|src| (*dst, src))) {
            for nr_pages in [0, 1, 2, 3, 4, 5, 900, 1000, (1 << 20) - 1] {
                let pair = at(dst, src, nr_pages);
                let refused = pair.spans().is_err() || pair.dst.is_null() || pair.src.is_null();
                assert_eq!(pair.flaws() != 0, refused, "{pair:?}");
                for most in [0, 1, 3, 4, 1 << 18] {
                    let fits = !refused && nr_pages != 0 && nr_pages <= most;
                    assert_eq!(pair.is_one_chunk(page(most)), fits, "{pair:?} {most}");
                }
            }
        }
        for unusual in [at(HIGH, page(1), 1), at(page(1), HIGH, 1), at(page(1 << 21), page(1), 1 << 20)] {
            assert!(unusual.flaws() != 0, "{unusual:?}");
        }
        for nr_pages in [1 << 18, (1 << 18) + 1, usize::MAX >> PAGE_SHIFT, usize::MAX] {
            let pair = at(page(1), page(1 << 30), nr_pages);
            assert_eq!(pair.is_one_chunk(usize::MAX), nr_pages == 1 << 18, "{pair:?}");
        }
        assert!(!at(HIGH + PAGE_SIZE, page(1), 1).is_one_chunk(usize::MAX));
        assert!(!at(page(1), usize::MAX - PAGE_SIZE + 1, 1).is_one_chunk(usize::MAX));
    }
}
