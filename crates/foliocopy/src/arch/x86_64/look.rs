//! The latency of a few loads, by the time-stamp counter.

use core::arch::asm;
use core::ptr;

use crate::extable::{Recovery, may_fault};

/// How many lines one look loads.
pub(crate) const LINES: usize = 4;

/// Loads the lines at `addresses`, all at once, and returns the cycles of the time-stamp counter until
/// the last one had arrived.
///
/// `lfence` keeps the loads behind the first reading, and `rdtscp` is read when they are done (Intel SDM
/// volume 2, RDTSC and RDTSCP; on AMD LFENCE waits too since Linux makes it dispatch-serialising). A
/// second pair of fences, before and after, told the same and cost 5 ns more.
///
/// # Safety
///
/// The addresses are readable, and the counter may be read.
#[inline]
pub(crate) unsafe fn latency(addresses: [*const u8; LINES]) -> u64 {
    // SAFETY: the caller's promises; without machine-check safety nothing uses the recovery.
    unsafe { timed::<false>(addresses, ptr::null_mut()).0 }
}

/// The same where the addresses may fault: nothing if one did.
///
/// # Safety
///
/// Somebody catches the fault, and the counter may be read.
#[inline]
pub(crate) unsafe fn latency_mc(addresses: [*const u8; LINES], recovery: *mut Recovery) -> Option<u64> {
    // SAFETY: the caller's promises.
    let (cycles, faulted) = unsafe { timed::<true>(addresses, recovery) };
    (!faulted).then_some(cycles)
}

#[inline]
unsafe fn timed<const MACHINE_CHECK_SAFE: bool>(
    addresses: [*const u8; LINES],
    recovery: *mut Recovery,
) -> (u64, bool) {
    let (cycles, faulted): (u64, u64);
    // SAFETY: the loads read what the caller vouches for, or land. `rdx` is the recovery while they run.
    unsafe {
        asm!(
            "rdtsc",
            "shl rdx, 32",
            "lea {start}, [rax + rdx]",
            "mov rdx, {recovery}",
            "mov {faulted:e}, 1",
            "lfence",
            may_fault!("mov r8, [{first}]", "2f"),
            may_fault!("mov r9, [{second}]", "2f"),
            may_fault!("mov r10, [{third}]", "2f"),
            may_fault!("mov r11, [{fourth}]", "2f"),
            "xor {faulted:e}, {faulted:e}",
            "2:",
            "rdtscp",
            "shl rdx, 32",
            "add rax, rdx",
            "sub rax, {start}",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            first = in(reg) addresses[0],
            second = in(reg) addresses[1],
            third = in(reg) addresses[2],
            fourth = in(reg) addresses[3],
            recovery = in(reg) recovery,
            start = out(reg) _,
            faulted = out(reg) faulted,
            out("rax") cycles,
            out("rcx") _,
            out("rdx") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            options(nostack),
        );
    }
    (cycles, faulted != 0)
}

/// Asks for the lines of a range, without waiting for them. `bytes` is a multiple of 64.
///
/// # Safety
///
/// The range is within one object: a prefetch can't fault, but nothing of others is to be touched.
#[inline]
pub(crate) unsafe fn prefetch(start: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(64) {
        let line = start.wrapping_add(offset);
        // SAFETY: a prefetch reads nothing that a program could see.
        unsafe { asm!("prefetchnta [{}]", in(reg) line, options(nostack, preserves_flags, readonly)) };
    }
}

/// Throws the lines of a range out of every cache. CLFLUSH is part of every x86-64.
///
/// # Safety
///
/// The range is readable, and starts with a line.
pub(crate) unsafe fn flush(start: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(64) {
        let line = start.wrapping_add(offset);
        // SAFETY: flushing a line that can be read changes nothing that a program could see.
        unsafe { asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: waits for the flushes, and touches no register.
    unsafe { asm!("mfence", options(nostack, preserves_flags)) };
}

/// The time-stamp counter, read whenever the CPU gets to it.
#[inline]
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: whoever asks has made sure that the counter may be read. Not `nomem`, so that the compiler
    // leaves it between the copies it stands between.
    unsafe { asm!("rdtsc", out("rax") low, out("rdx") high, options(nostack, preserves_flags)) };
    high << 32 | low
}
