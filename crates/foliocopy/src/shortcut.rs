//! The shortest way from a request to its loop, where the host's policy leaves nothing to be decided but the length.
//!
//! [`CopyOptions::copy_pages_raw`](crate::CopyOptions::copy_pages_raw) and `chunk` do the same with what is not found here, at
//! a cost that a page in the cache shows: 4 KiB in the L1 have 1.81 of `rep movsq` this way, and had 1.54 through what keeps
//! something on the stack.

use core::ffi::c_int;
use core::ptr;

use crate::arch::{self, Direct};
use crate::batch::FolioPair;
use crate::clock::Clock;
use crate::locality::Locality;
use crate::once::Once;
use crate::page::PAGE_SIZE;
use crate::policy::{Choice, Decisions, GLANCE_PREFETCHES, LONG_FROM, LOOK_FROM, Policy};
use crate::primitive::Primitive;

/// What the host's policy comes to.
#[derive(Clone, Copy, Debug)]
struct Shortcuts {
    /// Anything but [`Locality::NonTemporal`] is copied by `page` up to this length, in bytes.
    page_up_to: usize,
    page: Direct,
    first_page: FirstPage,
    glance: Glance,
}

/// What [`by_first_page`] copies, and how; lengths in bytes, times in cycles.
#[derive(Clone, Copy, Debug)]
struct FirstPage {
    up_to: usize,
    in_l1_up_to: u64,
    near_up_to: u64,
    prefetch_up_to: usize,
}

/// What [`by_glance`] copies, and how.
#[derive(Clone, Copy, Debug)]
struct Glance {
    from: usize,
    below: usize,
    near_up_to: u32,
    prefetch_distance: usize,
    /// For what is as long as [`LONG_FROM`].
    long_prefetch_distance: usize,
}

static SHORTCUTS: Once<Shortcuts> = Once::new();

/// The function that copies the pair, if there is one and the pair is what it must be.
#[inline(always)]
pub(crate) fn find(pair: FolioPair, locality: Locality) -> Option<Direct> {
    let Shortcuts { page_up_to, page, first_page, glance } = SHORTCUTS.get()?;
    if pair.nr_pages == 0 || !pair.is_plainly_good() {
        return None;
    }
    let bytes = pair.bytes();
    match locality {
        Locality::NonTemporal => None,
        _ if bytes <= *page_up_to => Some(*page),
        _ if bytes <= first_page.up_to => Some(by_first_page),
        Locality::Auto if glance.from <= bytes && bytes < glance.below => Some(by_glance),
        _ => None,
    }
}

/// Keeps what the host's policy comes to.
pub(crate) fn keep(policy: &Policy) {
    let Decisions { page, page_up_to, .. } = *policy.decisions();
    if let (Some(page), None) = (arch::through_the_cache(page), SHORTCUTS.get()) {
        let first_page = FirstPage::of(policy).unwrap_or(FirstPage::NEVER);
        let glance = Glance::of(policy).unwrap_or(Glance::NEVER);
        SHORTCUTS.keep(Shortcuts { page_up_to, page, first_page, glance });
    }
}

impl FirstPage {
    const NEVER: Self = Self { up_to: 0, in_l1_up_to: 0, near_up_to: u64::MAX, prefetch_up_to: 0 };

    /// Nothing where the policy decides for other primitives than the function has.
    fn of(policy: &Policy) -> Option<Self> {
        let up_to = policy.decisions().in_l1_up_to;
        let Choice { primitive, in_l1, in_memory, prefetch_distance, .. } =
            policy.choose(Locality::Temporal, up_to);
        let ours = (Primitive::RepMovsb, Some(Primitive::Avx512), Some(Primitive::RepMovsb));
        let clock = Clock::of(policy.cpu()).filter(|_| (primitive, in_l1, in_memory) == ours)?;
        let (in_l1_up_to, near_up_to) = clock.page_limits();
        Some(Self { up_to, in_l1_up_to, near_up_to, prefetch_up_to: prefetch_distance as usize })
    }

    #[inline(always)]
    fn kept() -> &'static Self {
        SHORTCUTS.get().map_or(&Self::NEVER, |shortcuts| &shortcuts.first_page)
    }
}

impl Glance {
    const NEVER: Self =
        Self { from: 1, below: 0, near_up_to: u32::MAX, prefetch_distance: 0, long_prefetch_distance: 0 };

    /// Nothing where the policy decides for other primitives than the function has.
    fn of(policy: &Policy) -> Option<Self> {
        let decisions = policy.decisions();
        let longest = |below: usize| policy.choose(Locality::Auto, below - PAGE_SIZE);
        let (middle, long) = (longest(LONG_FROM), longest(LOOK_FROM));
        let ours = (Primitive::RepMovsb, None, Some(Primitive::Avx512Nt));
        let are_ours =
            [middle, long].iter().all(|choice| (choice.primitive, choice.in_l1, choice.in_memory) == ours);
        let clock = Clock::of(policy.cpu()).filter(|_| are_ours)?;
        Some(Self {
            from: decisions.non_temporal_from?.max(decisions.in_l1_up_to + PAGE_SIZE),
            below: LOOK_FROM,
            near_up_to: clock.glance_near_up_to(),
            prefetch_distance: middle.prefetch_distance as usize,
            long_prefetch_distance: long.prefetch_distance as usize,
        })
    }

    #[inline(always)]
    fn kept() -> &'static Self {
        SHORTCUTS.get().map_or(&Self::NEVER, |shortcuts| &shortcuts.glance)
    }
}

