//! Installs the handler, and checks that it is still installed, without a system call in every copy.

use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

use super::handler::CATCHES_SIGSEGV;
use super::mask::Mask;
use super::{chain, previous};
use crate::error::Unsupported;

/// The number of copies in a row that ask the kernel. After them the answer is trusted for a tick.
const WARY: u32 = 256;

/// From so many bytes on, to read the tick takes a small part of the copy.
const SHORT: usize = 64 << 10;

/// What every copy asks, in one line of the cache.
#[repr(align(64))]
struct Trust {
    /// Set once the program's own handler calls the crate's.
    handled_by_caller: AtomicBool,
    /// How many copies are still wary.
    wary_copies_left: AtomicU32,
    /// The tick in which the kernel was last asked and our handler stood.
    last_tick: AtomicU64,
    /// The second in which that was.
    last_second: AtomicU64,
}

static TRUST: Trust = Trust {
    handled_by_caller: AtomicBool::new(false),
    wary_copies_left: AtomicU32::new(WARY),
    last_tick: AtomicU64::new(0),
    last_second: AtomicU64::new(0),
};

/// Puts our handler of SIGBUS in place, the first time it is called; or asks whether it still stands.
///
/// # Errors
///
/// [`Unsupported::HandlerReplaced`] where somebody has replaced it since: it is never put in place a
/// second time, since the other's handler may well forward to ours, and the two would call each other for
/// ever. [`Unsupported::SegvHandlerReplaced`] for that of [`catch_sigsegv`]. [`Unsupported::Sigaction`] where the
/// kernel refused.
pub fn install() -> Result<(), Unsupported> {
    match TRUST.handled_by_caller.load(Ordering::Relaxed) {
        true => Ok(()),
        false => install_or_check(),
    }
}

/// Turns SIGSEGV of the copies that follow into errors too: [`Cause::NotMapped`](crate::Cause::NotMapped) and
/// [`Cause::NotAllowed`](crate::Cause::NotAllowed). Off unless it is called; it stays for the life of the process.
///
/// It is for ranges of which some parts may lack their access rights while they are copied, and of which the addresses stay
/// reserved: `mprotect(2)` with `PROT_NONE`, never `munmap(2)`. Such a range may be handed to every machine-check-safe copy.
///
/// It is not for addresses of which nothing is known. Another thread may map something of its own into a hole before the copy
/// gets there, an allocator above all. Then the copy succeeds, and reads or overwrites what belongs to others.
///
/// A fault that is not a copy's goes to the handler that stood before, as for SIGBUS: so an overflow of the stack is told as
/// ever. Copies ask whether this handler stands as often as they ask for that of SIGBUS.
///
/// # Errors
///
/// [`Unsupported::SegvHandlerReplaced`] where somebody has replaced it since an earlier call. [`Unsupported::Sigaction`] where
/// the kernel refuses, and [`Unsupported::Platform`] where SIGBUS is not caught either.
pub fn catch_sigsegv() -> Result<(), Unsupported> {
    static INSTALLED: OnceLock<Result<(), Unsupported>> = OnceLock::new();
    (*INSTALLED.get_or_init(|| install_for(libc::SIGSEGV)))?;
    CATCHES_SIGSEGV.store(true, Ordering::Relaxed);
    match TRUST.handled_by_caller.load(Ordering::Relaxed) || receives(libc::SIGSEGV) {
        true => Ok(()),
        false => Err(Unsupported::SegvHandlerReplaced),
    }
}

/// Whether faults come to our handlers now: ours stand, or those of other copies of this crate do and forward to them. This
/// takes a system call, more than a short copy does, and two after [`catch_sigsegv`]. So not every copy asks: see
/// docs/tuning-notes.md, "Zen 5".
pub fn is_installed() -> bool {
    check().is_ok()
}

/// Answers whose handler is missing.
fn check() -> Result<(), Unsupported> {
    let missing = if !receives(libc::SIGBUS) {
        Unsupported::HandlerReplaced
    } else if CATCHES_SIGSEGV.load(Ordering::Relaxed) && !receives(libc::SIGSEGV) {
        Unsupported::SegvHandlerReplaced
    } else {
        return Ok(());
    };
    suspect();
    Err(missing)
}

/// Whether this signal comes to our handler.
fn receives(signal: c_int) -> bool {
    current(signal).is_ok_and(|action| chain::leads_to_ours(signal, action.sa_sigaction))
}

