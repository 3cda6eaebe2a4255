//! Machine-check-safe copies of any address and length.
//!
//! A block is loaded whole before any of it is stored, its stores ascend, and no register moves before the block is done. So
//! after a fault the bytes left are those at the start of the block in which memory fails. Bytes of the block may be stored
//! already, but none that lies behind the fault.

use super::vector::{advance, load, store};
use super::{Stopped, rep_movsb, store_fence};
use crate::arch::{ByteLoop, Work};
use crate::extable::may_fault;

/// The longest copy without a loop, in bytes.
const SHORT: usize = 64;

/// The longest block.
const BLOCK: usize = 128;

/// Copies by the loop named. 1, 2, 4 and 8 bytes are one access each.
///
/// # Safety
///
/// Faults of the two ranges are caught, and the work's recovery points to what the handler fills in. They don't overlap, and
/// are not empty. The CPU has AVX2 where the loop uses it.
#[inline(always)]
pub(crate) unsafe fn copy_bytes(work: Work, by: ByteLoop) -> Stopped {
    let Work { dst, src, bytes, recovery, .. } = work;
    // SAFETY: each asks for what this function asks for, and for its length.
    unsafe {
        match by {
            _ if bytes <= SHORT => short(work),
            ByteLoop { past_the_cache: true, avx2 } if bytes > BLOCK => {
                let copy = if avx2 { long_avx2_nt } else { long_sse2_nt };
                let stopped = copy(dst, src, bytes, recovery);
                store_fence();
                stopped
            }
            ByteLoop { avx2: true, .. } => long_avx2(dst, src, bytes, recovery),
            _ => long_sse2(dst, src, bytes, recovery),
        }
    }
}

/// Copies byte by byte, so that the bytes left are exact.
///
/// # Safety
///
/// As [`copy_bytes`].
pub(crate) unsafe fn copy_each_byte(work: Work) -> Stopped {
    // SAFETY: this function's contract.
    unsafe { rep_movsb::copy::<true>(work) }
}

/// One access, or as many that overlap as cover the length.
///
/// # Safety
///
/// As [`copy_bytes`], for 1 to [`SHORT`] bytes.
#[inline(always)]
unsafe fn short(work: Work) -> Stopped {
    let (bytes_left, trap);
    // SAFETY: every access lies within the ranges of the work.
    unsafe {
        core::arch::asm!(
            "cmp rcx, 16",
            "jb 3f",
            "cmp rcx, 32",
            "ja 2f",
            load!("movdqu", "xmm0", "0", "9f"),
            load!("movdqu", "xmm1", "rcx - 16", "9f"),
            store!("movdqu", "xmm0", "0", "9f"),
            store!("movdqu", "xmm1", "rcx - 16", "9f"),
            "jmp 8f",
            "2:",
            load!("movdqu", "xmm0", "0", "9f"),
            load!("movdqu", "xmm1", "16", "9f"),
            load!("movdqu", "xmm2", "rcx - 32", "9f"),
            load!("movdqu", "xmm3", "rcx - 16", "9f"),
            store!("movdqu", "xmm0", "0", "9f"),
            store!("movdqu", "xmm1", "16", "9f"),
            store!("movdqu", "xmm2", "rcx - 32", "9f"),
            store!("movdqu", "xmm3", "rcx - 16", "9f"),
            "jmp 8f",
            "3:",
            "cmp rcx, 8",
            "jb 4f",
            load!("mov", "r8", "0", "9f"),
            "je 5f",
            load!("mov", "r9", "rcx - 8", "9f"),
            store!("mov", "r8", "0", "9f"),
            store!("mov", "r9", "rcx - 8", "9f"),
            "jmp 8f",
            "5:",
            store!("mov", "r8", "0", "9f"),
            "jmp 8f",
            "4:",
            "cmp rcx, 4",
            "jb 6f",
            load!("mov", "r8d", "0", "9f"),
            "je 5f",
            load!("mov", "r9d", "rcx - 4", "9f"),
            store!("mov", "r8d", "0", "9f"),
            store!("mov", "r9d", "rcx - 4", "9f"),
            "jmp 8f",
            "5:",
            store!("mov", "r8d", "0", "9f"),
            "jmp 8f",
            "6:",
            "cmp rcx, 2",
            "jb 7f",
            may_fault!("movzx r8d, word ptr [rsi]", "9f"),
            "je 5f",
            may_fault!("movzx r9d, byte ptr [rsi + 2]", "9f"),
            store!("mov", "r8w", "0", "9f"),
            store!("mov", "r9b", "2", "9f"),
            "jmp 8f",
            "5:",
            store!("mov", "r8w", "0", "9f"),
            "jmp 8f",
            "7:",
            may_fault!("movzx r8d, byte ptr [rsi]", "9f"),
            store!("mov", "r8b", "0", "9f"),
            "8:",
            "xor ecx, ecx",
            "9:",
            machine_check_safe = const 1,
            inout("rcx") work.bytes => bytes_left,
            in("rdi") work.dst,
            in("rsi") work.src,
            inout("rax") 0_usize => trap,
            in("rdx") work.recovery,
            out("r8") _,
            out("r9") _,
            out("xmm0") _,
            out("xmm1") _,
            out("xmm2") _,
            out("xmm3") _,
            options(nostack),
        );
    }
    Stopped { bytes_left, trap }
}

