//! Loads and stores of pairs of vectors.

use super::{Stopped, Work, by_lines};

/// Copies a line at a time.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    by_lines!(work, MC, "stp")
}
