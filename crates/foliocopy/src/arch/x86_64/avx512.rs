//! 512-bit loads and stores.

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
            load!("vmovdqa64", "zmm0", "\\line", "3f"),
            store!("vmovdqa64", "zmm0", "\\line", "3f"),
            ".endr",
            advance!(4096),
            "cmp rcx, 4096",
            "jae 2b",
        ],
        line: [load!("vmovdqa64", "zmm0", "0", "5f"), store!("vmovdqa64", "zmm0", "0", "5f")]
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
            load!("vmovdqa64", "zmm0", "\\line", "3f"),
            load!("vmovdqa64", "zmm1", "\\line + 64", "3f"),
            load!("vmovdqa64", "zmm2", "\\line + 128", "3f"),
            load!("vmovdqa64", "zmm3", "\\line + 192", "3f"),
            store!("vmovdqa64", "zmm0", "\\line", "3f"),
            store!("vmovdqa64", "zmm1", "\\line + 64", "3f"),
            store!("vmovdqa64", "zmm2", "\\line + 128", "3f"),
            store!("vmovdqa64", "zmm3", "\\line + 192", "3f"),
        )],
        line: [load!("vmovdqa64", "zmm0", "0", "5f"), store!("vmovdqa64", "zmm0", "0", "5f")]
    )
}
