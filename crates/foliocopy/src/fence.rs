//! The fence that non-temporal stores need before anybody else may rely on them.

use crate::primitive::Primitive;

/// Fences when it goes out of scope, on whichever way: success, fault or unwinding.
///
/// Non-temporal and direct stores are weakly ordered (Intel SDM volume 1, 10.4.6.2): without the fence
/// a lock released after the copy could be seen taken before the copied bytes are.
pub(crate) struct FenceGuard {
    primitive: Primitive,
}

impl FenceGuard {
    /// Guards the stores that `primitive` is about to make.
    #[inline]
    pub(crate) fn new(primitive: Primitive) -> Self {
        Self { primitive }
    }
}

impl Drop for FenceGuard {
    #[inline]
    fn drop(&mut self) {
        if self.primitive.is_non_temporal() {
            crate::arch::store_fence();
        }
    }
}
