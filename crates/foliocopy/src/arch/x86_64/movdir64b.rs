//! Direct stores of a whole line: MOVDIR64B (Intel SDM volume 2).

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// Copies a line at a time. The store is atomic and needs no write-combining buffer. It is weakly ordered, like a non-temporal
/// one. Both source and destination may fault, at this one instruction.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool, const PREFETCHES: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: every load reads and every store writes within the ranges of the work, whose length is a positive multiple of
    // 64. The CPU has the instruction.
    unsafe {
        asm!(
            ".balign 16",
            "2:",
            ".if {prefetches}",
            "prefetchnta [rsi + r8]",
            ".endif",
            may_fault!("movdir64b rdi, zmmword ptr [rsi]", "3f"),
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 2b",
            "3:",
            machine_check_safe = const MC as u32,
            prefetches = const PREFETCHES as u32,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            in("r8") work.prefetch,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
