//! 512-bit loads and stores.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// A line a turn into the cache: one load, one store. Memory fails by the line, so what is left at
/// the start of the turn is exact.
#[inline]
pub(super) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: the caller vouches for both ranges, whose start and length are multiples of 64, and for a
    // CPU that has the instructions.
    unsafe {
        asm!(
            ".balign 64",
            "2:",
            may_fault!("vmovdqa64 zmm0, [rsi]", "3f"),
            may_fault!("vmovdqa64 [rdi], zmm0", "3f"),
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 2b",
            "3:",
            "vzeroupper",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            out("xmm0") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}

/// A line a turn past the cache.
#[inline]
pub(super) unsafe fn copy_non_temporal<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: as above. A prefetch can't fault.
    unsafe {
        asm!(
            ".balign 64",
            "2:",
            "prefetchnta [rsi + {prefetch}]",
            may_fault!("vmovdqa64 zmm0, [rsi]", "3f"),
            may_fault!("vmovntdq [rdi], zmm0", "3f"),
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 2b",
            "3:",
            "vzeroupper",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            prefetch = in(reg) work.prefetch,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            out("xmm0") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
