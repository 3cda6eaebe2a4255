//! Machine-check-safe copies of any address and length.
//!
//! A block is loaded whole before any of it is stored, stores ascend, and no register moves before a block is stored. So after a
//! fault the bytes left start at the block in which memory fails, or at most two blocks before it. Bytes behind that start may
//! be stored already, but none that lies behind the fault.

use super::vector::{advance, load, store};
use super::{Stopped, rep_movsb, store_fence};
use crate::arch::{ByteLoop, Work};
use crate::extable::may_fault;

/// The longest copy without a loop, in bytes.
const SHORT: usize = 64;

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
            ByteLoop { past_the_cache: true, avx2 } => {
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

/// Joins templates, one a line.
macro_rules! lines {
    ($($line:expr),* $(,)?) => { concat!($($line, "\n"),*) };
}

/// Copies 1 to [`SHORT`] bytes by one access, or by several that overlap. If the destination starts with a line, no access
/// crosses one. Goes on at label 8, or at 9 after a fault.
macro_rules! short {
    ($move:literal) => {
        lines!(
            "cmp rcx, 16",
            "jb 3f",
            "cmp rcx, 32",
            "ja 2f",
            load!($move, "xmm0", "0", "9f"),
            load!($move, "xmm1", "rcx - 16", "9f"),
            store!($move, "xmm0", "0", "9f"),
            store!($move, "xmm1", "rcx - 16", "9f"),
            "jmp 8f",
            "2:",
            load!($move, "xmm0", "0", "9f"),
            load!($move, "xmm1", "16", "9f"),
            load!($move, "xmm2", "rcx - 32", "9f"),
            load!($move, "xmm3", "rcx - 16", "9f"),
            store!($move, "xmm0", "0", "9f"),
            store!($move, "xmm1", "16", "9f"),
            store!($move, "xmm2", "rcx - 32", "9f"),
            store!($move, "xmm3", "rcx - 16", "9f"),
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
        )
    };
}

/// Copies by one access, or by several that overlap.
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
            short!("movdqu"),
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

/// Loads or stores the block of four vectors at the offset `$at`.
macro_rules! block {
    ($access:ident, $move:literal, $vector:literal, [$first:literal, $second:literal, $third:literal, $fourth:literal], $at:expr) => {
        lines!(
            $access!($move, $first, $at, "9f"),
            $access!($move, $second, concat!($at, " + ", $vector), "9f"),
            $access!($move, $third, concat!($at, " + 2 * ", $vector), "9f"),
            $access!($move, $fourth, concat!($at, " + 3 * ", $vector), "9f"),
        )
    };
}

/// Copies blocks of four vectors: one from the start, then blocks whose stores start with a line, then a rest of at most
/// [`SHORT`] bytes.
///
/// Two blocks are under way: one is stored when the next is loaded. So no load waits for a store right before it whose address
/// ends in the same twelve bits. The rest is stored within its line, since a store that crosses a page is slow. See
/// docs/tuning-notes.md, "bytes".
macro_rules! long {
    (
        $name:ident, $vector:literal, $block:literal, $move:literal, $aligned:literal, $even:tt, $odd:tt, $half:expr, $end:literal
    ) => {
        /// # Safety
        ///
        /// As [`copy_bytes`], for more than [`SHORT`] bytes. The CPU has the instructions.
        #[inline(never)]
        unsafe fn $name(
            dst: *mut u8,
            src: *const u8,
            bytes: usize,
            recovery: *mut crate::extable::Recovery,
        ) -> Stopped {
            let (bytes_left, trap);
            // SAFETY: every access lies within the two ranges: before each block its length is compared with the bytes left.
            unsafe {
                core::arch::asm!(
                    concat!("cmp rcx, ", $block),
                    "jbe 4f",
                    block!(load, $move, $vector, $even, "0"),
                    block!(store, $move, $vector, $even, "0"),
                    // Advance to the last line of the destination that starts in the block, or right behind it.
                    "mov r8d, edi",
                    "and r8d, 63",
                    concat!("sub r8, ", $block),
                    "sub rsi, r8",
                    "sub rdi, r8",
                    "add rcx, r8",
                    concat!("cmp rcx, 3 * ", $block),
                    "jbe 3f",
                    block!(load, $move, $vector, $even, "0"),
                    ".balign 64",
                    "2:",
                    block!(load, $move, $vector, $odd, $block),
                    block!(store, $aligned, $vector, $even, "0"),
                    block!(load, $move, $vector, $even, concat!("2 * ", $block)),
                    block!(store, $aligned, $vector, $odd, $block),
                    advance!(concat!("2 * ", $block)),
                    concat!("cmp rcx, 3 * ", $block),
                    "ja 2b",
                    block!(store, $aligned, $vector, $even, "0"),
                    advance!($block),
                    "3:",
                    concat!("cmp rcx, ", $block),
                    "jbe 4f",
                    block!(load, $move, $vector, $even, "0"),
                    block!(store, $aligned, $vector, $even, "0"),
                    advance!($block),
                    "jmp 3b",
                    "4:",
                    $half,
                    short!($move),
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
                    clobber_abi("sysv64"),
                    options(nostack),
                );
            }
            Stopped { bytes_left, trap }
        }
    };
}

/// Copies the first 64 bytes of a range that is longer, but shorter than a block.
macro_rules! half_avx2 {
    () => {
        lines!(
            "cmp rcx, 64",
            "jbe 2f",
            load!("vmovdqu", "ymm0", "0", "9f"),
            load!("vmovdqu", "ymm1", "32", "9f"),
            store!("vmovdqu", "ymm0", "0", "9f"),
            store!("vmovdqu", "ymm1", "32", "9f"),
            advance!("64"),
            "2:",
        )
    };
}

/// By 16-byte vectors, of which a block is no longer than [`SHORT`].
macro_rules! long_sse2 {
    ($name:ident, $aligned:literal) => {
        long!(
            $name,
            "16",
            "64",
            "movdqu",
            $aligned,
            ["xmm0", "xmm1", "xmm2", "xmm3"],
            ["xmm4", "xmm5", "xmm6", "xmm7"],
            "",
            ""
        );
    };
}

/// By 32-byte vectors.
macro_rules! long_avx2 {
    ($name:ident, $aligned:literal) => {
        long!(
            $name,
            "32",
            "128",
            "vmovdqu",
            $aligned,
            ["ymm0", "ymm1", "ymm2", "ymm3"],
            ["ymm4", "ymm5", "ymm6", "ymm7"],
            half_avx2!(),
            "vzeroupper"
        );
    };
}

long_sse2!(long_sse2, "movdqa");
long_sse2!(long_sse2_nt, "movntdq");
long_avx2!(long_avx2, "vmovdqa");
long_avx2!(long_avx2_nt, "vmovntdq");
