//! `rep movsq`: the copy in microcode, counted in words of 8 bytes.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// Copies. A fault leaves the words left in `rcx`.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: `rep movsq` writes and reads the ranges of the work, whose length is a multiple of 8. The ABI keeps the
    // direction flag clear.
    unsafe {
        asm!(
            may_fault!("rep movsq", "2f"),
            "2:",
            "shl rcx, 3",
            machine_check_safe = const MC as u32,
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
