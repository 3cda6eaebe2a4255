//! Where is the source? The time-stamp counter tells, by a few loads or by a first page. Its thresholds are calibrated once,
//! on this CPU. Whatever can't be told counts as near.

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[path = "probe/x86_64.rs"]
mod counter;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[path = "probe/absent.rs"]
mod counter;

#[cfg(foliocopy_kernel)]
pub(crate) use counter::latency;
pub(crate) use counter::{glance, look, look_at, now, page_times, prefetch};

use crate::cpu::{Cpu, Features};

/// How much of the source a glance prefetches while it waits for memory, in bytes. See docs/tuning-notes.md, "glances".
pub(crate) const GLANCE_PREFETCHES: usize = 4096;

/// How long the copy of a first page may take, in cycles of the time-stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageTimes {
    /// With source and destination in the L1.
    pub(crate) in_l1_up_to: u32,
    /// Within the L2; beyond this, one of them was farther away.
    pub(crate) near_up_to: u32,
}

/// The CPU, less a counter that cannot be used: so a policy has no probe that would never run.
pub(crate) fn seen_by(cpu: Cpu) -> Cpu {
    if cpu.has(Features::TSC) && !counter::is_usable() { cpu.without(Features::TSC) } else { cpu }
}

/// How many looks must agree that so many bytes are in memory. One line that others have evicted from a shared cache must
/// not send the whole copy past it: the next copy would find its source in memory and go there again. See
/// docs/tuning-notes.md, "looks".
#[cfg(any(test, all(target_arch = "x86_64", not(miri))))]
fn looks_for(bytes: usize) -> usize {
    if bytes < 256 << 10 { 1 } else { (bytes >> 20).clamp(2, 4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_ranges_get_more_looks() {
        let looks = [64 << 10, 256 << 10, (2 << 20) - 1, 2 << 20, 4 << 20, 1 << 30].map(looks_for);
        assert_eq!(looks, [1, 2, 2, 2, 4, 4]);
    }
}
