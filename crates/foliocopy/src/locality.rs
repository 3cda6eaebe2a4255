//! Where the copy should leave the destination: in the cache, or past it.

use core::fmt;
use core::str::FromStr;

use crate::arch;
use crate::batch::FolioPair;
use crate::clock::Clock;
use crate::cpu::Cpu;
use crate::error::{Named, UnknownName};
use crate::page::PAGE_SIZE;
use crate::policy::{Choice, Policy};

/// Whether a copy goes through the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Locality {
    /// Through the cache: somebody reads the destination soon, or the source is in the cache.
    Temporal,
    /// Past the cache: nobody reads the destination soon, as after a demotion to a slower tier.
    NonTemporal,
    /// Decided by a look at the source, from the size on at which that pays; smaller copies are
    /// temporal.
    #[default]
    Auto,
}

impl Locality {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Temporal, Self::NonTemporal, Self::Auto];

    pub(crate) const NAMES: &'static [&'static str] = &["temporal", "non_temporal", "auto"];

    /// The name by which it is asked for.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Locality {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = UnknownName(Named::Locality);
        Self::ALL.iter().copied().find(|locality| locality.name() == name).ok_or(unknown)
    }
}

/// Where a source is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Residence {
    /// In some cache of this core or of its neighbours.
    Cached,
    /// In memory.
    Memory,
    /// Nobody looked, or the look told nothing.
    Unknown,
}

/// How to copy `bytes` bytes from `src`, after a look at them where that matters.
///
/// # Safety
///
/// The range is readable, or with `MACHINE_CHECK_SAFE` somebody catches its faults.
#[inline(always)]
pub(crate) unsafe fn choose<const MACHINE_CHECK_SAFE: bool>(
    policy: &Policy,
    locality: Locality,
    src: *const u8,
    bytes: usize,
) -> Choice {
    if let (true, Some(choice)) = (locality != Locality::NonTemporal, policy.few_pages(bytes)) {
        return choice;
    }
    // SAFETY: the caller's promise.
    unsafe { choose_longer::<MACHINE_CHECK_SAFE>(policy, locality, src, bytes) }
}

/// Out of line, so that the registers it needs are not saved for a copy of one page.
///
/// # Safety
///
/// As [`choose`].
#[inline(never)]
unsafe fn choose_longer<const MACHINE_CHECK_SAFE: bool>(
    policy: &Policy,
    locality: Locality,
    src: *const u8,
    bytes: usize,
) -> Choice {
    let residence = match locality {
        // SAFETY: the caller's promise; a look is at more than a page.
        Locality::Auto if policy.looks(bytes) => unsafe {
            look::<MACHINE_CHECK_SAFE>(policy.cpu(), src, bytes)
        },
        _ => Residence::Unknown,
    };
    policy.choose_seen(locality, bytes, residence)
}

/// What [`Locality::Auto`] is for a batch of so many pages, after looks at lines of some of its sources; any other locality
/// is itself.
///
/// # Safety
///
/// As [`choose`], for every pair.
pub(crate) unsafe fn settle<const MACHINE_CHECK_SAFE: bool>(
    policy: &Policy,
    locality: Locality,
    batch: &[FolioPair],
    nr_pages: usize,
) -> Locality {
    let bytes = nr_pages.saturating_mul(PAGE_SIZE);
    if locality != Locality::Auto || !policy.looks(bytes) {
        return locality;
    }
    let parts = batch.chunks(batch.len().div_ceil(looks_at(bytes)).max(1));
    let residence = Clock::of(policy.cpu()).map_or(Residence::Unknown, |clock| {
        // SAFETY: the caller vouches for the sources, the clock for the counter.
        agreed(parts.map(|part| unsafe { clock.look_at_batch::<MACHINE_CHECK_SAFE>(part) }))
    });
    match policy.choose_seen(locality, bytes, residence).primitive.is_non_temporal() {
        true => Locality::NonTemporal,
        false => Locality::Temporal,
    }
}

/// What a copy will read first and is asked for before a look, so that the wait is not lost.
const PREFETCHED_BYTES: usize = 1024;

/// Looks where the `bytes` bytes from `src` on are: loads four lines, spread over the range, all at
/// once, and takes the time. Loaded one by one they told the same and cost a hot 256 KiB copy 4 %.
///
/// Ranges of 2 MiB and more are looked at in up to four parts, and batches too, and are in memory if each of them is. One
/// line that others have thrown out of a shared cache must not send the rest there, for a copy past the cache leaves the
/// source in memory too, so that the next one is: with one look 4 MiB in the cache had 1.04 of `rep movsq` where 1.10 was
/// to be had, 8 MiB 0.78 of `rep movsb` (Zen 5, an L3 of 32 MiB).
///
/// # Safety
///
/// The range is at least a page long and readable, or with `MACHINE_CHECK_SAFE` somebody catches its
/// faults: then nothing is known, and the copy itself finds the error.
#[inline]
unsafe fn look<const MACHINE_CHECK_SAFE: bool>(cpu: &Cpu, src: *const u8, bytes: usize) -> Residence {
    let Some(clock) = Clock::of(cpu) else { return Residence::Unknown };
    // SAFETY: a page is longer than that.
    unsafe { arch::prefetch(src, PREFETCHED_BYTES) };
    let looks = looks_at(bytes);
    let part = bytes / looks;
    // SAFETY: the caller vouches for the range, of which these are parts of a page at least, the clock for the counter.
    agreed((0..looks).map(|index| unsafe { clock.look::<MACHINE_CHECK_SAFE>(src.add(index * part), part) }))
}

/// How many looks have to agree about so many bytes: one up to 2 MiB, of which another costs half a percent.
fn looks_at(bytes: usize) -> usize {
    (bytes >> 20).clamp(1, 4)
}

/// In memory is what all looks find there; the first that doesn't is the last.
fn agreed(mut looks: impl Iterator<Item = Residence>) -> Residence {
    looks.find(|look| *look != Residence::Memory).unwrap_or(Residence::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_that_finds_the_cache_is_enough() {
        use Residence::*;
        for (looks, expected, asked) in [
            (&[Memory][..], Memory, 1),
            (&[Memory, Memory, Memory, Memory], Memory, 4),
            (&[Cached, Memory], Cached, 1),
            (&[Memory, Cached, Memory], Cached, 2),
            (&[Memory, Unknown, Cached], Unknown, 2),
        ] {
            let mut taken = 0;
            let looks = looks.iter().inspect(|_| taken += 1).copied();
            assert_eq!((agreed(looks), taken), (expected, asked));
        }
    }

    #[test]
    fn longer_ranges_get_more_looks() {
        assert_eq!([256 << 10, (2 << 20) - 1, 2 << 20, 4 << 20, 1 << 30].map(looks_at), [1, 1, 2, 4, 4]);
    }
}
