//! The latency of a few loads, by the time-stamp counter.

use core::arch::asm;
use core::ptr;

use crate::extable::{Recovery, may_fault};

/// How many lines one look loads.
pub(crate) const LINES: usize = 4;

/// Loads the lines at `addresses`, all at once, and returns the cycles of the time-stamp counter until
/// the last one had arrived.
///
/// `lfence` on both sides keeps the loads between the two readings (Intel SDM volume 2, RDTSC; AMD
/// APM volume 3 where LFENCE is dispatch-serialising, as Linux makes it since 2018).
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
            "lfence",
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            "mov {start}, rax",
            "mov rdx, {recovery}",
            "mov {faulted:e}, 1",
            "lfence",
            may_fault!("mov r8, [{first}]", "2f"),
            may_fault!("mov r9, [{second}]", "2f"),
            may_fault!("mov r10, [{third}]", "2f"),
            may_fault!("mov r11, [{fourth}]", "2f"),
            "xor {faulted:e}, {faulted:e}",
            "2:",
            "lfence",
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
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

/// Asks for the lines of a range, without waiting for them. `bytes` is a positive multiple of 64.
///
/// # Safety
///
/// The range is within one object: a prefetch can't fault, but nothing of others is to be touched.
#[inline]
pub(crate) unsafe fn prefetch(start: *const u8, bytes: usize) {
    // SAFETY: a prefetch reads nothing that a program could see.
    unsafe {
        asm!(
            "2:",
            "prefetchnta [{start}]",
            "add {start}, 64",
            "sub {bytes}, 64",
            "jnz 2b",
            start = inout(reg) start => _,
            bytes = inout(reg) bytes => _,
            options(nostack, readonly),
        );
    }
}
