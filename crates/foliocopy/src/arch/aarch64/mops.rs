//! The copy instructions of FEAT_MOPS: prologue, main part and epilogue (Arm ARM, "Memory Copy and Memory Set instructions").

use super::{Stopped, Work, copy_by, each_byte};
use crate::extable::may_fault;

/// A fault in the main part or in the epilogue leaves `x2` as the CPU keeps it. Option A counts up from minus the bytes left,
/// with both addresses at their ends; option B counts the bytes left down. The landing pad converts A to B. The CPU may stop
/// well before the fault, so the pad copies up to it byte by byte, and faults there again.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    copy_by!(
        work,
        MC,
        [
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
            each_byte!(),
            "5:",
            ".endif",
        ]
    )
}
