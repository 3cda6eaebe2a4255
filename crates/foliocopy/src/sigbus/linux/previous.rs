//! The actions that were installed before this crate's. Every signal that is not a fault of a copy goes to its own.

use core::ffi::{c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use super::mask::Mask;
use super::suspect;

/// The action of one signal that was installed before.
struct Previous {
    /// Set once the installing call has returned it.
    action: OnceLock<libc::sigaction>,
    /// Whether a handler with `SA_RESETHAND` was called already.
    spent: AtomicBool,
}

impl Previous {
    const fn unknown() -> Self {
        Self { action: OnceLock::new(), spent: AtomicBool::new(false) }
    }

    fn of(signal: c_int) -> &'static Self {
        static SIGBUS: Previous = Previous::unknown();
        static SIGSEGV: Previous = Previous::unknown();
        if signal == libc::SIGSEGV { &SIGSEGV } else { &SIGBUS }
    }
}

/// Keeps the action that the installing call returned.
pub(super) fn remember(signal: c_int, action: libc::sigaction) {
    let _ = Previous::of(signal).action.set(action);
}

/// Does what the earlier action would have done.
///
/// # Safety
///
/// Called from the crate's handler, with the three arguments that the kernel gave it.
pub(super) unsafe fn forward(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = Previous::of(signal);
    let Some(action) = wait_for(|| previous.action.get()) else {
        // SAFETY: `info` points to the `siginfo_t` in the frame of this signal.
        return unsafe { die(signal, info) };
    };
    let once = action.sa_flags & libc::SA_RESETHAND != 0;
    let handler = match once && previous.spent.swap(true, Ordering::Relaxed) {
        true => libc::SIG_DFL,
        false => action.sa_sigaction,
    };
    // SAFETY: `info` and `context` point to the kernel's `siginfo_t` and `ucontext_t` in the frame of this signal.
    // A handler has the signature that its flags say: whoever installed it told the kernel so.
    unsafe {
        match handler {
            libc::SIG_DFL => die(signal, info),
            // The kernel doesn't let a process ignore its own faults (`force_sig_info_to_task()`).
            libc::SIG_IGN if is_fault(signal, (*info).si_code) => die(signal, info),
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
                // The handler may have installed another action: that of Rust's standard library restores the default.
                suspect();
            }
        }
    }
}

/// Signals that the kernel would have blocked for the handler of this action.
fn mask_of(action: &libc::sigaction, signal: c_int, interrupted: &libc::ucontext_t) -> Mask {
    let mask = Mask::of(&interrupted.uc_sigmask).with(Mask::of(&action.sa_mask));
    match action.sa_flags & libc::SA_NODEFER {
        0 => mask.with_signal(signal),
        _ => mask,
    }
}

/// Waits for a value from the thread that installs a handler; `None` if that thread is gone.
///
/// The kernel may call the handler before the installing call returns. Such a signal waits here. That thread has nothing left
/// to do but to call [`remember`], and blocks every signal meanwhile. Only in the child of a `fork` in the middle of that call
/// is there no such thread.
pub(super) fn wait_for<T>(value: impl Fn() -> Option<T>) -> Option<T> {
    const MILLISECONDS: u32 = 1000;
    for _ in 0..MILLISECONDS {
        let value = value();
        if value.is_some() {
            return value;
        }
        let millisecond = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: the kernel reads the time, and is given nothing to write.
        unsafe { libc::nanosleep(&millisecond, ptr::null_mut()) };
    }
    None
}

/// Whether the instruction that was interrupted would raise the signal again.
const fn is_fault(signal: c_int, code: c_int) -> bool {
    match signal {
        libc::SIGBUS => {
            matches!(code, libc::BUS_ADRALN | libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR)
        }
        // The kernel's own codes are positive.
        _ => code > 0,
    }
}

/// Restores the default action and sends the thread the signal once more, with the kernel's `siginfo_t`. It takes effect when
/// our handler returns, so that a core dump shows the instruction at fault.
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
