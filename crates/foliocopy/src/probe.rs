//! Probes where the source is: in a cache or in memory. The time-stamp counter times a load from the source, or the copy of its
//! first page. The thresholds are calibrated once, on this CPU. A source whose place is unknown counts as cached.

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[path = "probe/x86_64.rs"]
mod counter;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[path = "probe/absent.rs"]
mod counter;

#[cfg(foliocopy_kernel)]
pub(crate) use counter::cycles;
pub(crate) use counter::{glance, glance_at, now, page_times, prefetch};

use crate::cpu::{Cpu, Features};
use crate::page::PAGE_SIZE;

/// Where the glance of that index looks in a source of `bytes` bytes, a page or more: anywhere in its second half. Prefetchers would
/// learn a regular distance between words, within a range or from one range to the next.
#[inline]
pub(crate) fn place(src: *const u8, bytes: usize, index: usize) -> *const u8 {
    let half = bytes / 2;
    let hash = (src.addr() / PAGE_SIZE).wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    src.wrapping_add((half + ((hash as u128 * half as u128) >> 64) as usize) & !63)
}

/// How long the copy of a first page may take, in cycles of the time-stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageTimes {
    /// With source and destination in the L1.
    pub(crate) in_l1_up_to: u32,
    /// Within the L2. A longer time means that one of them was farther away.
    pub(crate) near_up_to: u32,
}

/// The CPU as probes see it: without its counter where that is not usable.
pub(crate) fn seen_by(cpu: Cpu) -> Cpu {
    if cpu.has(Features::TSC) && !counter::is_usable() { cpu.without(Features::TSC) } else { cpu }
}
