//! Handlers that record their calls, and signals that are sent or forged.

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};

use foliocopy::sigbus;
use libc::{SIGBUS, c_int, c_void, siginfo_t};

/// The number of calls of the handlers below, and the arguments of the last one.
pub(crate) static CALLS: AtomicUsize = AtomicUsize::new(0);
pub(crate) static CODE: AtomicI32 = AtomicI32::new(0);
pub(crate) static ADDRESS: AtomicUsize = AtomicUsize::new(0);
pub(crate) static STACK: AtomicUsize = AtomicUsize::new(0);
pub(crate) static DEEPEST: AtomicUsize = AtomicUsize::new(0);
pub(crate) static BLOCKED: AtomicU64 = AtomicU64::new(0);
/// The signals that are blocked again once the handler returns.
pub(crate) static BLOCKED_BEFORE: AtomicU64 = AtomicU64::new(0);

/// The kernel's set with these signals in it: a bit each, signal 1 first.
pub(crate) fn set_of(signals: &[c_int]) -> u64 {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}

/// The signals that this thread blocks, as the kernel says.
fn blocked() -> u64 {
    let mut set = 0_u64;
    // SAFETY: the kernel writes a set of 8 bytes.
    let answer = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, 0, ptr::null::<u64>(), &raw mut set, size_of::<u64>())
    };
    assert_eq!(answer, 0);
    set
}

pub(crate) extern "C" fn plain_handler(signal: c_int) {
    assert_eq!(signal, SIGBUS);
    let here = 0_u8;
    STACK.store((&raw const here).addr(), SeqCst);
    CALLS.fetch_add(1, SeqCst);
    // SAFETY: errno is always there.
    unsafe { *libc::__errno_location() = libc::ENOTTY };
}

pub(crate) extern "C" fn info_handler(_: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the arguments from the kernel. It has written the first word of the context's set.
    unsafe {
        CODE.store((*info).si_code, SeqCst);
        ADDRESS.store((*info).si_addr().addr(), SeqCst);
        let set = &raw const (*context.cast::<libc::ucontext_t>()).uc_sigmask;
        BLOCKED_BEFORE.store(set.cast::<u64>().read(), SeqCst);
    }
    BLOCKED.store(blocked(), SeqCst);
    CALLS.fetch_add(1, SeqCst);
}

/// Raises the signal once more within itself.
pub(crate) extern "C" fn nesting_handler(_: c_int) {
    static DEPTH: AtomicUsize = AtomicUsize::new(0);
    DEEPEST.fetch_max(DEPTH.fetch_add(1, SeqCst) + 1, SeqCst);
    if CALLS.fetch_add(1, SeqCst) == 0 {
        stray();
    }
    DEPTH.fetch_sub(1, SeqCst);
}

/// The handler of a runtime: it asks ours first.
pub(crate) extern "C" fn asking_handler(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the arguments from the kernel.
    if !unsafe { sigbus::try_handle(signal, info, context) } {
        CALLS.fetch_add(1, SeqCst);
    }
}

pub(crate) const PLAIN: *const () = plain_handler as *const ();
pub(crate) const INFO: *const () = info_handler as *const ();
pub(crate) const DEFAULT: *const () = ptr::without_provenance(libc::SIG_DFL);
pub(crate) const IGNORE: *const () = ptr::without_provenance(libc::SIG_IGN);

/// Installs an action for SIGBUS.
pub(crate) fn act(handler: *const (), flags: c_int, masked: Option<c_int>) {
    act_on(SIGBUS, handler, flags, masked);
}

/// Installs an action for any signal.
pub(crate) fn act_on(signal: c_int, handler: *const (), flags: c_int, masked: Option<c_int>) {
    // SAFETY: the handlers of this file have the signature that their flags say.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = flags;
        masked.into_iter().for_each(|signal| {
            libc::sigaddset(&mut action.sa_mask, signal);
        });
        assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
    }
}

/// Raises a signal that is no fault.
pub(crate) fn stray() {
    // SAFETY: a signal to ourselves.
    unsafe { libc::raise(SIGBUS) };
}

/// The kernel's description of a signal, forged.
pub(crate) fn forged(code: c_int, address: usize) -> siginfo_t {
    #[repr(C)]
    struct Info {
        signal: c_int,
        errno: c_int,
        code: c_int,
        address: usize,
        rest: [usize; 13],
    }
    const { assert!(size_of::<Info>() == size_of::<siginfo_t>()) };
    // SAFETY: the kernel's layout, whole.
    unsafe { mem::transmute(Info { signal: SIGBUS, errno: 0, code, address, rest: [0; 13] }) }
}

/// Sends this thread a forged signal.
pub(crate) fn forge(code: c_int, address: usize) {
    let info = forged(code, address);
    // SAFETY: a whole `siginfo_t`; the kernel lets a thread forge one for itself.
    let sent =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, libc::getpid(), libc::gettid(), SIGBUS, &info) };
    assert_eq!(sent, 0);
}

/// Sends a forged signal to a thread of the process that doesn't block it. The kernel allows that to the first thread.
pub(crate) fn forge_for_process(code: c_int, address: usize) {
    let info = forged(code, address);
    // SAFETY: a whole `siginfo_t`.
    let sent = unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, libc::getpid(), SIGBUS, &info) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// Blocks signals on this thread and on threads that it starts, or unblocks them.
pub(crate) fn mask(how: c_int, signals: &[c_int]) {
    // SAFETY: a set of signals, filled in.
    unsafe {
        let mut set = mem::zeroed();
        signals.iter().for_each(|signal| assert_eq!(libc::sigaddset(&mut set, *signal), 0));
        assert_eq!(libc::pthread_sigmask(how, &set, ptr::null_mut()), 0);
    }
}
