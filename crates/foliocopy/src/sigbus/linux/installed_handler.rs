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

/// Copies shorter than this take about as long as to read the tick. In bytes.
const SHORT: usize = 64 << 10;

/// The state that every copy reads, in one line of the cache.
#[repr(align(64))]
struct Trust {
    /// Set once the program's own handler calls the crate's.
    handled_by_caller: AtomicBool,
    /// How many more copies ask the kernel.
    wary_copies_left: AtomicU32,
    /// The tick in which the kernel was last asked and our handler was installed.
    last_tick: AtomicU64,
    /// The second in which the kernel was last asked and our handler was installed.
    last_second: AtomicU64,
}

static TRUST: Trust = Trust {
    handled_by_caller: AtomicBool::new(false),
    wary_copies_left: AtomicU32::new(WARY),
    last_tick: AtomicU64::new(0),
    last_second: AtomicU64::new(0),
};

/// Installs our handler of SIGBUS on the first call. Later calls check that it is still installed.
///
/// # Errors
///
/// [`Unsupported::HandlerReplaced`] where another handler has replaced it since. It is never installed a second time: the other
/// handler may forward to ours, and the two would call each other for ever. [`Unsupported::SegvHandlerReplaced`] for the
/// handler of [`catch_sigsegv`]. [`Unsupported::Sigaction`] where the kernel refused.
pub fn install() -> Result<(), Unsupported> {
    match TRUST.handled_by_caller.load(Ordering::Relaxed) {
        true => Ok(()),
        false => install_or_check(),
    }
}

/// Turns SIGSEGV of later copies into errors too: [`Cause::NotMapped`](crate::Cause::NotMapped) and
/// [`Cause::NotAllowed`](crate::Cause::NotAllowed). It is off until this is called, and then on for the life of the process.
///
/// It is for ranges that stay reserved while parts of them may lose their access rights during a copy: `mprotect(2)` with
/// `PROT_NONE`, never `munmap(2)`. Every machine-check-safe copy takes such a range.
///
/// It is not for unknown addresses. Another thread, or an allocator, may map memory of its own into a hole before the copy gets
/// there. Then the copy succeeds, and reads or overwrites that memory.
///
/// A fault that is not a copy's goes to the handler before ours, as for SIGBUS: a stack overflow is reported as ever. Copies
/// check this handler as often as that of SIGBUS.
///
/// # Errors
///
/// [`Unsupported::SegvHandlerReplaced`] where another handler has replaced it since an earlier call. [`Unsupported::Sigaction`]
/// where the kernel refuses, and [`Unsupported::Platform`] where SIGBUS is not caught either.
pub fn catch_sigsegv() -> Result<(), Unsupported> {
    static INSTALLED: OnceLock<Result<(), Unsupported>> = OnceLock::new();
    (*INSTALLED.get_or_init(|| install_for(libc::SIGSEGV)))?;
    CATCHES_SIGSEGV.store(true, Ordering::Relaxed);
    match TRUST.handled_by_caller.load(Ordering::Relaxed) || receives(libc::SIGSEGV) {
        true => Ok(()),
        false => Err(Unsupported::SegvHandlerReplaced),
    }
}

/// Whether faults come to our handlers now: ours are installed, or those of other copies of this crate that forward to them.
/// This takes a system call, longer than a short copy, and two after [`catch_sigsegv`]. So not every copy asks: see
/// docs/tuning-notes.md, "Zen 5".
pub fn is_installed() -> bool {
    check().is_ok()
}

/// Returns the handler that is missing, as an error.
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
/// has replaced ours. Machine-check-safe copies then neither install ours of SIGBUS nor check that any is installed.
///
/// # Safety
///
/// Such handlers are installed from now on, as long as copies are made. Otherwise a fault kills the process.
pub unsafe fn handled_by_caller() {
    TRUST.handled_by_caller.store(true, Ordering::Relaxed);
}

/// Makes sure that a fault in a copy of `bytes` bytes is survived. It asks the kernel for the installed handler, unless the
/// clock has not moved since the last check. The module's documentation says what it cannot notice.
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

/// Makes each of the next copies ask the kernel again.
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

/// The kernel's clock as of its last tick: the number stays for 1 to 10 ms. It is read without a system call, and faster than
/// the time-stamp counter, which can be forbidden (`prctl(2)`).
#[inline(never)]
fn tick() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the time into a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// The seconds of the wall clock, the cheapest clock to read.
#[inline]
fn second() -> u64 {
    // SAFETY: the kernel is given nowhere to write.
    unsafe { libc::time(ptr::null_mut()) as u64 }
}

/// Installs our handler of a signal, and remembers the action before it.
fn install_for(signal: c_int) -> Result<(), Unsupported> {
    let restart = restarts_system_calls(&current(signal)?);
    // A signal that comes before the action is remembered waits for that. On this thread it would wait for ever.
    let mask = Mask::ALL.block();
    let result = replace(signal, restart).map(|before| {
        let handler = before.sa_sigaction;
        previous::remember(signal, before);
        // Other copies of this crate read this, and forward to us only once we can forward.
        chain::remember(signal, handler);
    });
    mask.block();
    result
}

/// Whether a system call should go on after a signal that we forward to this action. The kernel looks at our action, before we
/// get the signal.
fn restarts_system_calls(action: &libc::sigaction) -> bool {
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_RESTART != 0
}

/// Installs our action, and returns the one that it replaced.
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
    // SAFETY: the kernel is given no new action, and writes the installed one if it succeeds.
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
