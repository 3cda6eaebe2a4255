//! The time-stamp counter, and the thresholds by which it tells caches from memory.

use core::cell::UnsafeCell;
use core::ptr;

use super::{PageTimes, place};
use crate::arch::{self, Loop, Work};
use crate::extable::Recovery;
use crate::once::Once;
use crate::page::{PAGE_SIZE, Page};
use crate::primitive::Primitive;

pub(crate) use arch::{prefetch, time_stamp as now};

/// Above this, in cycles, a reading of the counter is not an instruction but an exit to a hypervisor.
const INTERCEPTED: u32 = 500;

/// The number of samples of each kind in a calibration.
const ROUNDS: usize = 32;

/// How glances are read on this CPU.
#[derive(Clone, Copy)]
struct Glances {
    /// The longest time of a glance at a cache, in cycles.
    near_up_to: u32,
    /// How many have to agree about a short range.
    least: u32,
}

/// `None` where the counter is not usable.
static GLANCES: Once<Option<Glances>> = Once::new();
static PAGE_TIMES: [Once<PageTimes>; Primitive::ALL.len()] = [const { Once::new() }; Primitive::ALL.len()];

/// Calibrated by the first caller. `None` while another thread calibrates, or where the counter is forbidden, intercepted or
/// stands still.
#[inline]
fn glances() -> Option<Glances> {
    if GLANCES.get().is_none() {
        GLANCES.keep_with(calibrate);
    }
    *GLANCES.get()?
}

/// Whether the counter is usable, for a CPU that has one.
pub(super) fn is_usable() -> bool {
    glances().is_some()
}

/// How long a first page may take that `first` copies; `None` where the counter is not usable.
#[inline]
pub(crate) fn page_times(first: Primitive) -> Option<PageTimes> {
    glances()?;
    let times = PAGE_TIMES.get(first as usize)?;
    if times.get().is_none() {
        times.keep_with(|| calibrate_page(first));
    }
    times.get().copied()
}

/// How many glances have to agree that this many bytes are in memory. One line that others have evicted from a shared cache
/// must not send the rest past it. A copy past the cache leaves the source in memory, so the next copy would go past it again.
const fn glances_for(bytes: usize, least: u32) -> u32 {
    match bytes >> 19 {
        0 => least,
        1..4 => 2,
        _ => 4,
    }
}

/// Whether the source is in memory: all glances at words of it must say so. The first 2 KiB are prefetched meanwhile.
///
/// # Safety
///
/// The range has at least one page, and is readable, or with `MC` its faults are caught. The CPU has the counter.
#[inline(always)]
pub(crate) unsafe fn glance<const MC: bool>(src: *const u8, bytes: usize) -> bool {
    // SAFETY: each word lies within the range.
    unsafe { glance_at::<MC>(bytes, src, |index| place(src, bytes, index)) }
}

/// Whether sources of this many bytes in all are in memory, by glances at the words that `word` returns for each index. All
/// glances must agree.
///
/// # Safety
///
/// The words are readable, or with `MC` their faults are caught, and a page of a source begins at `start`. The CPU has the
/// counter.
#[inline(always)]
pub(crate) unsafe fn glance_at<const MC: bool>(
    bytes: usize,
    start: *const u8,
    word: impl Fn(usize) -> *const u8,
) -> bool {
    // The threshold comes before the counter, which may be forbidden.
    let Some(Glances { near_up_to, least }) = glances() else { return false };
    (0..glances_for(bytes, least)).all(|index| {
        // SAFETY: this function's contract.
        let cycles = unsafe { cycles::<MC>(word(index as usize), start) };
        cycles.is_some_and(|cycles| cycles > near_up_to)
    })
}

/// How long a load takes; `None` where it faulted.
///
/// # Safety
///
/// As [`glance_at`].
#[inline(always)]
pub(crate) unsafe fn cycles<const MC: bool>(word: *const u8, start: *const u8) -> Option<u32> {
    let mut recovery = Recovery { dst: word.addr(), src: word.addr(), bytes: 8, signal: None };
    let recovery = if MC { &raw mut recovery } else { ptr::null_mut() };
    // SAFETY: this function's contract, and a recovery that lives as long as the load.
    unsafe { arch::glance::<MC>(word, start, recovery) }
}

/// Two pages of zeros for the calibration. They would not fit some stacks.
struct Scratch(UnsafeCell<[Page; 2]>);

// SAFETY: only zeros are ever written there, over zeros, and by assembly.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new([Page::zeroed(); 2]));

/// Times `measured` once for each sample, with the scratch pages in the L1 or evicted from every cache.
fn rounds(flushed: bool, measured: impl Fn(*mut u8) -> u32) -> [u32; ROUNDS] {
    let start: *mut u8 = SCRATCH.0.get().cast();
    let mut times = [0; ROUNDS];
    for time in &mut times {
        // A flush of no lines also waits for the loads before it.
        // SAFETY: two pages of ours.
        unsafe { arch::flush(start, if flushed { 2 * PAGE_SIZE } else { 0 }) };
        *time = measured(start);
    }
    times
}