/// Four vectors at a time: one block from the start, then blocks whose stores are aligned to a line, then one that ends with
/// the range. A range of one block or less is left to `$whole`, where there may be one.
macro_rules! long {
    (
        $name:ident, $vector:literal, $block:literal, $move:literal, $aligned:literal,
        [$first:literal, $second:literal, $third:literal, $fourth:literal], $whole:expr, $end:literal
    ) => {
        /// # Safety
        ///
        /// As [`copy_bytes`], for more than [`SHORT`] bytes, and more than a block where `$whole` is empty. The CPU has the
        /// instructions.
        #[inline(never)]
        unsafe fn $name(
            dst: *mut u8,
            src: *const u8,
            bytes: usize,
            recovery: *mut crate::extable::Recovery,
        ) -> Stopped {
            let (bytes_left, trap);
            // SAFETY: every access lies within the two ranges: the first block is shorter than they are, or the range is one
            // block or less; a block of the loop is followed by a byte at least; the last one starts behind their start.
            unsafe {
                core::arch::asm!(
                    $whole,
                    load!($move, $first, "0", "9f"),
                    load!($move, $second, $vector, "9f"),
                    load!($move, $third, concat!("2 * ", $vector), "9f"),
                    load!($move, $fourth, concat!("3 * ", $vector), "9f"),
                    store!($move, $first, "0", "9f"),
                    store!($move, $second, $vector, "9f"),
                    store!($move, $third, concat!("2 * ", $vector), "9f"),
                    store!($move, $fourth, concat!("3 * ", $vector), "9f"),
                    // To the last line of the destination that starts in the block, or right behind it.
                    "mov r8d, edi",
                    "and r8d, 63",
                    concat!("sub r8, ", $block),
                    "sub rsi, r8",
                    "sub rdi, r8",
                    "add rcx, r8",
                    concat!("cmp rcx, ", $block),
                    "jbe 3f",
                    ".balign 64",
                    "2:",
                    load!($move, $first, "0", "9f"),
                    load!($move, $second, $vector, "9f"),
                    load!($move, $third, concat!("2 * ", $vector), "9f"),
                    load!($move, $fourth, concat!("3 * ", $vector), "9f"),
                    store!($aligned, $first, "0", "9f"),
                    store!($aligned, $second, $vector, "9f"),
                    store!($aligned, $third, concat!("2 * ", $vector), "9f"),
                    store!($aligned, $fourth, concat!("3 * ", $vector), "9f"),
                    advance!($block),
                    concat!("cmp rcx, ", $block),
                    "ja 2b",
                    "3:",
                    load!($move, $first, concat!("rcx - 4 * ", $vector), "9f"),
                    load!($move, $second, concat!("rcx - 3 * ", $vector), "9f"),
                    load!($move, $third, concat!("rcx - 2 * ", $vector), "9f"),
                    load!($move, $fourth, concat!("rcx - ", $vector), "9f"),
                    store!($move, $first, concat!("rcx - 4 * ", $vector), "9f"),
                    store!($move, $second, concat!("rcx - 3 * ", $vector), "9f"),
                    store!($move, $third, concat!("rcx - 2 * ", $vector), "9f"),
                    store!($move, $fourth, concat!("rcx - ", $vector), "9f"),
                    "8:",
                    "xor ecx, ecx",
                    "9:",
                    $end,
                    machine_check_safe = const 1,
                    inout("rcx") bytes => bytes_left,
                    inout("rdi") dst => _,
                    inout("rsi") src => _,
                    inout("rax") 0_usize => trap,
                    in("rdx") recovery,
                    out("r8") _,
                    clobber_abi("sysv64"),
                    options(nostack),
                );
            }
            Stopped { bytes_left, trap }
        }
    };
}

/// A range of one block or less, by 32-byte vectors.
macro_rules! whole_avx2 {
    () => {
        concat!(
            "cmp rcx, 128\n",
            "ja 4f\n",
            load!("vmovdqu", "ymm0", "0", "9f"),
            "\n",
            load!("vmovdqu", "ymm1", "32", "9f"),
            "\n",
            load!("vmovdqu", "ymm2", "rcx - 64", "9f"),
            "\n",
            load!("vmovdqu", "ymm3", "rcx - 32", "9f"),
            "\n",
            store!("vmovdqu", "ymm0", "0", "9f"),
            "\n",
            store!("vmovdqu", "ymm1", "32", "9f"),
            "\n",
            store!("vmovdqu", "ymm2", "rcx - 64", "9f"),
            "\n",
            store!("vmovdqu", "ymm3", "rcx - 32", "9f"),
            "\njmp 8f\n",
            "4:"
        )
    };
}

long!(long_sse2, "16", "64", "movdqu", "movdqa", ["xmm0", "xmm1", "xmm2", "xmm3"], "", "");
long!(long_sse2_nt, "16", "64", "movdqu", "movntdq", ["xmm0", "xmm1", "xmm2", "xmm3"], "", "");
long!(
    long_avx2,
    "32",
    "128",
    "vmovdqu",
    "vmovdqa",
    ["ymm0", "ymm1", "ymm2", "ymm3"],
    whole_avx2!(),
    "vzeroupper"
);
long!(long_avx2_nt, "32", "128", "vmovdqu", "vmovntdq", ["ymm0", "ymm1", "ymm2", "ymm3"], "", "vzeroupper");
