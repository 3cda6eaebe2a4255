//! `rep movsb` and `rep movsq`: the copy in microcode.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// `rep movsb`. A fault leaves the bytes left in `rcx`.
#[inline]
pub(super) unsafe fn movsb<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: the caller vouches for both ranges; the ABI keeps the direction flag clear.
    unsafe {
        asm!(
            may_fault!("rep movsb", "2f"),
            "2:",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            options(nostack, preserves_flags),
        );
    }
    Stopped { bytes_left, trap }
}

/// `rep movsq`. A fault leaves the qwords left in `rcx`.
#[inline]
pub(super) unsafe fn movsq<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: as above, and the length is a multiple of 8.
    unsafe {
        asm!(
            may_fault!("rep movsq", "2f"),
            "2:",
            "shl rcx, 3",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            inout("rcx") work.bytes / 8 => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
