//! The copy instructions of FEAT_MOPS: prologue, main part and epilogue (Arm ARM, "Memory Copy and Memory Set instructions").

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// A fault in the main part or in the epilogue leaves `x2` as the CPU keeps it. Option A counts up from minus the bytes left,
/// with both addresses at their ends; option B counts the bytes left down. The landing pad makes B of A. How far the CPU has
/// come may be less than it could have, so the pad copies up to the fault byte by byte, and faults there again.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: every instruction reads and writes within the ranges of the work. The CPU has the instructions.
    unsafe {
        asm!(
            ".arch_extension mops",
            may_fault!("cpyfp [x0]!, [x1]!, x2!", "3f"),
            may_fault!("cpyfm [x0]!, [x1]!, x2!", "3f"),
            may_fault!("cpyfe [x0]!, [x1]!, x2!", "3f"),
            ".if {machine_check_safe}",
            "b 5f",
            "3:",
            "tbz x2, 63, 4f",
            "add x0, x0, x2",
            "add x1, x1, x2",
            "neg x2, x2",
            "4:",
            may_fault!("ldrb w5, [x1]", "5f"),
            may_fault!("strb w5, [x0]", "5f"),
            "add x1, x1, 1",
            "add x0, x0, 1",
            "subs x2, x2, 1",
            "b.ne 4b",
            "5:",
            ".endif",
            machine_check_safe = const MC as u32,
            inout("x0") work.dst => _,
            inout("x1") work.src => _,
            inout("x2") work.bytes => bytes_left,
            in("x3") work.recovery,
            inout("x4") 0_usize => trap,
            out("x5") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
