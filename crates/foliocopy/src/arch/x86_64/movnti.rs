//! Non-temporal stores from general-purpose registers, the only ones that a kernel has.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// Copies a line at a time, in two halves of four loads and four stores, as Linux's `__copy_user_nocache` does. Memory fails by
/// the line, so the bytes left at the start of the turn are exact. `rax` holds data, unless a fault leaves its number there.
/// One more register would have to be saved, by every other primitive too.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool, const PREFETCHES: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: every load reads and every store writes within the ranges of the work, whose length is a positive multiple of
    // 64.
    unsafe {
        asm!(
            ".balign 16",
            "2:",
            // This instruction may fault, so it comes first: an emulator can raise a fault only there.
            may_fault!("mov rax, [rsi]", "3f"),
            ".if {prefetches}",
            "prefetchnta [rsi + r8]",
            ".endif",
            may_fault!("mov r9, [rsi + 8]", "3f"),
            may_fault!("mov r10, [rsi + 16]", "3f"),
            may_fault!("mov r11, [rsi + 24]", "3f"),
            may_fault!("movnti [rdi], rax", "3f"),
            may_fault!("movnti [rdi + 8], r9", "3f"),
            may_fault!("movnti [rdi + 16], r10", "3f"),
            may_fault!("movnti [rdi + 24], r11", "3f"),
            may_fault!("mov rax, [rsi + 32]", "3f"),
            may_fault!("mov r9, [rsi + 40]", "3f"),
            may_fault!("mov r10, [rsi + 48]", "3f"),
            may_fault!("mov r11, [rsi + 56]", "3f"),
            may_fault!("movnti [rdi + 32], rax", "3f"),
            may_fault!("movnti [rdi + 40], r9", "3f"),
            may_fault!("movnti [rdi + 48], r10", "3f"),
            may_fault!("movnti [rdi + 56], r11", "3f"),
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 2b",
            "xor eax, eax",
            "3:",
            machine_check_safe = const MC as u32,
            prefetches = const PREFETCHES as u32,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            out("rax") trap,
            in("rdx") work.recovery,
            in("r8") work.prefetch,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