/// What `chunk` does by the time of the first page, for the primitives by which Zen 5 does it.
///
/// # Safety
///
/// As [`Direct`], for a length that [`find`] has found this function for.
unsafe extern "C" fn by_first_page(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: the caller's promises; there is a page at least.
    let (dst, src, cycles) = unsafe { arch::avx512_page_timed(dst, src) };
    let (rest, cycles) = (bytes - PAGE_SIZE, u64::from(cycles));
    let FirstPage { in_l1_up_to, near_up_to, prefetch_up_to, .. } = FirstPage::kept();
    // SAFETY: as above, and a CPU that has what its policy has chosen.
    unsafe {
        if cycles <= *in_l1_up_to {
            return arch::avx512(dst, src, rest);
        }
        if cycles > *near_up_to {
            arch::prefetch(src, rest.min(*prefetch_up_to));
        }
        arch::rep_movsb(dst, src, rest)
    }
}

/// What `chunk` does by a glance, for the primitives by which Zen 5 does it.
///
/// # Safety
///
/// As [`Direct`], for a length that [`find`] has found this function for.
unsafe extern "C" fn by_glance(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: the caller's promises; there are two pages at least.
    let cycles = unsafe { arch::glance::<false>(src, bytes, GLANCE_PREFETCHES, ptr::null_mut()) };
    let Glance { near_up_to, prefetch_distance, long_prefetch_distance, .. } = Glance::kept();
    if cycles.is_none_or(|cycles| cycles <= *near_up_to) {
        // SAFETY: the caller's promises.
        return unsafe { arch::rep_movsb(dst, src, bytes) };
    }
    let distance = if bytes < LONG_FROM { prefetch_distance } else { long_prefetch_distance };
    // SAFETY: the caller's promises, and a CPU that has what its policy has chosen.
    unsafe { arch::past_the_cache(dst, src, bytes, *distance, GLANCE_PREFETCHES) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::cpu::{Cpu, Features};
    use crate::page::Page;
    use crate::policy::Registers;

    /// What the functions copy, whatever the first page or a glance tells: with the source in the cache and in memory.
    #[test]
    fn every_length_is_copied_and_nothing_else() {
        let policy = Policy::host().unwrap();
        assert_eq!(SHORTCUTS.get().is_some(), arch::through_the_cache(policy.decisions().page).is_some());
        let source: Vec<Page> = (0..70_u8).map(Page::filled).collect();
        for nr_pages in 1..=68 {
            for locality in Locality::ALL {
                for flush in [false, true] {
                    let mut destination = vec![Page::filled(0xee); 70];
                    let (dst, src) = (&raw mut destination[1], &raw const source[2]);
                    let Some(copy) = find(FolioPair { dst, src, nr_pages }, *locality) else { continue };
                    if flush {
                        // SAFETY: the source, and it starts with a page.
                        unsafe { arch::flush(src.cast(), nr_pages * PAGE_SIZE) };
                    }
                    // SAFETY: as many pages of two vectors.
                    assert_eq!(unsafe { copy(dst.cast(), src.cast(), nr_pages * PAGE_SIZE) }, 0);
                    let (before, rest) = destination.split_at(1);
                    let (copied, after) = rest.split_at(nr_pages);
                    assert!(copied == &source[2..2 + nr_pages], "{nr_pages} pages {locality} {flush}");
                    let untouched = before.iter().chain(after).all(|page| *page == Page::filled(0xee));
                    assert!(untouched, "{nr_pages} pages {locality} {flush}");
                }
            }
        }
    }

    #[test]
    fn bad_pairs_are_left_to_the_long_way() {
        Policy::host().unwrap();
        let mut pages = vec![Page::zeroed(); 4];
        let start = pages.as_mut_ptr();
        let bad = [
            (start, start.cast_const(), 1),
            (start, start.wrapping_add(1).cast_const(), 2),
            (start, start.wrapping_byte_add(64).cast_const(), 1),
            (start.wrapping_byte_add(8), start.wrapping_add(2).cast_const(), 1),
            (ptr::null_mut(), start.cast_const(), 1),
            (start, ptr::null(), 1),
            (start, start.wrapping_add(2).cast_const(), 0),
            (start, start.wrapping_add(2).cast_const(), usize::MAX),
        ];
        for (dst, src, nr_pages) in bad {
            let pair = FolioPair { dst, src, nr_pages };
            assert!(find(pair, Locality::Auto).is_none(), "{pair:?}");
        }
    }

    /// The functions have their primitives built in: for other decisions there is none.
    #[test]
    fn other_decisions_have_no_shortcut() {
        let policy = Policy::new(Cpu::detect(), Registers::Vector);
        let shortest = |policy: &Policy| {
            let glance = Glance::of(policy).map(|glance| glance.from);
            (FirstPage::of(policy).map(|first_page| first_page.up_to), glance)
        };
        let kernel = Policy::new(Cpu::detect(), Registers::GeneralPurpose);
        assert_eq!(shortest(&kernel), (None, None));
        let forced = policy.forcing(Primitive::Movq).unwrap();
        assert_eq!(shortest(&forced), (None, None));
        let no_clock = Policy::new(Cpu::detect().without(Features::TSC), Registers::Vector);
        assert_eq!(shortest(&no_clock), (None, None));
        let decisions = *policy.decisions();
        let another = Decisions { temporal: Primitive::Movq, non_temporal_from: Some(64 << 10), ..decisions };
        assert_eq!(shortest(&policy.deciding(another).unwrap()), (None, None));
        if decisions.in_l1 == Some(Primitive::Avx512) && Clock::of(policy.cpu()).is_some() {
            let later = Decisions { non_temporal_from: Some(64 << 10), ..decisions };
            assert_eq!(shortest(&policy.deciding(later).unwrap()), (Some(16 << 10), Some(64 << 10)));
        }
    }
}
