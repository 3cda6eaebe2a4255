//! The time-stamp counter, and what it says of memory.

use core::cell::UnsafeCell;
use core::ptr;

use super::{GLANCE_PREFETCHES, PageTimes, looks_for};
use crate::arch::{self, LOOK_LINES, Loop, Work};
use crate::extable::Recovery;
use crate::once::Once;
use crate::page::{PAGE_SIZE, Page};
use crate::primitive::Primitive;

pub(crate) use arch::prefetch;

/// Above this, in cycles, a reading of the counter is not an instruction but an exit to a hypervisor.
const INTERCEPTED: u64 = 500;

/// How many of a kind a calibration takes.
const ROUNDS: usize = 32;

/// How much of the source is prefetched before a look, in bytes, so that the wait is not lost.
const PREFETCHED_BY_LOOK: usize = 1024;

/// Thresholds in cycles of a counter that can be used.
#[derive(Clone, Copy, Debug)]
struct Thresholds {
    /// A look at lines in some cache takes up to this.
    look_near_up_to: u64,
    /// A glance does.
    glance_near_up_to: u32,
}

static THRESHOLDS: Once<Option<Thresholds>> = Once::new();
static PAGE_TIMES: [Once<PageTimes>; Primitive::ALL.len()] = [const { Once::new() }; Primitive::ALL.len()];

/// The thresholds, calibrated by the first caller; nothing while another thread does it, or where the counter is forbidden,
/// intercepted or stands still.
#[inline]
fn thresholds() -> Option<&'static Thresholds> {
    if THRESHOLDS.get().is_none() {
        THRESHOLDS.keep_with(calibrate);
    }
    THRESHOLDS.get()?.as_ref()
}

/// Whether the counter tells anything, for a CPU that has one.
pub(super) fn is_usable() -> bool {
    thresholds().is_some()
}

/// Now, roughly: without fences, which cost more than a page in the L1.
#[inline(always)]
pub(crate) fn now() -> u32 {
    arch::time_stamp() as u32
}

/// How long a first page may take that `first` copies; nothing where the counter tells nothing.
#[inline]
pub(crate) fn page_times(first: Primitive) -> Option<PageTimes> {
    thresholds()?;
    let times = PAGE_TIMES.get(first as usize)?;
    if times.get().is_none() {
        times.keep_with(|| calibrate_page(first));
    }
    times.get().copied()
}

/// Whether the source is in memory, by a glance that prefetches its first [`GLANCE_PREFETCHES`] bytes.
///
/// # Safety
///
/// The range is a page long at least, and readable, or with `MACHINE_CHECK_SAFE` its faults are caught. The CPU has the
/// counter.
#[inline(always)]
pub(crate) unsafe fn glance<const MACHINE_CHECK_SAFE: bool>(src: *const u8, bytes: usize) -> bool {
    // Asked before the counter is read, which may be forbidden.
    let Some(thresholds) = thresholds() else { return false };
    let mut recovery = Recovery { dst: src.addr(), src: src.addr(), bytes, signal: None };
    let recovery = if MACHINE_CHECK_SAFE { &raw mut recovery } else { ptr::null_mut() };
    // SAFETY: two lines of the range, and a recovery that lives as long as the loads.
    let cycles = unsafe { arch::glance::<MACHINE_CHECK_SAFE>(src, bytes, GLANCE_PREFETCHES, recovery) };
    cycles.is_some_and(|cycles| cycles > thresholds.glance_near_up_to)
}

/// Whether the source is in memory, by looks at several places of it that agree.
///
/// # Safety
///
/// As [`glance`].
pub(crate) unsafe fn look<const MACHINE_CHECK_SAFE: bool>(src: *const u8, bytes: usize) -> bool {
    // SAFETY: a page is longer than that.
    unsafe { arch::prefetch(src, PREFETCHED_BY_LOOK) };
    let lines = looks_for(bytes) * LOOK_LINES;
    // In the middle of each part.
    let line = |index: usize| src.wrapping_add((2 * index + 1) * (bytes / (2 * lines)));
    // SAFETY: each line lies within the range.
    unsafe { look_at::<MACHINE_CHECK_SAFE>(bytes, line) }
}

