//! Dispatch over the loops of aarch64.
//!
//! Every loop keeps the same registers, so that a landing pad finds its state there. `x0` is the destination, `x1` the
//! source and `x2` the bytes left. `x3` is the [`Recovery`](crate::extable::Recovery) of the copy, and `x4` the number of
//! the trap.

#[cfg(feature = "std")]
pub(super) mod bytes;
mod ldp_stnp;
mod ldp_stp;
mod mops;

use super::{Loop, Stopped, Work};
use crate::primitive::Primitive;

/// Runs a loop that is known at compile time.
///
/// # Safety
///
/// The source of the work is readable and its destination writable, or with `MC` their faults are caught
/// and `recovery` points to what the handler fills in. They don't overlap. The CPU has what the primitive requires.
#[inline(always)]
pub(crate) unsafe fn run<const MC: bool>(which: Loop, work: Work) -> Stopped {
    let Loop { by, prefetches: _prefetches } = which;
    // SAFETY: each loop asks for what this function asks for.
    unsafe {
        match by {
            Primitive::LdpStnp => ldp_stnp::copy::<MC>(work),
            Primitive::Mops => mops::copy::<MC>(work),
            Primitive::Portable if !MC => {
                super::portable::copy(work.dst, work.src, work.bytes);
                Stopped { bytes_left: 0, trap: 0 }
            }
            // `ldp_stp`. No policy for this CPU and no safe copy names another one that comes here.
            _ => ldp_stp::copy::<MC>(work),
        }
    }
}

/// Does nothing: STNP only hints that the data is not needed soon, and a release orders it like any other store.
pub(crate) fn store_fence() {}

/// One load and one store. A fault lands at `$landing_pad`.
macro_rules! access {
    ($load:literal, $store:literal, $landing_pad:literal) => {
        concat!(
            $crate::extable::may_fault!(concat!($load, ", [x1]"), $landing_pad),
            "\n",
            $crate::extable::may_fault!(concat!($store, ", [x0]"), $landing_pad),
            "\n"
        )
    };
}

/// A line by pairs of vectors, all loads before the stores. A fault lands at `$landing_pad`.
macro_rules! line {
    ($store:literal, $landing_pad:literal) => {
        concat!(
            $crate::extable::may_fault!("ldp q0, q1, [x1]", $landing_pad),
            "\n",
            $crate::extable::may_fault!("ldp q2, q3, [x1, 32]", $landing_pad),
            "\n",
            $crate::extable::may_fault!(concat!($store, " q0, q1, [x0]"), $landing_pad),
            "\n",
            $crate::extable::may_fault!(concat!($store, " q2, q3, [x0, 32]"), $landing_pad)
        )
    };
}

/// Advances by `$step` bytes, and sets the flags by the bytes left.
macro_rules! advance {
    ($step:literal) => {
        concat!("add x1, x1, ", $step, "\nadd x0, x0, ", $step, "\nsubs x2, x2, ", $step)
    };
}

/// Copies a byte at a time. It ends, and a fault lands, at the label 5.
macro_rules! each_byte {
    () => {
        concat!(
            "4:\n",
            $crate::arch::aarch64::access!("ldrb w5", "strb w5", "5f"),
            $crate::arch::aarch64::advance!("1"),
            "\nb.ne 4b"
        )
    };
}

/// One `asm!` block of templates over the registers of every loop.
macro_rules! copy_by {
    ($work:ident, $machine_check_safe:expr, [$($template:expr),* $(,)?]) => {{
        let (bytes_left, trap);
        // SAFETY: every load reads and every store writes within the ranges of the work. The CPU has the instructions.
        unsafe {
            core::arch::asm!(
                $($template,)*
                machine_check_safe = const $machine_check_safe as u32,
                inout("x0") $work.dst => _,
                inout("x1") $work.src => _,
                inout("x2") $work.bytes => bytes_left,
                in("x3") $work.recovery,
                inout("x4") 0_usize => trap,
                out("x5") _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                options(nostack),
            );
        }
        $crate::arch::Stopped { bytes_left, trap }
    }};
}

/// Copies a line at a time. Memory fails by the line, so the bytes left at the start of the turn are exact.
macro_rules! by_lines {
    ($work:ident, $machine_check_safe:ident, $store:literal) => {
        $crate::arch::aarch64::copy_by!(
            $work,
            $machine_check_safe,
            [
                ".balign 16",
                "2:",
                $crate::arch::aarch64::line!($store, "3f"),
                $crate::arch::aarch64::advance!("64"),
                "b.ne 2b",
                "3:",
            ]
        )
    };
}

use {access, advance, by_lines, copy_by, each_byte, line};
