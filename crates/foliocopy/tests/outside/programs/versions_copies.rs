//! Two versions of foliocopy, `this` and `next`, and files that are cut short under their mappings.

use std::io::Error;
use std::ptr;

/// The number of pages of a copy, and the index of the page behind the end of the file.
const NR_PAGES: usize = 4;
const BAD_PAGE: usize = 2;

/// Maps `NR_PAGES` pages: of a file that has only `BAD_PAGE` pages, or of anonymous memory.
fn map(cut: bool) -> *mut u8 {
    // SAFETY: new memory and a new descriptor, which nobody else knows.
    unsafe {
        let descriptor = libc::memfd_create(c"cut".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "{}", Error::last_os_error());
        let pages = if cut { BAD_PAGE } else { NR_PAGES };
        assert_eq!(libc::ftruncate(descriptor, (pages * 4096) as libc::off_t), 0);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let start = libc::mmap(ptr::null_mut(), NR_PAGES * 4096, access, libc::MAP_SHARED, descriptor, 0);
        assert_ne!(start, libc::MAP_FAILED, "{}", Error::last_os_error());
        libc::close(descriptor);
        start.cast()
    }
}

macro_rules! version {
    ($name:ident) => {
        pub mod $name {
            pub use $name::*;

            /// Copies pages of which one is bad, with every primitive that survives it.
            pub fn survives() {
                let (source, destination) = (super::map(true), super::map(false));
                let (source, destination) = (source.cast::<Page>(), destination.cast::<Page>());
                let cpu = Cpu::detect();
                for primitive in Primitive::ALL {
                    if !primitive.is_machine_check_safe() || !primitive.is_available(&cpu) {
                        continue;
                    }
                    let options = CopyOptions::new().primitive(*primitive);
                    // SAFETY: mapped memory of ours; of the source a page raises SIGBUS.
                    match unsafe { options.copy_mc_pages_raw(destination, source, super::NR_PAGES) } {
                        Err(CopyMcError::Memory(error)) => {
                            assert_eq!((error.page_index, error.cause), (super::BAD_PAGE, Cause::BeyondEnd));
                            assert_eq!(error.address, source.addr() + super::BAD_PAGE * PAGE_SIZE);
                        }
                        other => panic!("{primitive}: {other:?}"),
                    }
                }
            }

            /// Copies pages of which one may not be accessed: SIGSEGV becomes an error.
            pub fn survives_sigsegv() {
                sigbus::catch_sigsegv().unwrap();
                let (source, destination) = (super::map(false), super::map(false));
                // SAFETY: a page of the mapping. Nobody holds a reference to it.
                let protected = unsafe {
                    libc::mprotect(source.add(super::BAD_PAGE * PAGE_SIZE).cast(), PAGE_SIZE, libc::PROT_NONE)
                };
                assert_eq!(protected, 0);
                // SAFETY: mapped memory of ours; of the source a page raises SIGSEGV.
                match unsafe { copy_mc_pages_raw(destination.cast(), source.cast(), super::NR_PAGES) } {
                    Err(CopyMcError::Memory(error)) => {
                        assert_eq!((error.page_index, error.cause), (super::BAD_PAGE, Cause::NotAllowed));
                    }
                    other => panic!("{other:?}"),
                }
            }

            /// Installs the handler.
            pub fn install() -> Result<(), Unsupported> {
                sigbus::install()
            }
        }
    };
}

version!(this);
version!(next);