/// Whether sources of so many bytes in all are in memory, by looks that agree at the lines that `line` answers: for each
/// look four numbers, counted from 0.
///
/// # Safety
///
/// As [`glance`], for each of these lines.
pub(crate) unsafe fn look_at<const MACHINE_CHECK_SAFE: bool>(
    bytes: usize,
    line: impl Fn(usize) -> *const u8,
) -> bool {
    let Some(thresholds) = thresholds() else { return false };
    (0..looks_for(bytes)).all(|look| {
        let mut addresses = [ptr::null(); LOOK_LINES];
        for (index, address) in addresses.iter_mut().enumerate() {
            *address = line(look * LOOK_LINES + index);
        }
        // SAFETY: the lines are readable, or their faults are caught.
        let cycles = unsafe { latency::<MACHINE_CHECK_SAFE>(addresses) };
        cycles.is_some_and(|cycles| cycles > thresholds.look_near_up_to)
    })
}

/// How long four loads take, all at once; nothing where one faulted.
///
/// # Safety
///
/// As [`glance`], for each of these lines.
#[inline]
pub(crate) unsafe fn latency<const MACHINE_CHECK_SAFE: bool>(
    addresses: [*const u8; LOOK_LINES],
) -> Option<u64> {
    let (mut first, mut last) = (usize::MAX, 0);
    for address in addresses {
        (first, last) = (first.min(address.addr()), last.max(address.addr()));
    }
    let mut recovery = Recovery { dst: first, src: first, bytes: last - first + 64, signal: None };
    let recovery = if MACHINE_CHECK_SAFE { &raw mut recovery } else { ptr::null_mut() };
    // SAFETY: the lines are readable, or their faults are caught, and the recovery lives as long as the loads.
    unsafe { arch::latency::<MACHINE_CHECK_SAFE>(addresses, recovery) }
}

/// Two pages of zeros to calibrate with: too many for some stacks.
struct Scratch(UnsafeCell<[Page; 2]>);

// SAFETY: only zeros are ever written there, over zeros, and by assembly.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new([Page::zeroed(); 2]));

/// Times `measured` as often as a calibration takes, with the scratch pages in the L1 or thrown out of every cache.
fn rounds(flushed: bool, measured: impl Fn(*mut u8) -> u64) -> [u64; ROUNDS] {
    let start: *mut u8 = SCRATCH.0.get().cast();
    let mut times = [0; ROUNDS];
    for time in &mut times {
        // A flush of nothing waits, too, for what came before.
        // SAFETY: two pages of ours.
        unsafe { arch::flush(start, if flushed { 2 * PAGE_SIZE } else { 0 }) };
        *time = measured(start);
    }
    times
}

#[cold]
#[inline(never)]
fn calibrate() -> Option<Thresholds> {
    if is_forbidden() {
        return None;
    }
    // The median: a line that a prefetcher brings back makes the fastest look at flushed lines one at cached ones.
    let (cached, flushed) =
        (quantile(&rounds(false, time_look), ROUNDS / 2), quantile(&rounds(true, time_look), ROUNDS / 2));
    let tells = 0 < cached && cached < INTERCEPTED && cached < flushed;
    tells.then(|| Thresholds {
        look_near_up_to: cached.midpoint(flushed),
        glance_near_up_to: glance_near_up_to(
            quantile(&rounds(false, time_glance), ROUNDS / 2),
            quantile(&rounds(true, time_glance), ROUNDS / 4),
        ),
    })
}

/// The most cycles of a glance at a cache: five eighths of the way from the L1 to a fast glance at memory. Where the two are not
/// well apart, every source counts as cached, since a glance relies on instructions that fill the scheduler.
fn glance_near_up_to(in_l1: u64, in_memory: u64) -> u32 {
    let between = in_memory.saturating_sub(in_l1);
    if between > 2 * in_l1 { (in_l1 + between / 8 * 5) as u32 } else { u32::MAX }
}

