//! 256-bit loads and non-temporal stores.

use super::vector::{load, past_the_cache, store};
use super::{Stopped, Work};

/// Copies a line at a time. Memory fails by the line, so the bytes left at the start of the turn are exact.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool, const PREFETCHES: bool>(work: Work) -> Stopped {
    past_the_cache!(
        work,
        MC,
        PREFETCHES,
        line: [
            load!("vmovdqa", "ymm0", "0", "3f"),
            load!("vmovdqa", "ymm1", "32", "3f"),
            store!("vmovntdq", "ymm0", "0", "3f"),
            store!("vmovntdq", "ymm1", "32", "3f"),
        ]
    )
}
