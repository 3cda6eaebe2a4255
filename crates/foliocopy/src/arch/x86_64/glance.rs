//! The latency of a load, by the time-stamp counter.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

use crate::extable::{Recovery, may_fault};

/// Loads a word, and returns the cycles of the time-stamp counter until it has arrived; `None` where the load faulted.
/// Meanwhile it prefetches the first 2 KiB from `start` on, since memory is idle otherwise.
///
/// No fence waits for the load, since a short copy would pay for it. Dependent instructions fill the scheduler instead, so the
/// second RDTSC cannot issue before the load completes. The calibration shows whether that works on a CPU. No store is waited
/// for, so the place of the destination does not matter. See docs/tuning-notes.md, "glances".
///
/// # Safety
///
/// The word is readable, or with `MC` its faults are caught and `recovery` points to the [`Recovery`](crate::extable::Recovery)
/// for the handler. The prefetched lines belong to the same source. The counter may be read.
#[inline(always)]
pub(crate) unsafe fn glance<const MC: bool>(
    word: *const u8,
    start: *const u8,
    recovery: *mut Recovery,
) -> Option<u32> {
    let (cycles, faulted): (u32, u32);
    // SAFETY: the load reads memory that is readable, or lands. `rdx` is the recovery while it runs.
    unsafe {
        asm!(
            "mov r8, rdx",
            "rdtsc",
            "mov r9d, eax",
            "mov rdx, r8",
            may_fault!("mov r10, [{word}]", "2f"),
            ".irp group, 0, 512, 1024, 1536",
            ".irp line, 0, 64, 128, 192, 256, 320, 384, 448",
            "prefetcht0 [{start} + \\group + \\line]",
            ".endr",
            ".endr",
            "mov eax, r10d",
            ".rept 104",
            "test eax, eax",
            ".endr",
            "rdtsc",
            "sub eax, r9d",
            "mov r9d, eax",
            "xor eax, eax",
            "2:",
            machine_check_safe = const MC as u32,
            word = in(reg) word,
            start = in(reg) start,
            inout("rdx") recovery => _,
            out("eax") faulted,
            out("r8") _, out("r9d") cycles, out("r10") _,
            options(nostack),
        );
    }
    if MC && faulted != 0 { None } else { Some(cycles) }
}

/// Prefetches the lines of a range, without waiting for them. `bytes` is a multiple of 64.
///
/// # Safety
///
/// The range is within one object: a prefetch can't fault, but should not touch memory of others.
#[inline]
pub(crate) unsafe fn prefetch(start: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(64) {
        let line = start.wrapping_add(offset);
        // SAFETY: a prefetch reads nothing that a program could see.
        unsafe { asm!("prefetchnta [{}]", in(reg) line, options(nostack, preserves_flags, readonly)) };
    }
}

/// Evicts the lines of a range from every cache. CLFLUSH is part of every x86-64.
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

/// Whether Intel made the CPU.
pub(crate) fn is_intel() -> bool {
    __cpuid_count(0, 0).ebx == u32::from_le_bytes(*b"Genu")
}

/// Reads the time-stamp counter, without ordering.
#[inline(always)]
pub(crate) fn time_stamp() -> u32 {
    let low: u32;
    // SAFETY: callers read the counter only where they know it to be allowed. Not `nomem`, so that the compiler
    // leaves it between the copies it stands between.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") _, options(nostack, preserves_flags)) };
    low
}
