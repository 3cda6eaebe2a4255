//! Our handler behind that of another copy of this crate.
//!
//! Each copy forwards signals that are not its own, so a fault still comes to ours if the chain of handlers leads to it. Only
//! handlers of this crate can be followed. Each starts with [`HEADER`] bytes that are equal in all versions, and then says
//! where it keeps the address of the handler before it.

use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::handler::{Handler, handle};
use super::previous::wait_for;

/// The length of the code and the text with which all handlers of this crate start, in bytes.
const HEADER: usize = 24;

/// In the place of a handler's address: the installing call has not returned yet.
const UNKNOWN: usize = libc::SIG_ERR;

/// How many handlers of the chain are looked at.
const LONGEST: usize = 64;

/// The process's handler of a signal, and the place where it keeps the address of the handler before it. Other versions of
/// this crate recognise it, so its first 32 bytes never change: a jump over the text that follows, the text, and the
/// distance from there to that place.
macro_rules! entry {
    ($entry:ident, $before:ident, $text:literal) => {
        static $before: AtomicUsize = AtomicUsize::new(UNKNOWN);

        #[unsafe(naked)]
        extern "C" fn $entry(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "endbr64",
                ".byte 0xeb, 26, 0x90, 0x90",
                concat!(".ascii \"", $text, "\""),
                ".quad {before} - .",
                "jmp {handle}",
                before = sym $before,
                handle = sym handle,
            );
            // `bti c`, by the number that every assembler knows.
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                "hint 34",
                "b . + 28",
                concat!(".ascii \"", $text, "\""),
                ".quad {before} - .",
                "b {handle}",
                before = sym $before,
                handle = sym handle,
            );
        }
    };
}

entry!(on_sigbus, BEFORE_SIGBUS, "foliocopy SIGBUS");
entry!(on_sigsegv, BEFORE_SIGSEGV, "foliocopySIGSEGV");

/// Our handler of a signal.
pub(super) fn entry(signal: c_int) -> Handler {
    if signal == libc::SIGSEGV { on_sigsegv } else { on_sigbus }
}

/// Keeps the handler before ours, for other copies of this crate.
pub(super) fn remember(signal: c_int, handler: libc::sighandler_t) {
    let before = if signal == libc::SIGSEGV { &BEFORE_SIGSEGV } else { &BEFORE_SIGBUS };
    before.store(handler, Ordering::Release);
}

/// Whether a fault that this handler gets comes to ours.
pub(super) fn leads_to_ours(signal: c_int, mut handler: libc::sighandler_t) -> bool {
    let ours = entry(signal) as *const ();
    for _ in 0..LONGEST {
        if handler == ours.addr() {
            return true;
        }
        match before(handler, ours) {
            Some(before) => handler = before,
            None => return false,
        }
    }
    false
}

/// The handler before this one, if this one is of another copy of this crate.
fn before(handler: libc::sighandler_t, ours: *const ()) -> Option<libc::sighandler_t> {
    let distance_at = handler.checked_add(HEADER)?;
    if !is_readable(handler) || !is_readable(distance_at) {
        return None;
    }
    let theirs = ptr::with_exposed_provenance::<[u8; HEADER]>(handler);
    // SAFETY: the kernel has just read the first and the last word at `handler`, so the pages that hold the bytes are
    // readable. `ours` is an entry, which starts with as many bytes. Any bytes are a valid array.
    if unsafe { theirs.read_volatile() != ours.cast::<[u8; HEADER]>().read_volatile() } {
        return None;
    }
    // SAFETY: only an entry starts with these bytes, and then comes the distance to the place where that copy keeps the handler
    // before it. It is an `AtomicUsize` in every version, and mapped as long as the handler is installed.
    let before = unsafe {
        let distance = ptr::with_exposed_provenance::<isize>(distance_at).read_unaligned();
        &*ptr::with_exposed_provenance::<AtomicUsize>(distance_at.wrapping_add_signed(distance))
    };
    wait_for(|| match before.load(Ordering::Acquire) {
        UNKNOWN => None,
        handler => Some(handler),
    })
}

/// Whether memory can be read at this address and at the 7 bytes behind it.
///
/// The kernel reads the new mask before it refuses the unknown action (Abseil's `AddressIsReadable` asks in this way).
fn is_readable(address: usize) -> bool {
    let nothing = -1;
    // SAFETY: the kernel changes no mask, since there is no such action as `nothing`. It writes nothing, and answers EFAULT
    // for memory that it can't read.
    let refused = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, nothing, address, ptr::null_mut::<u64>(), size_of::<u64>())
    };
    refused == -1 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EFAULT)
}
