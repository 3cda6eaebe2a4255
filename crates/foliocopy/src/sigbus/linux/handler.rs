//! Tells whether a signal is a fault of a copy. If so, the copy goes on at its landing pad.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use super::frame::Frame;
use super::{previous, table};
use crate::extable::{Recovery, Signal};
use crate::memory_error::{SEGV_ACCERR, SEGV_MAPERR, UNTAGGED, granule_bytes};

/// The numbers of the traps that a copy can raise.
const PAGE_FAULT: u32 = 14;
const MACHINE_CHECK: u32 = 18;

/// A handler with `SA_SIGINFO`.
pub(super) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Set once a program asks for SIGSEGV of copies to be errors.
pub(super) static CATCHES_SIGSEGV: AtomicBool = AtomicBool::new(false);

/// Resumes the copy that was interrupted, if the signal is a fault of one.
///
/// For programs with their own handler of SIGBUS, or of SIGSEGV where that is caught too. Their handler calls this with its
/// three arguments, and returns if the answer is `true`. They must say so with [`handled_by_caller`](super::handled_by_caller).
/// Async-signal-safe; `false` means that nothing was changed.
///
/// # Safety
///
/// Called from a signal handler with the arguments that the kernel gave it (`SA_SIGINFO`): `info` points to a `siginfo_t` and
/// `context` to the `ucontext_t` that is restored when the handler returns.
pub unsafe fn try_handle(signal: c_int, info: *const libc::siginfo_t, context: *mut c_void) -> bool {
    if info.is_null() || context.is_null() {
        return false;
    }
    // SAFETY: `info` and `context` are not null, and point to the `siginfo_t` and the `ucontext_t` in the signal's frame.
    // Nobody else uses the frame before the handler returns.
    let (signal, mut frame) = unsafe {
        let frame = Frame::of(context);
        (signal_of(signal, &*info, frame.is_store()), frame)
    };
    let is_fault = match signal.number {
        libc::SIGBUS => matches!(signal.code, libc::BUS_MCEERR_AR | libc::BUS_ADRERR | libc::BUS_OBJERR),
        libc::SIGSEGV => {
            CATCHES_SIGSEGV.load(Ordering::Relaxed) && matches!(signal.code, SEGV_MAPERR | SEGV_ACCERR)
        }
        _ => false,
    };
    if !is_fault {
        return false;
    }
    let Some(entry) = table::find(frame.instruction()) else {
        return false;
    };
    // SAFETY: every loop with an entry in the table keeps in this register a pointer to the `Recovery` of its copy, on the
    // stack of the thread that is interrupted. The copier reads it only after the loop.
    let recovery = unsafe { &mut *frame.recovery() };
    let lacks_address =
        (signal.number, signal.code) == (libc::SIGBUS, libc::BUS_OBJERR) && frame.lacks_address();
    if !lacks_address && !meets(&signal, recovery) {
        return false;
    }
    recovery.signal = Some(signal);
    let trap = match (signal.number, signal.code) {
        (libc::SIGBUS, libc::BUS_MCEERR_AR) => MACHINE_CHECK,
        _ => PAGE_FAULT,
    };
    frame.land(entry.landing_pad(), trap);
    true
}

/// The process's handler.
pub(super) extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel calls this as a handler with `SA_SIGINFO`, so the three arguments are what `try_handle` and
    // `forward` ask for. The address of errno is that of a thread-local variable.
    unsafe {
        let errno = *libc::__errno_location();
        if !try_handle(signal, info, context) {
            previous::forward(signal, info, context);
        }
        *libc::__errno_location() = errno;
    }
}

/// Whether the lost memory is a part of the copy's ranges.
fn meets(signal: &Signal, recovery: &Recovery) -> bool {
    let granule = granule_bytes(signal.address_lsb);
    let lost = signal.address & UNTAGGED & !(granule - 1);
    let overlaps = |start: usize| {
        let start = start & UNTAGGED;
        start < lost.saturating_add(granule) && lost < start.saturating_add(recovery.bytes)
    };
    overlaps(recovery.src) || overlaps(recovery.dst)
}

/// The address in the signal.
fn signal_of(number: c_int, info: &libc::siginfo_t, is_store: Option<bool>) -> Signal {
    // SAFETY: the kernel initializes all of `siginfo_t`, and any bytes are a valid pointer. They are an address only where
    // the code says that the kernel raised the signal for one.
    let address = unsafe { info.si_addr() }.addr();
    let address_lsb = if number == libc::SIGBUS { address_lsb(info) } else { 0 };
    Signal { number, address, code: info.si_code, address_lsb, is_store }
}

/// `si_addr_lsb`, which libc doesn't name: the 16 bits after `si_addr` (`include/uapi/asm-generic/siginfo.h`).
/// The kernel clears them for a SIGBUS that has no use for them.
fn address_lsb(info: &libc::siginfo_t) -> i16 {
    #[repr(C)]
    struct Fault {
        signal: c_int,
        errno: c_int,
        code: c_int,
        address: *mut c_void,
        address_lsb: i16,
    }
    const { assert!(size_of::<Fault>() <= size_of::<libc::siginfo_t>()) };
    // SAFETY: `Fault` is a prefix of the kernel's `siginfo_t`, which the kernel initializes whole. Any bytes are a valid
    // `Fault`.
    unsafe { (*core::ptr::from_ref(info).cast::<Fault>()).address_lsb }
}
