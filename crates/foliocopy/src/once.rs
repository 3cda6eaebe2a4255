//! A value worked out once and kept, without a lock and without an operating system.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const FILLING: u8 = 1;
const READY: u8 = 2;

/// Keeps the first value worked out. A caller that comes while another one fills it does not wait: it
/// works its own value out and uses that, so this never spins, not even in an interrupt.
pub(crate) struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by the one caller that moves the state from EMPTY to FILLING, and is
// only read once that caller has moved it on to READY.
unsafe impl<T: Copy + Send + Sync> Sync for Once<T> {}

impl<T: Copy> Once<T> {
    pub(crate) const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// What `use_it` makes of the value kept, or of the one that `work_out` gives.
    #[inline]
    pub(crate) fn with<R>(&self, work_out: impl FnOnce() -> T, use_it: impl FnOnce(&T) -> R) -> R {
        if self.state.load(Ordering::Acquire) == READY {
            // SAFETY: READY is stored, with release, after the value was written, and it stays.
            return use_it(unsafe { (*self.value.get()).assume_init_ref() });
        }
        use_it(&self.keep(work_out()))
    }

    #[cold]
    #[inline(never)]
    fn keep(&self, value: T) -> T {
        if self.state.compare_exchange(EMPTY, FILLING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // SAFETY: only the caller that won the exchange comes here, and nobody reads before READY.
            unsafe { (*self.value.get()).write(value) };
            self.state.store(READY, Ordering::Release);
        }
        value
    }
}
