//! The common parts of the loops over vector registers. A vector is named by its register, and moved by an aligned move.

/// The offset of each line of a page, for `.irp`.
macro_rules! lines {
    () => {
        "0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, \
         1024, 1088, 1152, 1216, 1280, 1344, 1408, 1472, 1536, 1600, 1664, 1728, 1792, 1856, 1920, 1984, \
         2048, 2112, 2176, 2240, 2304, 2368, 2432, 2496, 2560, 2624, 2688, 2752, 2816, 2880, 2944, 3008, \
         3072, 3136, 3200, 3264, 3328, 3392, 3456, 3520, 3584, 3648, 3712, 3776, 3840, 3904, 3968, 4032"
    };
}

/// Loads a vector. A fault lands at `$landing_pad`.
macro_rules! load {
    ($move:literal, $vector:literal, $offset:expr, $landing_pad:literal) => {
        $crate::extable::may_fault!(concat!($move, " ", $vector, ", [rsi + ", $offset, "]"), $landing_pad)
    };
}

/// Stores a vector. A fault lands at `$landing_pad`.
macro_rules! store {
    ($move:literal, $vector:literal, $offset:expr, $landing_pad:literal) => {
        $crate::extable::may_fault!(concat!($move, " [rdi + ", $offset, "], ", $vector), $landing_pad)
    };
}

/// Advances by `$step` bytes.
macro_rules! advance {
    ($step:expr) => {
        concat!("add rsi, ", $step, "\nadd rdi, ", $step, "\nsub rcx, ", $step)
    };
}

/// Copies whole pages by the templates in front, then the rest by those behind, a line at a time.
///
/// Whole pages are unrolled: a rolled loop makes the prefetcher run past the page. A fault in a page lands at the loop over
/// lines, which copies up to the bad line and faults there again: a page is loaded ahead of its stores. See
/// docs/tuning-notes.md, "unrolling".
macro_rules! by_pages {
    ($work:ident, $machine_check_safe:ident, pages: [$($page:expr),* $(,)?], line: [$($line:expr),* $(,)?]) => {
        $crate::arch::x86_64::vector::vector_loop!(
            $work,
            $machine_check_safe,
            [
                "cmp rcx, 4096",
                "jb 3f",
                $($page,)*
                "3:",
                "test rcx, rcx",
                "jz 5f",
                "4:",
                $($line,)*
                $crate::arch::x86_64::vector::advance!(64),
                "jnz 4b",
                "5:",
            ]
        )
    };
}

/// The page loop that prefetches eight lines ahead within a page. At the end of a page it prefetches the first lines of the
/// next one. Where a range is copied next, it prefetches a whole page ahead instead.
///
/// `$lines` is a list of the starts of groups of four lines, `$group` copies one.
macro_rules! prefetching_pages {
    ($($group:expr),* $(,)?) => {
        concat!(
            "lea r11, [rsi + r8]\n",
            "test r8, r8\n",
            "jnz 6f\n",
            ".balign 64\n",
            "2:\n",
            "lea r9, [rsi + 4096]\n",
            "cmp rcx, 8192\n",
            "cmovb r9, r11\n",
            ".irp line, 0, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 2560, 2816, 3072, 3328, 3584, 3840\n",
            ".if \\line < 2048\n",
            "prefetcht0 [rsi + \\line + 512]\n",
            "prefetcht0 [rsi + \\line + 576]\n",
            "prefetcht0 [rsi + \\line + 640]\n",
            "prefetcht0 [rsi + \\line + 704]\n",
            ".elseif \\line >= 3584\n",
            "prefetcht0 [r9 + \\line - 3584]\n",
            "prefetcht0 [r9 + \\line - 3520]\n",
            "prefetcht0 [r9 + \\line - 3456]\n",
            "prefetcht0 [r9 + \\line - 3392]\n",
            ".endif\n",
            $($group, "\n",)*
            ".endr\n",
            $crate::arch::x86_64::vector::advance!(4096),
            "\ncmp rcx, 4096\n",
            "jae 2b\n",
            "jmp 3f\n",
            ".balign 64\n",
            "6:\n",
            "lea r9, [rsi + 4096]\n",
            "cmp rcx, 8192\n",
            "cmovb r9, r11\n",
            ".irp line, 0, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 2560, 2816, 3072, 3328, 3584, 3840\n",
            "prefetcht0 [r9 + \\line]\n",
            "prefetcht0 [r9 + \\line + 64]\n",
            "prefetcht0 [r9 + \\line + 128]\n",
            "prefetcht0 [r9 + \\line + 192]\n",
            $($group, "\n",)*
            ".endr\n",
            $crate::arch::x86_64::vector::advance!(4096),
            "\ncmp rcx, 4096\n",
            "jae 6b",
        )
    };
}

/// One `asm!` block of templates over the registers of every loop. It ends with `vzeroupper`, which changes all sixteen
/// vector registers, whichever the templates name: so they are all clobbered.
macro_rules! vector_loop {
    ($work:ident, $machine_check_safe:ident, [$($template:expr),* $(,)?]) => {{
        let (bytes_left, trap);
        // SAFETY: every load reads and every store writes within the ranges of the work, whose starts and length are multiples
        // of 64; prefetches don't fault. The CPU has the instructions.
        unsafe {
            core::arch::asm!(
                $($template,)*
                "vzeroupper",
                machine_check_safe = const $machine_check_safe as u32,
                inout("rcx") $work.bytes => bytes_left,
                inout("rdi") $work.dst => _,
                inout("rsi") $work.src => _,
                inout("rax") 0_usize => trap,
                in("rdx") $work.recovery,
                in("r8") $work.prefetch,
                clobber_abi("sysv64"),
                options(nostack),
            );
        }
        $crate::arch::Stopped { bytes_left, trap }
    }};
}

/// Copies a line at a time past the cache. Memory fails by the line, so the bytes left at the start of the turn are exact.
macro_rules! past_the_cache {
    ($work:ident, $machine_check_safe:ident, $prefetches:ident, line: [$($line:expr),* $(,)?]) => {
        match $prefetches {
            true => $crate::arch::x86_64::vector::vector_loop!(
                $work,
                $machine_check_safe,
                [
                    ".balign 64",
                    "2:",
                    "prefetchnta [rsi + r8]",
                    $($line,)*
                    $crate::arch::x86_64::vector::advance!(64),
                    "jnz 2b",
                    "3:",
                ]
            ),
            false => $crate::arch::x86_64::vector::vector_loop!(
                $work,
                $machine_check_safe,
                [
                    ".balign 64",
                    "2:",
                    $($line,)*
                    $crate::arch::x86_64::vector::advance!(64),
                    "jnz 2b",
                    "3:",
                ]
            ),
        }
    };
}

pub(super) use {advance, by_pages, lines, load, past_the_cache, prefetching_pages, store, vector_loop};
