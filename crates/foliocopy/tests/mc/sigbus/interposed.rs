//! `sigaction` of this program, which may be made to meet other callers and other threads.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst};

use libc::{SIGBUS, c_int, sigaction as Action};

/// What runs in the middle of the next call that puts a handler of SIGBUS in place.
pub(crate) struct Meanwhile {
    /// Before the new action stands.
    pub(crate) before: fn(),
    /// When it stands, and the call has not returned.
    pub(crate) after: fn(),
}

static MEANWHILE: AtomicPtr<Meanwhile> = AtomicPtr::new(ptr::null_mut());

/// Whether the call has been met.
pub(crate) static MET: AtomicBool = AtomicBool::new(false);

/// Has the next call meet this.
pub(crate) fn meet(meanwhile: Meanwhile) {
    MEANWHILE.store(Box::into_raw(Box::new(meanwhile)), SeqCst);
}

unsafe extern "C" {
    /// libc's own, by its other name, which it has in a static program too.
    fn __sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int;
}

/// Takes the place of libc's in this program, and calls it.
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
