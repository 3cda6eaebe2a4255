//! Loads of pairs of vectors, and stores that hint that the data is not needed soon (Arm ARM, "Load/Store Non-temporal pair").

use super::{Stopped, Work, by_lines};

/// Copies a line at a time.
///
/// # Safety
///
/// As [`super::run`].
#[inline(always)]
pub(super) unsafe fn copy<const MC: bool>(work: Work) -> Stopped {
    by_lines!(work, MC, "stnp")
}
