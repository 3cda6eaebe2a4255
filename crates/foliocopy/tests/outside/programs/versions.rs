//! Installs the handlers of two versions of foliocopy, and foreign ones, in several orders.

mod copies;

use std::ffi::{CStr, CString};
use std::mem;
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::thread;

use copies::{next, this};

/// A foreign handler, which forwards nothing.
extern "C" fn foreign(_: libc::c_int) {}

/// Installs a handler.
fn act(handler: libc::sighandler_t) {
    // SAFETY: zeros are a valid action, and the caller gives a handler without arguments, or no function at all.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        assert_eq!(libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()), 0);
    }
}

/// A function of the shared object that was built with this program.
fn in_library<R>(name: &CStr) -> extern "C" fn() -> R {
    let path = std::env::current_exe().unwrap().with_file_name("libprogram.so");
    let path = CString::new(path.into_os_string().into_vec()).unwrap();
    // SAFETY: the library has functions of these names with this signature, and is never closed.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "{path:?}");
        let function = libc::dlsym(library, name.as_ptr());
        assert!(!function.is_null(), "{name:?}");
        mem::transmute::<*mut libc::c_void, extern "C" fn() -> R>(function)
    }
}

fn main() {
    let foreign = foreign as *const () as libc::sighandler_t;
    match std::env::args().nth(1).expect("a scenario").as_str() {
        "each_reads_its_own_table" => {
            this::install().unwrap();
            next::install().unwrap();
            // SAFETY: the handler of `next` stays installed, and forwards to that of `this`.
            unsafe { this::sigbus::handled_by_caller() };
            next::survives();
            this::survives();
        }
        "this_before_next" => {
            this::survives();
            next::survives();
            this::survives();
            assert!(this::sigbus::is_installed() && next::sigbus::is_installed());
        }
        "next_before_this" => {
            next::survives();
            this::survives();
            next::survives();
            assert!(this::sigbus::is_installed() && next::sigbus::is_installed());
        }
        "both_at_once" => thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(this::survives);
                scope.spawn(next::survives);
            }
        }),
        "one_in_a_shared_object" => {
            let survives = in_library::<()>(c"this_survives");
            let is_installed = in_library::<bool>(c"this_is_installed");
            this::survives();
            survives();
            next::survives();
            this::survives();
            survives();
            assert!(this::sigbus::is_installed() && is_installed() && next::sigbus::is_installed());
        }
        "a_stranger_between" => {
            this::survives();
            act(foreign);
            next::survives();
            assert!(!this::sigbus::is_installed() && next::sigbus::is_installed());
            assert_eq!(this::install(), Err(this::Unsupported::HandlerReplaced));
        }
        "a_stranger_in_front" => {
            this::survives();
            next::survives();
            // No function; addresses that are not mapped; and a foreign handler.
            for handler in [libc::SIG_DFL, libc::SIG_IGN, 0x1000, usize::MAX - 16, foreign] {
                act(handler);
                assert!(!this::sigbus::is_installed() && !next::sigbus::is_installed());
            }
        }
        "both_catch_sigsegv" => {
            this::survives_sigsegv();
            next::survives_sigsegv();
            this::survives_sigsegv();
            assert!(this::sigbus::is_installed() && next::sigbus::is_installed());
            this::survives();
            next::survives();
        }
        other => panic!("no scenario {other}"),
    }
    println!("<end>");
}
