//! The latency of a few loads, by the time-stamp counter.

use core::arch::asm;

use crate::extable::{Recovery, may_fault};

/// How many lines one look loads.
pub(crate) const LINES: usize = 4;

/// Loads the lines at `addresses`, all at once, and answers the cycles of the time-stamp counter until the last one had
/// arrived; nothing where a load faulted.
///
/// `lfence` keeps the loads behind the first reading, and `rdtscp` is read when they are done (Intel SDM
/// volume 2, RDTSC and RDTSCP; on AMD LFENCE waits too since Linux makes it dispatch-serialising).
///
/// # Safety
///
/// The addresses are readable, or with `MACHINE_CHECK_SAFE` their faults are caught and `recovery` points to what the
/// handler fills in. The counter may be read.
#[inline]
pub(crate) unsafe fn latency<const MACHINE_CHECK_SAFE: bool>(
    addresses: [*const u8; LINES],
    recovery: *mut Recovery,
) -> Option<u64> {
    // SAFETY: the contract of `timed` is this function's.
    let (cycles, faulted) = unsafe { timed::<MACHINE_CHECK_SAFE>(addresses, recovery) };
    (!faulted).then_some(cycles)
}

/// # Safety
///
/// As [`latency`].
#[inline]
unsafe fn timed<const MACHINE_CHECK_SAFE: bool>(
    addresses: [*const u8; LINES],
    recovery: *mut Recovery,
) -> (u64, bool) {
    let (cycles, faulted): (u64, u64);
    // SAFETY: the loads read memory that is readable, or land. `rdx` is the recovery while they run.
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

/// Loads two lines of a range of `bytes` bytes, a page at least, and answers the cycles of the time-stamp counter until
/// the last one had arrived, like [`latency`] but without its fences, which a short copy would pay for. Prefetches the first
/// `prefetched` bytes meanwhile, a multiple of 512 and not 0.
///
/// Dependent instructions fill the scheduler, so the second RDTSC cannot issue before the loads complete. Whoever calibrates
/// sees whether that works on his CPU. No store is waited for, so the place of the destination does not matter. See
/// docs/tuning-notes.md, "glances".
///
/// # Safety
///
/// The range is readable, or with `MACHINE_CHECK_SAFE` its faults are caught and the answer is nothing. The counter may be
/// read.
#[inline(always)]
pub(crate) unsafe fn glance<const MACHINE_CHECK_SAFE: bool>(
    src: *const u8,
    bytes: usize,
    prefetched: usize,
    recovery: *mut Recovery,
) -> Option<u32> {
    let (cycles, faulted): (u32, u32);
    // SAFETY: the loads read memory that is readable, or land. `rdx` is the recovery while they run.
    unsafe {
        asm!(
            "mov r8, rdx",
            "rdtsc",
            "mov r9d, eax",
            "mov rdx, r8",
            "mov rax, {bytes}",
            "shr rax, 3",
            may_fault!("mov r10, [{src} + 2 * rax]", "2f"),
            may_fault!("or r10, [{src} + 4 * rax]", "2f"),
            "mov rdx, {src}",
            "3:",
            ".irp line, 0, 1, 2, 3, 4, 5, 6, 7",
            "prefetcht0 [rdx + 64 * \\line]",
            ".endr",
            "add rdx, 512",
            "sub r11, 512",
            "jnz 3b",
            "mov eax, r10d",
            ".rept 104",
            "test eax, eax",
            ".endr",
            "rdtsc",
            "sub eax, r9d",
            "mov r9d, eax",
            "xor eax, eax",
            "2:",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            src = in(reg) src,
            bytes = in(reg) bytes,
            inout("rdx") recovery => _,
            out("eax") faulted,
            out("r8") _,
            out("r9d") cycles,
            out("r10") _,
            inout("r11") prefetched => _,
            options(nostack),
        );
    }
    if MACHINE_CHECK_SAFE && faulted != 0 { None } else { Some(cycles) }
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
#[inline(always)]
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: probes ask only where the counter may be read. Not `nomem`, so that the compiler
    // leaves it between the copies it stands between.
    unsafe { asm!("rdtsc", out("rax") low, out("rdx") high, options(nostack, preserves_flags)) };
    high << 32 | low
}
