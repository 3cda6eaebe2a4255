//! A destination and a source of one length.

use crate::error::CopyError;
use crate::page::{PAGE_SHIFT, PAGE_SIZE, Page, Span};

/// One pair of ranges in a batch: a folio, or any other run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FolioPair {
    /// Where to copy to, aligned to a page.
    pub dst: *mut Page,
    /// Where to copy from, aligned to a page.
    pub src: *const Page,
    /// How many pages.
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

    /// Whether the pair is valid, by a test without a branch. It also refuses what is rare: see `flaws`.
    #[cfg(not(foliocopy_kernel))]
    #[inline(always)]
    pub(crate) fn is_valid(&self) -> bool {
        self.flaws() == 0
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
        // The destination ends behind the start of the source, and starts before its end: two signs of distances, of
        // lower halves, where an absolute value has to compare.
        let (ends_behind, starts_before) = (
            !(dst.wrapping_sub(1).wrapping_sub(src).wrapping_add(bytes)),
            dst.wrapping_sub(src).wrapping_sub(bytes),
        );
        ((low_or_high | (ends_behind & starts_before)) & SIGN)
            | ((dst | src) % PAGE_SIZE)
            | (self.nr_pages >> (32 - PAGE_SHIFT))
    }

    /// Destination and source, checked.
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

    /// Without a branch or with them: what has no flaws is what it must be, and nothing else but what is out of the ordinary.
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
            }
        }
        for unusual in [at(HIGH, page(1), 1), at(page(1), HIGH, 1), at(page(1 << 21), page(1), 1 << 20)] {
            assert!(unusual.flaws() != 0, "{unusual:?}");
        }
    }
}
