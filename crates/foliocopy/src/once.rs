//! A value worked out once and kept, without a lock and without an operating system.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const FILLING: u8 = 1;
const READY: u8 = 2;
/// As `READY`, and marked.
#[cfg(not(foliocopy_kernel))]
const MARKED: u8 = 3;

/// Keeps the first value given to it. No caller waits: a reader finds it empty while another thread fills it. So it never
/// spins, not even in an interrupt.
///
/// The state and the start of the value share a line of the cache.
#[repr(C, align(64))]
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

    /// The value kept, if there is one yet.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        match self.state.load(Ordering::Acquire) {
            // SAFETY: READY is stored, with release, after the value was written, and it stays.
            READY.. => Some(unsafe { (*self.value.get()).assume_init_ref() }),
            _ => None,
        }
    }

    /// The value kept, if it is marked.
    #[cfg(not(foliocopy_kernel))]
    #[inline(always)]
    pub(crate) fn marked(&self) -> Option<&T> {
        match self.state.load(Ordering::Acquire) {
            // SAFETY: only a READY value is marked, with release, and it stays.
            MARKED => Some(unsafe { (*self.value.get()).assume_init_ref() }),
            _ => None,
        }
    }

    /// Marks the value, if there is one.
    #[cfg(not(foliocopy_kernel))]
    pub(crate) fn mark(&self) {
        let _ = self.state.compare_exchange(READY, MARKED, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Keeps the value of the closure, unless a value is kept already or is being kept.
    #[cold]
    #[inline(never)]
    pub(crate) fn keep_with(&self, value: impl FnOnce() -> T) {
        if self.state.compare_exchange(EMPTY, FILLING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // SAFETY: only the caller that won the exchange comes here, and nobody reads before READY.
            unsafe { (*self.value.get()).write(value()) };
            self.state.store(READY, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_stays() {
        let once = Once::new();
        assert_eq!(once.get(), None);
        once.keep_with(|| 1);
        once.keep_with(|| 2);
        assert_eq!((once.get(), once.marked()), (Some(&1), None));
        once.mark();
        assert_eq!((once.get(), once.marked()), (Some(&1), Some(&1)));
    }
}
