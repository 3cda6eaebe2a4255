//! The parts of `probe` without a counter: on other architectures, and under Miri.

use super::PageTimes;
use crate::primitive::Primitive;

pub(super) fn is_usable() -> bool {
    false
}

pub(crate) unsafe fn glance<const MC: bool>(_: *const u8, _: usize) -> bool {
    false
}

pub(crate) unsafe fn glance_at<const MC: bool>(
    _: usize,
    _: *const u8,
    _: impl Fn(usize) -> *const u8,
) -> bool {
    false
}

pub(crate) fn page_times(_: Primitive) -> Option<PageTimes> {
    None
}

pub(crate) fn now() -> u32 {
    0
}

pub(crate) unsafe fn prefetch(_: *const u8, _: usize) {}
