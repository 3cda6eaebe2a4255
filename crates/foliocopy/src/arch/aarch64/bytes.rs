//! Machine-check-safe copies of any address and length.
//!
//! Each block is loaded whole before any of it is stored, its stores ascend, and no register moves before the block is done. So
//! after a fault the bytes left are those at the start of the block in which memory fails. Bytes of the block may be stored
//! already, but none that lies behind the fault.

use super::{Stopped, Work, access, advance, copy_by, each_byte, line};
use crate::arch::ByteLoop;

/// Copies as many bytes as a bit of the length stands for, by one access.
macro_rules! bit {
    ($bit:literal, $bytes:literal, $load:literal, $store:literal) => {
        concat!("tbz x2, ", $bit, ", 5f\n", access!($load, $store, "9f"), advance!($bytes), "\n5:")
    };
}

/// Copies blocks of 64 bytes, then of 16. The rest takes one access for each power of two in its length, so 1, 2, 4 and 8 bytes
/// are one access each.
macro_rules! blocks {
    ($name:ident, $store:literal) => {
        /// # Safety
        ///
        /// As [`copy_bytes`].
        #[inline(never)]
        unsafe fn $name(work: Work) -> Stopped {
            copy_by!(
                work,
                true,
                [
                    "cmp x2, 64",
                    "b.lo 3f",
                    ".balign 16",
                    "2:",
                    line!($store, "9f"),
                    advance!("64"),
                    "cmp x2, 64",
                    "b.hs 2b",
                    "3:",
                    "cmp x2, 16",
                    "b.lo 4f",
                    access!("ldr q0", "str q0", "9f"),
                    advance!("16"),
                    "b 3b",
                    "4:",
                    bit!(3, "8", "ldr x5", "str x5"),
                    bit!(2, "4", "ldr w5", "str w5"),
                    bit!(1, "2", "ldrh w5", "strh w5"),
                    bit!(0, "1", "ldrb w5", "strb w5"),
                    "9:",
                ]
            )
        }
    };
}

blocks!(through_the_cache, "stp");
blocks!(past_the_cache, "stnp");

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
    copy_by!(work, true, [each_byte!(), "5:"])
}
