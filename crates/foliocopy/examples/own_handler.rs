//! Keeps a SIGBUS handler of the program's own, and survives bad memory all the same.
//!
//! A virtual machine monitor or a language runtime often owns SIGBUS. Its handler asks foliocopy first. This one counts the
//! faults of copies, and ends the program at any other.
//!
//! The program maps a file of two pages, cuts it to one, and copies both.
//!
//! ```console
//! $ own_handler
//! ```

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{mem, ptr};

use foliocopy::{CopyMcError, Page, PageRange, copy_mc_pages, sigbus};
use mapping::Mapping;

#[path = "mapping/mod.rs"]
mod mapping;

/// How many faults were those of a copy.
static FAULTS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gave this handler its three arguments.
    if unsafe { sigbus::try_handle(signal, info, context) } {
        FAULTS.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // SAFETY: abort is async-signal-safe.
    unsafe { libc::abort() }
}

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: the action is whole, and the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_sigbus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        // The handler above calls try_handle, and nobody replaces it.
        sigbus::handled_by_caller();
    }

    let file: File = tempfile::tempfile()?;
    file.set_len(2 * 4096)?;
    let mapping = Mapping::of(&file, 2 * 4096, libc::PROT_READ)?;
    file.set_len(4096)?;
    // SAFETY: mapped as long as the range is used. Its second page raises SIGBUS.
    let source = unsafe { PageRange::new(mapping.start().cast::<Page>(), 2) }?;
    let mut destination = vec![Page::zeroed(); 2];
    match copy_mc_pages(destination.as_mut_slice().into(), source) {
        Err(CopyMcError::Memory(bad)) => {
            println!("page {} is lost: {}; the one before it was copied", bad.page_index, bad.cause);
        }
        other => other?,
    }
    // A fault in the middle of a block is followed by one at the very line.
    println!("our own handler saw {} faults of that copy", FAULTS.load(Ordering::Relaxed));
    Ok(())
}
