//! Direct stores of a whole line: MOVDIR64B (Intel SDM volume 2).

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// A line a turn. The store is atomic and needs no write-combining buffer to fill up; it is weakly
/// ordered like a non-temporal one. The source may fault, the destination too, both at this one
/// instruction.
#[inline]
pub(super) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: the caller vouches for both ranges, whose start and length are multiples of 64, and for a
    // CPU that has the instruction. A prefetch can't fault.
    unsafe {
        asm!(
            ".balign 16",
            "2:",
            "prefetchnta [rsi + {prefetch}]",
            may_fault!("movdir64b rdi, zmmword ptr [rsi]", "3f"),
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 2b",
            "3:",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            prefetch = in(reg) work.prefetch,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