/// Declares that this process's own handler of SIGBUS calls [`try_handle`](super::try_handle), and that of SIGSEGV too if it
/// has replaced ours: machine-check-safe copies then neither put ours of SIGBUS in place nor ask whether any stands.
///
/// # Safety
///
/// Such handlers stand from now on, for as long as copies are made. Otherwise a fault kills the process.
pub unsafe fn handled_by_caller() {
    TRUST.handled_by_caller.store(true, Ordering::Relaxed);
}

/// Makes sure that a fault in a copy of so many bytes is survived, and asks the kernel for the installed handler unless the
/// clock has not moved since the last question. The module says what it cannot know.
#[inline(always)]
pub(crate) fn ensure(bytes: usize) -> Result<(), Unsupported> {
    if TRUST.handled_by_caller.load(Ordering::Relaxed) {
        return Ok(());
    }
    let trusted = TRUST.wary_copies_left.load(Ordering::Relaxed) == 0
        && match bytes < SHORT {
            true => TRUST.last_second.load(Ordering::Relaxed) == second(),
            false => TRUST.last_tick.load(Ordering::Relaxed) == tick(),
        };
    if trusted { Ok(()) } else { install_or_check() }
}

/// Makes the copies that follow wary again.
#[cold]
pub(crate) fn suspect() {
    TRUST.wary_copies_left.store(WARY, Ordering::Relaxed);
}

/// Installs the handler if that was never tried. Otherwise asks whether it is installed.
#[cold]
fn install_or_check() -> Result<(), Unsupported> {
    static INSTALLED: OnceLock<Result<(), Unsupported>> = OnceLock::new();
    (*INSTALLED.get_or_init(|| install_for(libc::SIGBUS)))?;
    check()?;
    TRUST.last_tick.store(tick(), Ordering::Relaxed);
    TRUST.last_second.store(second(), Ordering::Relaxed);
    let _ =
        TRUST.wary_copies_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    Ok(())
}

/// The kernel's clock as of its last tick: the same number for 1 to 10 ms, and then another. It is read without a system
/// call, and faster than the time-stamp counter, which can be forbidden (`prctl(2)`).
#[inline(never)]
fn tick() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the time into a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// The seconds of the clock on the wall: the cheapest of all that move.
#[inline]
fn second() -> u64 {
    // SAFETY: the kernel is given nowhere to write.
    unsafe { libc::time(ptr::null_mut()) as u64 }
}

/// Puts our handler of a signal in place, once the action before it is remembered.
fn install_for(signal: c_int) -> Result<(), Unsupported> {
    let restart = restarts_system_calls(&current(signal)?);
    // A signal that comes before the action is remembered waits for that: on this thread it would wait for ever.
    let mask = Mask::ALL.block();
    let result = replace(signal, restart).map(|before| {
        let handler = before.sa_sigaction;
        previous::remember(signal, before);
        // Other copies of this crate look at this one, and forward to us only once we forward in turn.
        chain::remember(signal, handler);
    });
    mask.block();
    result
}

/// Whether a system call should go on after a signal that we forward to this action. The kernel asks that of our
/// action, before we get the signal.
fn restarts_system_calls(action: &libc::sigaction) -> bool {
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_RESTART != 0
}

/// Puts our action in place, and returns the one that it replaced.
fn replace(signal: c_int, restart: bool) -> Result<libc::sigaction, Unsupported> {
    let restart = if restart { libc::SA_RESTART } else { 0 };
    let mut before = MaybeUninit::uninit();
    // SAFETY: zeros are a valid action. The handler has the signature of `SA_SIGINFO`, and is async-signal-safe. The kernel
    // writes the action before if it succeeds.
    unsafe {
        let mut ours: libc::sigaction = MaybeUninit::zeroed().assume_init();
        ours.sa_sigaction = chain::entry(signal) as *const () as libc::sighandler_t;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | restart;
        Mask::ALL.store(&mut ours.sa_mask);
        match libc::sigaction(signal, &ours, before.as_mut_ptr()) {
            0 => Ok(before.assume_init()),
            _ => Err(Unsupported::Sigaction(errno())),
        }
    }
}

/// The action that is installed for a signal.
fn current(signal: c_int) -> Result<libc::sigaction, Unsupported> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: the kernel is given no new action, and writes the one that stands if it succeeds.
    unsafe {
        match libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) {
            0 => Ok(action.assume_init()),
            _ => Err(Unsupported::Sigaction(errno())),
        }
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
