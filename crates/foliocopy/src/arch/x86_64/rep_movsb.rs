//! `rep movsb`: the copy in microcode, counted in bytes.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// Copies. A fault leaves the bytes left in `rcx`.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: `rep movsb` writes `bytes` bytes from `dst` on and reads as many from `src` on: the ranges of the work. The ABI
    // keeps the direction flag clear.
    unsafe {
        asm!(
            may_fault!("rep movsb", "2f"),
            "2:",
            machine_check_safe = const MC as u32,
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
