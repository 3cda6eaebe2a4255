//! The shortest way from a request to its loop, where the host's policy leaves nothing to be decided but the length.
//!
//! [`CopyOptions::copy_pages_raw`](crate::CopyOptions::copy_pages_raw) and `chunk` do the same with what is not found here, at
//! a cost that a page in the cache shows: 4 KiB in the L1 have 1.81 of `rep movsq` this way, and had 1.54 through what keeps
//! something on the stack.

use core::ffi::c_int;
use core::ptr;

use crate::arch::{self, Direct};
use crate::batch::FolioPair;
use crate::chunk;
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
    first_page: Option<FirstPage>,
    glance: Option<Glance>,
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
    near: Direct,
    in_memory: Primitive,
    prefetch_distance: u32,
    /// For what is as long as [`LONG_FROM`].
    long_prefetch_distance: u32,
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
        _ if first_page.is_some_and(|first_page| bytes <= first_page.up_to) => Some(by_first_page),
        Locality::Auto if glance.is_some_and(|glance| glance.from <= bytes && bytes < glance.below) => {
            Some(by_glance)
        }
        _ => None,
    }
}

/// The same by a policy that is not the host's, where nothing but the length decides.
#[inline(always)]
pub(crate) fn find_by(policy: &Policy, pair: FolioPair, locality: Locality) -> Option<Direct> {
    let Decisions { page, page_up_to, .. } = policy.decisions();
    if pair.nr_pages == 0 || !pair.is_plainly_good() {
        return None;
    }
    let is_page = pair.bytes() <= *page_up_to && locality != Locality::NonTemporal;
    if is_page { arch::through_the_cache(*page) } else { None }
}

/// Keeps what the host's policy comes to, unless it is kept, or another thread calibrates the clock just now: whoever takes the
/// long way next tries again.
pub(crate) fn keep(host: &Policy) {
    if SHORTCUTS.get().is_some() {
        return;
    }
    let Decisions { page, page_up_to, .. } = *host.decisions();
    if let (true, Some(page)) = (Clock::is_settled(host.cpu()), arch::through_the_cache(page)) {
        let (first_page, glance) = (FirstPage::of(host), Glance::of(host));
        SHORTCUTS.keep(Shortcuts { page_up_to, page, first_page, glance });
    }
}

impl FirstPage {
    /// Nothing where the policy decides for other primitives than the function has.
    fn of(policy: &Policy) -> Option<Self> {
        let up_to = policy.decisions().in_l1_up_to;
        let Choice { primitive, in_l1, in_memory, prefetch_distance, .. } =
            policy.choose(Locality::Temporal, up_to);
        let ours = (Primitive::RepMovsb, Some(Primitive::Avx512), Some(Primitive::RepMovsb));
        let clock = Clock::of(policy.cpu())?;
        if (primitive, in_l1, in_memory) != ours {
            return None;
        }
        let (in_l1_up_to, near_up_to) = clock.page_limits();
        Some(Self { up_to, in_l1_up_to, near_up_to, prefetch_up_to: prefetch_distance as usize })
    }
}

