//! SIGSEGV, for programs that ask for it.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use super::handler::handle;
use super::standing::put_in_place_of;
use crate::error::Unsupported;

/// Set once a program asks for it.
static IS_CAUGHT: AtomicBool = AtomicBool::new(false);

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
/// ever. Nobody asks later whether our handler still stands. Where another one replaces it, it gets the faults of copies
/// too: install it first, or let it call [`try_handle`](super::try_handle).
///
/// # Errors
///
/// [`Unsupported::Sigaction`] where the kernel refuses, and [`Unsupported::Platform`] where SIGBUS is not caught either.
pub fn catch_sigsegv() -> Result<(), Unsupported> {
    static INSTALLED: OnceLock<Result<(), Unsupported>> = OnceLock::new();
    (*INSTALLED.get_or_init(|| put_in_place_of(libc::SIGSEGV, handle).map(drop)))?;
    IS_CAUGHT.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether a program has asked for it.
pub(super) fn is_caught() -> bool {
    IS_CAUGHT.load(Ordering::Relaxed)
}
