//! 256-bit loads and stores.

use super::vector::{advance, by_pages, lines, load, prefetching_pages, store};
use super::{Stopped, Work};

/// Copies with each load before its store, and no prefetch.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    by_pages!(
        work,
        MC,
        pages: [
            ".balign 64",
            "2:",
            concat!(".irp line, ", lines!()),
            load!("vmovdqa", "ymm0", "\\line", "3f"),
            store!("vmovdqa", "ymm0", "\\line", "3f"),
            load!("vmovdqa", "ymm1", "\\line + 32", "3f"),
            store!("vmovdqa", "ymm1", "\\line + 32", "3f"),
            ".endr",
            advance!(4096),
            "cmp rcx, 4096",
            "jae 2b",
        ],
        line: [
            load!("vmovdqa", "ymm0", "0", "5f"),
            load!("vmovdqa", "ymm1", "32", "5f"),
            store!("vmovdqa", "ymm0", "0", "5f"),
            store!("vmovdqa", "ymm1", "32", "5f"),
        ]
    )
}

/// Copies with four loads before their four stores, and a prefetch.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy_prefetching<const MC: bool>(work: Work) -> Stopped {
    by_pages!(
        work,
        MC,
        pages: [prefetching_pages!(
            load!("vmovdqa", "ymm0", "\\line", "3f"),
            load!("vmovdqa", "ymm1", "\\line + 32", "3f"),
            load!("vmovdqa", "ymm2", "\\line + 64", "3f"),
            load!("vmovdqa", "ymm3", "\\line + 96", "3f"),
            store!("vmovdqa", "ymm0", "\\line", "3f"),
            store!("vmovdqa", "ymm1", "\\line + 32", "3f"),
            store!("vmovdqa", "ymm2", "\\line + 64", "3f"),
            store!("vmovdqa", "ymm3", "\\line + 96", "3f"),
            load!("vmovdqa", "ymm0", "\\line + 128", "3f"),
            load!("vmovdqa", "ymm1", "\\line + 160", "3f"),
            load!("vmovdqa", "ymm2", "\\line + 192", "3f"),
            load!("vmovdqa", "ymm3", "\\line + 224", "3f"),
            store!("vmovdqa", "ymm0", "\\line + 128", "3f"),
            store!("vmovdqa", "ymm1", "\\line + 160", "3f"),
            store!("vmovdqa", "ymm2", "\\line + 192", "3f"),
            store!("vmovdqa", "ymm3", "\\line + 224", "3f"),
        )],
        line: [
            load!("vmovdqa", "ymm0", "0", "5f"),
            load!("vmovdqa", "ymm1", "32", "5f"),
            store!("vmovdqa", "ymm0", "0", "5f"),
            store!("vmovdqa", "ymm1", "32", "5f"),
        ]
    )
}