impl Glance {
    /// Nothing where the policy decides otherwise, or by what no function is a loop of.
    fn of(policy: &Policy) -> Option<Self> {
        let decisions = policy.decisions();
        let longest = |below: usize| policy.choose(Locality::Auto, below - PAGE_SIZE);
        let (middle, long) = (longest(LONG_FROM), longest(LOOK_FROM));
        let primitives = |choice: Choice| (choice.primitive, choice.in_l1, choice.in_memory);
        let clock = Clock::of(policy.cpu())?;
        let (near, None, Some(in_memory)) = primitives(middle) else { return None };
        if primitives(long) != primitives(middle) {
            return None;
        }
        Some(Self {
            from: decisions.non_temporal_from?.max(decisions.in_l1_up_to + PAGE_SIZE),
            below: LOOK_FROM,
            near_up_to: clock.glance_near_up_to(),
            near: arch::through_the_cache(near)?,
            in_memory,
            prefetch_distance: middle.prefetch_distance,
            long_prefetch_distance: long.prefetch_distance,
        })
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
    let first_page = SHORTCUTS.get().and_then(|shortcuts| shortcuts.first_page.as_ref());
    // SAFETY: as above, and a CPU that has what its policy has chosen.
    unsafe {
        match first_page {
            Some(first_page) if cycles <= first_page.in_l1_up_to => return arch::avx512(dst, src, rest),
            Some(first_page) if cycles > first_page.near_up_to => {
                arch::prefetch(src, rest.min(first_page.prefetch_up_to));
            }
            // Nobody comes here before there is one.
            Some(_) | None => (),
        }
        arch::rep_movsb(dst, src, rest)
    }
}

/// What `chunk` does by a glance, with nothing of it on the stack before the loop of what is near.
///
/// # Safety
///
/// As [`Direct`], for a length that [`find`] has found this function for.
unsafe extern "C" fn by_glance(dst: *mut u8, src: *const u8, bytes: usize) -> c_int {
    // SAFETY: the caller's promises; there are two pages at least.
    let cycles = unsafe { arch::glance::<false>(src, bytes, GLANCE_PREFETCHES, ptr::null_mut()) };
    match SHORTCUTS.get().and_then(|shortcuts| shortcuts.glance.as_ref()) {
        Some(glance) if cycles.is_some_and(|cycles| cycles > glance.near_up_to) => {
            // SAFETY: the caller's promises.
            unsafe { past_the_cache(dst, src, bytes, glance) }
        }
        // SAFETY: the caller's promises, and a CPU that has what its policy has chosen.
        Some(glance) => unsafe { (glance.near)(dst, src, bytes) },
        // SAFETY: the caller's promises; nobody comes here before there are shortcuts.
        None => unsafe { arch::rep_movsb(dst, src, bytes) },
    }
}

/// # Safety
///
/// As [`by_glance`], which has prefetched.
#[inline(never)]
unsafe extern "C" fn past_the_cache(dst: *mut u8, src: *const u8, bytes: usize, glance: &Glance) -> c_int {
    let Glance { in_memory, prefetch_distance, long_prefetch_distance, .. } = *glance;
    let distance = if bytes < LONG_FROM { prefetch_distance } else { long_prefetch_distance };
    // SAFETY: the caller's promises, and a CPU that has what its policy has chosen. Without machine-check safety there is no
    // fault to hear of.
    let _ =
        unsafe { chunk::past_the_cache::<false>(in_memory, dst, src, bytes, distance, GLANCE_PREFETCHES) };
    0
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;
    use std::{format, vec};

    use super::*;
    use crate::cpu::{Cpu, Features};
    use crate::page::Page;
    use crate::policy::Registers;

    /// The host's policy, once its shortcuts are kept: other tests may be calibrating the clock.
    fn settled_host() -> Policy {
        let host = Policy::host().unwrap();
        while SHORTCUTS.get().is_none() {
            keep(&host);
            std::thread::yield_now();
        }
        host
    }

    /// What the functions copy, whatever the first page or a glance tells: with the source in the cache and in memory.
    #[test]
    fn every_length_is_copied_and_nothing_else() {
        let host = settled_host();
        let kept = SHORTCUTS.get().unwrap();
        assert_eq!(kept.first_page.is_some(), FirstPage::of(&host).is_some());
        assert_eq!(kept.glance.is_some(), Glance::of(&host).is_some());
        let source: Vec<Page> = (0..70_u8).map(Page::filled).collect();
        let untouched = Page::filled(0xee);
        let mut destination = vec![untouched; 70];
        for nr_pages in 1..=68 {
            // Again and again, so that a first page may be in the L1.
            let repeats = if nr_pages <= 4 { 50 } else { 2 };
            let ways = Locality::ALL.iter().flat_map(|one| [(*one, false), (*one, true)]);
            for (locality, flush) in ways.flat_map(|way| [way].repeat(repeats)) {
                destination.fill(untouched);
                let (dst, src) = (&raw mut destination[1], &raw const source[2]);
                let Some(copy) = find(FolioPair { dst, src, nr_pages }, locality) else { continue };
                if flush {
                    // SAFETY: the source, and it starts with a page.
                    unsafe { arch::flush(src.cast(), nr_pages * PAGE_SIZE) };
                }
                // SAFETY: as many pages of two vectors.
                assert_eq!(unsafe { copy(dst.cast(), src.cast(), nr_pages * PAGE_SIZE) }, 0);
                let context = format!("{nr_pages} pages {locality} {flush}");
                assert!(destination[1..=nr_pages] == source[2..2 + nr_pages], "{context}");
                let beside = destination[..1].iter().chain(&destination[1 + nr_pages..]);
                assert!(beside.clone().all(|page| *page == untouched), "{context}");
            }
        }
    }

    #[test]
    fn a_page_is_copied_as_any_policy_says() {
        let source: Vec<Page> = (0..4_u8).map(Page::filled).collect();
        let mut destination = vec![Page::filled(0xee); 4];
        for registers in [Registers::GeneralPurpose, Registers::Vector] {
            let policy = Policy::new(Cpu::detect(), registers);
            let longest = policy.decisions().page_up_to / PAGE_SIZE;
            let mut find = |policy: &Policy, nr_pages, locality| {
                let (dst, src) = (&raw mut destination[0], &raw const source[1]);
                find_by(policy, FolioPair { dst, src, nr_pages }, locality)
            };
            let page = find(&policy, 1, Locality::Auto).expect("every page has a loop");
            assert_eq!(find(&policy, 1, Locality::Temporal).map(|copy| copy as usize), Some(page as usize));
            assert!(find(&policy, 1, Locality::NonTemporal).is_none());
            assert!(find(&policy, 0, Locality::Auto).is_none());
            assert!(find(&policy, longest, Locality::Auto).is_some());
            assert!(
                find(&policy, longest + 1, Locality::Auto).is_none(),
                "the length is not all there is to it"
            );
            let forced = policy.forcing(Primitive::Movq).unwrap();
            assert!(find(&forced, 1, Locality::Auto).is_none());
            destination.fill(Page::filled(0xee));
            let (dst, src) = ((&raw mut destination[0]).cast(), (&raw const source[1]).cast());
            // SAFETY: a page of two vectors.
            assert_eq!(unsafe { page(dst, src, PAGE_SIZE) }, 0);
            assert!(destination[0] == source[1] && destination[1] == Page::filled(0xee));
        }
    }

    #[test]
    fn bad_pairs_are_left_to_the_long_way() {
        settled_host();
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
            let kernel = Policy::new(Cpu::detect(), Registers::GeneralPurpose);
            assert!(find_by(&kernel, pair, Locality::Auto).is_none(), "{pair:?}");
        }
    }

    /// One function has its primitives built in, and the other leaves what has no loop of its own.
    #[test]
    fn the_policy_says_from_which_length_on_there_is_a_shortcut() {
        settled_host();
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
        let glances = Clock::of(policy.cpu()).map(|_| 64 << 10);
        assert_eq!(shortest(&policy.deciding(another).unwrap()), (None, glances));
        let unknown = Decisions { temporal: Primitive::Movnti, ..another };
        assert_eq!(shortest(&policy.deciding(unknown).unwrap()), (None, None));
        if decisions.in_l1 == Some(Primitive::Avx512) && Clock::of(policy.cpu()).is_some() {
            let later = Decisions { non_temporal_from: Some(96 << 10), ..decisions };
            assert_eq!(shortest(&policy.deciding(later).unwrap()), (Some(16 << 10), Some(96 << 10)));
        }
    }
}