#[cold]
#[inline(never)]
fn calibrate() -> Option<Glances> {
    if is_forbidden() {
        return None;
    }
    // The first quarter: a prefetcher may bring a flushed line back, so the fastest of these glances may be one at a cache.
    let in_l1 = quantile(&rounds(false, time_glance), ROUNDS / 2);
    let near_up_to = threshold(in_l1, quantile(&rounds(true, time_glance), ROUNDS / 4))?;
    // On Intel a load from the L2 is sometimes as slow as one from memory, and after a copy past the cache the next one is so
    // again: see docs/tuning-notes.md, "Emerald Rapids".
    let least = if arch::is_intel() { 2 } else { 1 };
    Some(Glances { near_up_to, least })
}

/// Five eighths of the way from the L1 to a fast glance at memory. `None` where the two are not apart. A glance works only
/// where it fills the scheduler.
fn threshold(in_l1: u32, in_memory: u32) -> Option<u32> {
    let between = in_memory.saturating_sub(in_l1);
    (0 < in_l1 && in_l1 < INTERCEPTED && between > 2 * in_l1).then_some(in_l1 + between / 8 * 5)
}

/// How long a glance takes. Out of line, so that the loop is not unrolled: otherwise the time includes fetching the code.
#[inline(never)]
fn time_glance(start: *mut u8) -> u32 {
    // SAFETY: two pages of ours.
    unsafe { cycles::<false>(start.wrapping_add(PAGE_SIZE), start) }.unwrap_or(u32::MAX)
}

/// How long a first page may take. In the L1: half more than the fastest. Near: a quarter of the way from the L1 to memory.
#[cold]
#[inline(never)]
fn calibrate_page(first: Primitive) -> PageTimes {
    let copy = |start: *mut u8| time_page(first, start);
    let in_l1 = quantile(&rounds(false, copy), 0);
    let to_memory = quantile(&rounds(true, copy), ROUNDS / 2).saturating_sub(in_l1);
    PageTimes { in_l1_up_to: in_l1 + in_l1 / 2, near_up_to: in_l1 + to_memory / 4 }
}

/// How long the copy of the first page to the second takes.
#[inline(never)]
fn time_page(first: Primitive, src: *mut u8) -> u32 {
    let dst = src.wrapping_add(PAGE_SIZE);
    let work = Work { dst, src, bytes: PAGE_SIZE, prefetch: 0, recovery: ptr::null_mut() };
    let start = now();
    // SAFETY: two pages of ours, and a primitive that a policy for this CPU names.
    unsafe { arch::run_any::<false>(Loop { by: first, prefetches: true }, work) };
    now().wrapping_sub(start)
}

/// The time with `rank` times below it. Sorting would be shorter, but core's sorts can panic, and then a kernel's object has an
/// undefined symbol.
fn quantile(times: &[u32; ROUNDS], rank: usize) -> u32 {
    let has_rank = |time: &&u32| {
        let (mut below, mut up_to) = (0, 0);
        for other in times {
            below += usize::from(other < *time);
            up_to += usize::from(other <= *time);
        }
        below <= rank && rank < up_to
    };
    times.iter().find(has_rank).copied().unwrap_or(u32::MAX)
}

/// Whether this thread gets SIGSEGV at every reading of the counter (`prctl(2)`, PR_SET_TSC). It is asked once, though it is a
/// property of the thread. A program that forbids it later masks `tsc` first.
#[cfg(all(feature = "std", target_os = "linux"))]
fn is_forbidden() -> bool {
    let mut state: libc::c_int = 0;
    // SAFETY: PR_GET_TSC writes one int.
    let answer = unsafe { libc::prctl(libc::PR_GET_TSC, &raw mut state) };
    answer == 0 && state == libc::PR_TSC_SIGSEGV
}

/// A kernel may always read it.
#[cfg(not(all(feature = "std", target_os = "linux")))]
fn is_forbidden() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Cpu, Vendor};

    /// A scheduler that a glance does not fill, or an unusable counter, must not send every copy past the cache.
    #[test]
    fn glances_that_tell_nothing_are_not_used() {
        assert_eq!(threshold(26, 390), Some(251));
        for (in_l1, in_memory) in [(26, 26), (26, 78), (52, 26), (0, 0), (0, 400), (400, 390), (600, 4000)] {
            assert_eq!(threshold(in_l1, in_memory), None, "{in_l1} {in_memory}");
        }
    }

    #[test]
    fn longer_ranges_get_more_glances() {
        let lengths = [64 << 10, (512 << 10) - 1, 512 << 10, (2 << 20) - 1, 2 << 20, 1 << 30];
        assert_eq!(lengths.map(|bytes| glances_for(bytes, 1)), [1, 1, 2, 2, 4, 4]);
        assert_eq!(lengths.map(|bytes| glances_for(bytes, 2)), [2, 2, 2, 2, 4, 4]);
        assert_eq!(arch::is_intel(), Cpu::detect().vendor() == Vendor::Intel);
    }

    #[test]
    fn a_quantile_is_what_sorting_puts_there() {
        let mut times = [0; ROUNDS];
        for seed in 1..200_u32 {
            for (index, time) in times.iter_mut().enumerate() {
                // Few different values, so that some are equal.
                *time = (index as u32 + 1).wrapping_mul(seed.wrapping_mul(0x9e37_79b9)) >> 8 & 7;
            }
            let mut sorted = times;
            sorted.sort_unstable();
            for (rank, time) in sorted.iter().enumerate() {
                assert_eq!(quantile(&times, rank), *time, "{times:?}");
            }
        }
    }
}
