//! Replaces `sigaction` in this program, so that a test can act in the middle of a call.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst};

use libc::{SIGBUS, c_int, sigaction as Action};

/// Runs in the middle of the next call that installs a handler of SIGBUS.
pub(crate) struct Meanwhile {
    /// Runs before the new action is installed.
    pub(crate) before: fn(),
    /// Runs when the new action is installed, and before the call returns.
    pub(crate) after: fn(),
}

static MEANWHILE: AtomicPtr<Meanwhile> = AtomicPtr::new(ptr::null_mut());

/// Whether such a call was made.
pub(crate) static MET: AtomicBool = AtomicBool::new(false);

/// Lets the next call run `meanwhile`.
pub(crate) fn meet(meanwhile: Meanwhile) {
    MEANWHILE.store(Box::into_raw(Box::new(meanwhile)), SeqCst);
}

unsafe extern "C" {
    /// libc's own function, by its other name, which a static program has too.
    fn __sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int;
}

/// Replaces libc's function in this program, and calls it.
///
/// # Safety
///
/// As libc's: `new` and `old` are null or point to an action.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int {
    let meanwhile = match signal == SIGBUS && !new.is_null() {
        true => MEANWHILE.swap(ptr::null_mut(), SeqCst),
        false => ptr::null_mut(),
    };
    // SAFETY: null, or what `meet` leaked; the caller's own arguments are passed on.
    unsafe {
        let Some(Meanwhile { before, after }) = meanwhile.as_ref() else {
            return __sigaction(signal, new, old);
        };
        MET.store(true, SeqCst);
        before();
        let answer = __sigaction(signal, new, old);
        after();
        answer
    }
}
