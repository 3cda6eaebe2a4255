//! Signals that are blocked while the handler works.

use core::ffi::c_void;
use core::ptr;

/// The kernel's set of signals: a bit each, signal 1 first. The types of libc are longer.
#[derive(Clone, Copy)]
pub(super) struct Mask(u64);

impl Mask {
    /// Every signal. libc's `sigfillset` leaves out those that it keeps for itself.
    pub(super) const ALL: Self = Self(!0);

    /// Converts a set of libc's into the kernel's form.
    pub(super) fn of(set: &libc::sigset_t) -> Self {
        const { assert!(size_of::<libc::sigset_t>() >= size_of::<u64>()) };
        // SAFETY: where words have 64 bits a `sigset_t` is an array of words, of which the kernel reads and writes the first.
        Self(unsafe { ptr::from_ref(set).cast::<u64>().read() })
    }

    /// Writes the set into one of libc's.
    pub(super) fn store(self, set: &mut libc::sigset_t) {
        // SAFETY: where words have 64 bits a `sigset_t` is an array of words, of which the kernel reads and writes the first.
        unsafe { ptr::from_mut(set).cast::<u64>().write(self.0) };
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn with_signal(self, signal: libc::c_int) -> Self {
        Self(self.0 | 1 << (signal - 1))
    }

    /// Blocks these signals, and no other, on this thread. Returns those that were blocked before.
    ///
    /// Calls the kernel directly: libc's wrappers leave out the signals that it keeps for itself.
    pub(super) fn block(self) -> Self {
        let mut before = Self(0);
        // SAFETY: the kernel reads the first set and writes the second, 8 bytes each.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                ptr::from_ref(&self.0).cast::<c_void>(),
                ptr::from_mut(&mut before.0).cast::<c_void>(),
                size_of::<u64>(),
            )
        };
        before
    }
}