/// How long a look at four lines of the first page takes. Out of line, so that the loop is not unrolled: the time would be that
/// of fetching code.
#[inline(never)]
fn time_look(start: *mut u8) -> u64 {
    let mut addresses = [start.cast_const(); LOOK_LINES];
    for (index, address) in addresses.iter_mut().enumerate() {
        *address = start.wrapping_add(index * PAGE_SIZE / LOOK_LINES);
    }
    // SAFETY: four lines of ours.
    unsafe { latency::<false>(addresses) }.unwrap_or(u64::MAX)
}

/// How long a glance at both pages takes.
#[inline(never)]
fn time_glance(start: *mut u8) -> u64 {
    // SAFETY: two pages of ours.
    let cycles = unsafe { arch::glance::<false>(start, 2 * PAGE_SIZE, PAGE_SIZE, ptr::null_mut()) };
    cycles.map_or(u64::MAX, u64::from)
}

/// The most cycles of a first page: half more than the fastest in the L1, and a quarter of the way from the L1 to memory. See
/// docs/tuning-notes.md, "first page".
#[cold]
#[inline(never)]
fn calibrate_page(first: Primitive) -> PageTimes {
    let copy = |start: *mut u8| time_page(first, start);
    let in_l1 = quantile(&rounds(false, copy), 0);
    let to_memory = quantile(&rounds(true, copy), ROUNDS / 2).saturating_sub(in_l1);
    PageTimes { in_l1_up_to: (in_l1 + in_l1 / 2) as u32, near_up_to: (in_l1 + to_memory / 4) as u32 }
}

/// How long the copy of the first page to the second takes.
#[inline(never)]
fn time_page(first: Primitive, src: *mut u8) -> u64 {
    let dst = src.wrapping_add(PAGE_SIZE);
    let work = Work { dst, src, bytes: PAGE_SIZE, prefetch: 0, recovery: ptr::null_mut() };
    let start = arch::time_stamp();
    // SAFETY: two pages of ours, and a primitive that a policy for this CPU names.
    unsafe { arch::run_any::<false>(Loop { by: first, prefetches: true }, work) };
    arch::time_stamp().wrapping_sub(start)
}

/// The time that has so many below it. Sorting would be shorter, but core's sorts can panic, and then a kernel's object has
/// an undefined symbol.
fn quantile(times: &[u64; ROUNDS], rank: usize) -> u64 {
    let has_rank = |time: &&u64| {
        let (mut below, mut up_to) = (0, 0);
        for other in times {
            below += usize::from(other < *time);
            up_to += usize::from(other <= *time);
        }
        below <= rank && rank < up_to
    };
    times.iter().find(has_rank).copied().unwrap_or(u64::MAX)
}

/// Whether this thread gets SIGSEGV at every reading of the counter (`prctl(2)`, PR_SET_TSC). Asked once, though it is a
/// property of the thread: whoever forbids it later masks `tsc` first.
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

    /// A scheduler that is larger than what fills it, or a counter that tells nothing, must not send everything to memory.
    #[test]
    fn glances_that_tell_nothing_find_everything_cached() {
        assert_eq!(glance_near_up_to(26, 390), 251);
        for (in_l1, in_memory) in [(26, 26), (26, 78), (52, 26), (0, 0), (400, 390)] {
            assert_eq!(glance_near_up_to(in_l1, in_memory), u32::MAX, "{in_l1} {in_memory}");
        }
    }

    #[test]
    fn a_quantile_is_what_sorting_puts_there() {
        let mut times = [0; ROUNDS];
        for seed in 1..200u64 {
            for (index, time) in times.iter_mut().enumerate() {
                // Few values, so that some are equal.
                *time = (index as u64 + 1).wrapping_mul(seed * 0x9e37_79b9) >> 8 & 7;
            }
            let mut sorted = times;
            sorted.sort_unstable();
            for (rank, time) in sorted.iter().enumerate() {
                assert_eq!(quantile(&times, rank), *time, "{times:?}");
            }
        }
    }
}
