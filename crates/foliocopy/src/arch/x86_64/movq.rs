//! The unrolled general-purpose loop: Linux's `memcpy_orig` (`arch/x86/lib/memcpy_64.S`), 32 bytes a
//! turn.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// Copies by four loads and four stores. Memory fails by the line and a turn never crosses one, so the bytes left at the start
/// of the turn are exact.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: every load reads and every store writes within the ranges of the work, whose length is a positive multiple of
    // 64.
    unsafe {
        asm!(
            ".balign 16",
            "2:",
            may_fault!("mov r8, [rsi]", "3f"),
            may_fault!("mov r9, [rsi + 8]", "3f"),
            may_fault!("mov r10, [rsi + 16]", "3f"),
            may_fault!("mov r11, [rsi + 24]", "3f"),
            "add rsi, 32",
            may_fault!("mov [rdi], r8", "3f"),
            may_fault!("mov [rdi + 8], r9", "3f"),
            may_fault!("mov [rdi + 16], r10", "3f"),
            may_fault!("mov [rdi + 24], r11", "3f"),
            "add rdi, 32",
            "sub rcx, 32",
            "jnz 2b",
            "3:",
            machine_check_safe = const MC as u32,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
