//! Machine-check-safe copies of any address and length.
//!
//! Each block is loaded whole before any of it is stored, its stores ascend, and no register moves before the block is done. So
//! after a fault the bytes left are those at the start of the block in which memory fails. Bytes of the block may be stored
//! already, but none that lies behind the fault.

use core::arch::asm;

use super::{Stopped, Work};
use crate::arch::ByteLoop;
use crate::extable::may_fault;

/// Copies blocks of 64 bytes, then of 16, and what is left by one access for each power of two in its length: so 1, 2, 4 and 8
/// bytes are one access each.
macro_rules! copy_by {
    ($name:ident, $store:literal) => {
        /// # Safety
        ///
        /// As [`copy_bytes`].
        #[inline(never)]
        unsafe fn $name(work: Work) -> Stopped {
            let (bytes_left, trap);
            // SAFETY: every access lies within the ranges of the work.
            unsafe {
                asm!(
                    "cmp x2, 64",
                    "b.lo 3f",
                    ".balign 16",
                    "2:",
                    may_fault!("ldp q0, q1, [x1]", "9f"),
                    may_fault!("ldp q2, q3, [x1, 32]", "9f"),
                    may_fault!(concat!($store, " q0, q1, [x0]"), "9f"),
                    may_fault!(concat!($store, " q2, q3, [x0, 32]"), "9f"),
                    "add x1, x1, 64",
                    "add x0, x0, 64",
                    "sub x2, x2, 64",
                    "cmp x2, 64",
                    "b.hs 2b",
                    "3:",
                    "cmp x2, 16",
                    "b.lo 4f",
                    may_fault!("ldr q0, [x1]", "9f"),
                    may_fault!("str q0, [x0]", "9f"),
                    "add x1, x1, 16",
                    "add x0, x0, 16",
                    "sub x2, x2, 16",
                    "b 3b",
                    "4:",
                    "tbz x2, 3, 5f",
                    may_fault!("ldr x5, [x1]", "9f"),
                    may_fault!("str x5, [x0]", "9f"),
                    "add x1, x1, 8",
                    "add x0, x0, 8",
                    "sub x2, x2, 8",
                    "5:",
                    "tbz x2, 2, 6f",
                    may_fault!("ldr w5, [x1]", "9f"),
                    may_fault!("str w5, [x0]", "9f"),
                    "add x1, x1, 4",
                    "add x0, x0, 4",
                    "sub x2, x2, 4",
                    "6:",
                    "tbz x2, 1, 7f",
                    may_fault!("ldrh w5, [x1]", "9f"),
                    may_fault!("strh w5, [x0]", "9f"),
                    "add x1, x1, 2",
                    "add x0, x0, 2",
                    "sub x2, x2, 2",
                    "7:",
                    "cbz x2, 9f",
                    may_fault!("ldrb w5, [x1]", "9f"),
                    may_fault!("strb w5, [x0]", "9f"),
                    "mov x2, 0",
                    "9:",
                    machine_check_safe = const 1,
                    inout("x0") work.dst => _,
                    inout("x1") work.src => _,
                    inout("x2") work.bytes => bytes_left,
                    in("x3") work.recovery,
                    inout("x4") 0_usize => trap,
                    out("x5") _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    options(nostack),
                );
            }
            Stopped { bytes_left, trap }
        }
    };
}

copy_by!(through_the_cache, "stp");
copy_by!(past_the_cache, "stnp");

/// Copies by the loop named.
///
/// # Safety
///
/// Faults of the two ranges are caught, and the work's recovery points to what the handler fills in. They don't overlap, and
/// are not empty.
#[inline(always)]
pub(crate) unsafe fn copy_bytes(work: Work, by: ByteLoop) -> Stopped {
    let ByteLoop { avx2: _avx2, past_the_cache: past } = by;
    // SAFETY: this function's contract.
    unsafe { if past { past_the_cache(work) } else { through_the_cache(work) } }
}

/// Copies byte by byte, so that the bytes left are exact.
///
/// # Safety
///
/// As [`copy_bytes`].
pub(crate) unsafe fn copy_each_byte(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: every access lies within the ranges of the work.
    unsafe {
        asm!(
            "2:",
            may_fault!("ldrb w5, [x1]", "3f"),
            may_fault!("strb w5, [x0]", "3f"),
            "add x1, x1, 1",
            "add x0, x0, 1",
            "subs x2, x2, 1",
            "b.ne 2b",
            "3:",
            machine_check_safe = const 1,
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
