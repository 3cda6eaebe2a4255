//! 512-bit loads and stores.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// Whole pages without a loop inside, then a line a turn.
///
/// A rolled loop of the same loads and stores trains the prefetchers that go by the address of the
/// instruction: they run on past the end of the page. On Zen 5 with pages scattered over 512 KiB in
/// the L2 that costs half: 0.78 of `rep movsq` for the loop of four lines a turn, 1.35 for the whole
/// page; with a page in the L1 both give 1.85. Half a page a turn lies between (1.14), and prefetching
/// the page first gains nothing (1.27; 1.38 with the page in the L1). A prefetch eight lines ahead is worth its cost:
/// with the page in memory 1.03 against 0.98, in the L1 1.85 against 1.79; sixteen ahead 1.01, the destination too 1.03
/// and 1.41. At the end of a page it goes on with the next one (8 KiB in memory: 1.05 against 1.03), after the last at the
/// start of the range. Where another range comes next the prefetch is a page ahead: 512 scattered pages in the L3 then have
/// 1.13 for 1.12, in memory 1.08 for 1.03.
///
/// Four loads go before their four stores. Pairs of load and store are 0.84 of that from the L2 on,
/// but the loads that are done when the next one faults are not stored yet: so a fault in a page lands
/// at the loop over lines, which finds the line exactly.
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
            ".irp line, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60",
            ".if \\line < 56",
            "prefetcht0 [r8 + 64 * \\line]",
            "prefetcht0 [r8 + 64 * \\line + 64]",
            "prefetcht0 [r8 + 64 * \\line + 128]",
            "prefetcht0 [r8 + 64 * \\line + 192]",
            ".else",
            "prefetcht0 [r9 + 64 * \\line]",
            "prefetcht0 [r9 + 64 * \\line + 64]",
            "prefetcht0 [r9 + 64 * \\line + 128]",
            "prefetcht0 [r9 + 64 * \\line + 192]",
            ".endif",
            may_fault!("vmovdqa64 zmm0, [rsi + 64 * \\line]", "3f"),
            may_fault!("vmovdqa64 zmm1, [rsi + 64 * \\line + 64]", "3f"),
            may_fault!("vmovdqa64 zmm2, [rsi + 64 * \\line + 128]", "3f"),
            may_fault!("vmovdqa64 zmm3, [rsi + 64 * \\line + 192]", "3f"),
            may_fault!("vmovdqa64 [rdi + 64 * \\line], zmm0", "3f"),
            may_fault!("vmovdqa64 [rdi + 64 * \\line + 64], zmm1", "3f"),
            may_fault!("vmovdqa64 [rdi + 64 * \\line + 128], zmm2", "3f"),
            may_fault!("vmovdqa64 [rdi + 64 * \\line + 192], zmm3", "3f"),
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
            may_fault!("vmovdqa64 zmm0, [rsi]", "5f"),
            may_fault!("vmovdqa64 [rdi], zmm0", "5f"),
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
