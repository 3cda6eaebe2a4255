//! The action that stood before ours, and everything that is not ours goes to it.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use super::mask::Mask;
use super::suspect;

/// What stood before, written before our handler is in place.
static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::zeroed()));

/// Whether a handler with `SA_RESETHAND` has had its one call.
static SPENT: AtomicBool = AtomicBool::new(false);

struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written by `remember` alone, while nobody reads it; see there.
unsafe impl Sync for Previous {}

/// Keeps the action that stands.
///
/// # Safety
///
/// Our handler is not in place yet, and nobody else is here.
pub(super) unsafe fn remember(action: libc::sigaction) {
    // SAFETY: the caller's promise.
    unsafe { (*PREVIOUS.0.get()).write(action) };
}

/// Does what the action that stood before would have done.
///
/// # Safety
///
/// Called from our handler, with the three arguments that the kernel gave it.
pub(super) unsafe fn forward(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: written before our handler was in place, and zeros (the default action) before that.
    let action = unsafe { (*PREVIOUS.0.get()).assume_init_ref() };
    let once = action.sa_flags & libc::SA_RESETHAND != 0;
    let handler = match once && SPENT.swap(true, Ordering::Relaxed) {
        true => libc::SIG_DFL,
        false => action.sa_sigaction,
    };
    // SAFETY: `info` and `context` point to the kernel's `siginfo_t` and `ucontext_t` in the frame of this signal.
    // A handler has the signature that its flags say: whoever installed it told the kernel so.
    unsafe {
        match handler {
            libc::SIG_DFL => die(signal, info),
            // The kernel doesn't let a process ignore its own faults (`force_sig_info_to_task()`).
            libc::SIG_IGN if is_fault((*info).si_code) => die(signal, info),
            libc::SIG_IGN => {}
            handler => {
                mask_of(action, signal, &*context.cast::<libc::ucontext_t>()).block();
                if action.sa_flags & libc::SA_SIGINFO != 0 {
                    let handle: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = transmute(handler);
                    handle(signal, info, context);
                } else {
                    let handle: extern "C" fn(c_int) = transmute(handler);
                    handle(signal);
                }
                // It may have installed another action: that of Rust's standard library restores the
                // default.
                suspect();
            }
        }
    }
}

/// What the kernel would have blocked for the handler of this action.
fn mask_of(action: &libc::sigaction, signal: c_int, interrupted: &libc::ucontext_t) -> Mask {
    let mask = Mask::of(&interrupted.uc_sigmask).with(Mask::of(&action.sa_mask));
    match action.sa_flags & libc::SA_NODEFER {
        0 => mask.with_signal(signal),
        _ => mask,
    }
}

/// Whether the instruction that was interrupted would raise the signal again.
const fn is_fault(code: c_int) -> bool {
    matches!(code, libc::BUS_ADRALN | libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR)
}

/// Restores the default action and sends the thread the signal once more, with all that was known of it:
/// it takes effect when our handler returns, so that a core dump shows the instruction at fault.
///
/// # Safety
///
/// `info` points to a `siginfo_t`.
unsafe fn die(signal: c_int, info: *mut libc::siginfo_t) {
    // SAFETY: zeros are a valid action, the default one. The system calls read that action and the caller's `info`.
    unsafe {
        let default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, &default, ptr::null_mut());
        let (process, thread) = (libc::getpid(), libc::gettid());
        if libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info) != 0 {
            libc::raise(signal);
        }
    }
}
