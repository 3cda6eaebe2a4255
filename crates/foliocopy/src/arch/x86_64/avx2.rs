//! 256-bit loads and stores.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// Where a loop over whole pages prefetches while it copies one: `r8` plus the offset of the line for the first 56 lines,
/// `r9` plus it for the last eight. `r10` is the prefetch of its [`Work`] and `r11` what comes after the range.
///
/// Eight lines ahead within the page and, at its end, in the next one or what comes after; a whole page ahead where there
/// is something after.
macro_rules! prefetched_next {
    () => {
        "lea r9, [rsi + 4096]
        cmp rcx, 8192
        cmovb r9, r11
        mov r8, r9
        test r10, r10
        jnz 6f
        lea r8, [rsi + 512]
        sub r9, 3584
        6:"
    };
}

/// Whole pages without a loop inside, then a line a turn: see [`super::avx512::copy`], of which this
/// is the narrower twin.
#[inline]
pub(super) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: the caller vouches for both ranges, whose start and length are multiples of 64, and for a
    // CPU that has the instructions.
    unsafe {
        asm!(
            "cmp rcx, 4096",
            "jb 3f",
            ".balign 64",
            "2:",
            prefetched_next!(),
            ".irp line, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, \
                32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62",
            ".if \\line < 56",
            "prefetcht0 [r8 + 64 * \\line]",
            "prefetcht0 [r8 + 64 * \\line + 64]",
            ".else",
            "prefetcht0 [r9 + 64 * \\line]",
            "prefetcht0 [r9 + 64 * \\line + 64]",
            ".endif",
            may_fault!("vmovdqa ymm0, [rsi + 64 * \\line]", "3f"),
            may_fault!("vmovdqa ymm1, [rsi + 64 * \\line + 32]", "3f"),
            may_fault!("vmovdqa ymm2, [rsi + 64 * \\line + 64]", "3f"),
            may_fault!("vmovdqa ymm3, [rsi + 64 * \\line + 96]", "3f"),
            may_fault!("vmovdqa [rdi + 64 * \\line], ymm0", "3f"),
            may_fault!("vmovdqa [rdi + 64 * \\line + 32], ymm1", "3f"),
            may_fault!("vmovdqa [rdi + 64 * \\line + 64], ymm2", "3f"),
            may_fault!("vmovdqa [rdi + 64 * \\line + 96], ymm3", "3f"),
            ".endr",
            "add rsi, 4096",
            "add rdi, 4096",
            "sub rcx, 4096",
            "cmp rcx, 4096",
            "jae 2b",
            "3:",
            "test rcx, rcx",
            "jz 5f",
            "4:",
            may_fault!("vmovdqa ymm0, [rsi]", "5f"),
            may_fault!("vmovdqa ymm1, [rsi + 32]", "5f"),
            may_fault!("vmovdqa [rdi], ymm0", "5f"),
            may_fault!("vmovdqa [rdi + 32], ymm1", "5f"),
            "add rsi, 64",
            "add rdi, 64",
            "sub rcx, 64",
            "jnz 4b",
            "5:",
            "vzeroupper",
            machine_check_safe = const MACHINE_CHECK_SAFE as u32,
            inout("rcx") work.bytes => bytes_left,
            inout("rdi") work.dst => _,
            inout("rsi") work.src => _,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            out("r8") _,
            out("r9") _,
            in("r10") work.prefetch,
            in("r11") work.src.wrapping_offset(work.prefetch),
            out("xmm0") _,
            out("xmm1") _,
            out("xmm2") _,
            out("xmm3") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}

/// A line a turn past the cache, each with a prefetch. Memory fails by the line, so what is left at the
/// start of the turn is exact.
#[inline]
pub(super) unsafe fn copy_non_temporal<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: as above. A prefetch can't fault.
    unsafe {
        asm!(
            ".balign 64",
            "2:",
            "prefetchnta [rsi + {prefetch}]",
            may_fault!("vmovdqa ymm0, [rsi]", "3f"),
            may_fault!("vmovdqa ymm1, [rsi + 32]", "3f"),
            may_fault!("vmovntdq [rdi], ymm0", "3f"),
            may_fault!("vmovntdq [rdi + 32], ymm1", "3f"),
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
            out("xmm1") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}
