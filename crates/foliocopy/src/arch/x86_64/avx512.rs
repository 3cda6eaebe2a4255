//! 512-bit loads and stores.

use core::arch::asm;

use super::{Stopped, Work};
use crate::extable::may_fault;

/// The page at `rsi` to the page at `rdi`, four lines at once, with something before each four. A fault lands at the
/// label `3:`.
macro_rules! page {
    ($($before:literal),* $(,)?) => {
        concat!(
            ".irp line, 0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60\n",
            $($before, "\n",)*
            may_fault!("vmovdqa64 zmm0, [rsi + 64 * \\line]", "3f"), "\n",
            may_fault!("vmovdqa64 zmm1, [rsi + 64 * \\line + 64]", "3f"), "\n",
            may_fault!("vmovdqa64 zmm2, [rsi + 64 * \\line + 128]", "3f"), "\n",
            may_fault!("vmovdqa64 zmm3, [rsi + 64 * \\line + 192]", "3f"), "\n",
            may_fault!("vmovdqa64 [rdi + 64 * \\line], zmm0", "3f"), "\n",
            may_fault!("vmovdqa64 [rdi + 64 * \\line + 64], zmm1", "3f"), "\n",
            may_fault!("vmovdqa64 [rdi + 64 * \\line + 128], zmm2", "3f"), "\n",
            may_fault!("vmovdqa64 [rdi + 64 * \\line + 192], zmm3", "3f"), "\n",
            ".endr\n",
            "add rsi, 4096\n",
            "add rdi, 4096\n",
            "sub rcx, 4096\n",
            "cmp rcx, 4096",
        )
    };
}

/// Whole pages without a loop inside, then a line a turn.
///
/// A rolled loop of the same loads and stores trains the prefetchers that go by the address of the
/// instruction: they run on past the end of the page. On Zen 5 with pages scattered over 512 KiB in
/// the L2 that costs half: 0.78 of `rep movsq` for the loop of four lines a turn, 1.35 for the whole
/// page; with a page in the L1 both give 1.85. Half a page a turn lies between (1.14), and prefetching
/// the page first gains nothing (1.27; 1.38 with the page in the L1).
///
/// Lines 8 to 39 of a page are prefetched eight ahead, and at its end the first eight of the next one, after the last those
/// of the first. With the page in memory that has 1.05, in the L1 1.88; without any 1.03 and 1.86, every line eight ahead
/// 1.06 and 1.77, every second line 1.03 and 1.88, sixteen ahead 1.01, and the destination too 1.03 and 1.41. Where another
/// range comes next all of a page is prefetched while the one before is copied: 512 scattered pages in the L3 then have 1.13
/// for 1.12, in memory 1.08 for 1.03.
///
/// Four loads go before their four stores. Pairs of load and store are 0.84 of that from the L2 on,
/// but the loads that are done when the next one faults are not stored yet: so a fault in a page lands
/// at the loop over lines, which finds the line exactly.
#[inline]
pub(super) unsafe fn copy<const MACHINE_CHECK_SAFE: bool>(work: Work) -> Stopped {
    // SAFETY: the caller's promises.
    unsafe { copy_to_end::<MACHINE_CHECK_SAFE>(work).0 }
}

/// The same, with where the destination and the source end, or where it stopped: for who goes on there and would have to keep
/// the start meanwhile.
#[inline(always)]
pub(super) unsafe fn copy_to_end<const MACHINE_CHECK_SAFE: bool>(
    work: Work,
) -> (Stopped, *mut u8, *const u8) {
    let (bytes_left, trap, dst, src);
    // SAFETY: the caller vouches for both ranges, whose start and length are multiples of 64, and for a
    // CPU that has the instructions.
    unsafe {
        asm!(
            "cmp rcx, 4096",
            "jb 3f",
            "test r10, r10",
            "jnz 6f",
            ".balign 64",
            "2:",
            "lea r9, [rsi + 4096]",
            "cmp rcx, 8192",
            "cmovb r9, r11",
            page!(
                ".if \\line < 32",
                "prefetcht0 [rsi + 64 * \\line + 512]",
                "prefetcht0 [rsi + 64 * \\line + 576]",
                "prefetcht0 [rsi + 64 * \\line + 640]",
                "prefetcht0 [rsi + 64 * \\line + 704]",
                ".elseif \\line >= 56",
                "prefetcht0 [r9 + 64 * (\\line - 56)]",
                "prefetcht0 [r9 + 64 * (\\line - 56) + 64]",
                "prefetcht0 [r9 + 64 * (\\line - 56) + 128]",
                "prefetcht0 [r9 + 64 * (\\line - 56) + 192]",
                ".endif",
            ),
            "jae 2b",
            "jmp 3f",
            ".balign 64",
            "6:",
            "lea r9, [rsi + 4096]",
            "cmp rcx, 8192",
            "cmovb r9, r11",
            page!(
                "prefetcht0 [r9 + 64 * \\line]",
                "prefetcht0 [r9 + 64 * \\line + 64]",
                "prefetcht0 [r9 + 64 * \\line + 128]",
                "prefetcht0 [r9 + 64 * \\line + 192]",
            ),
            "jae 6b",
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
            inout("rdi") work.dst => dst,
            inout("rsi") work.src => src,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
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
    (Stopped { bytes_left, trap }, dst, src)
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
