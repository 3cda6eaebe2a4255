//! SIGSEGV where a program asks for it. The handler belongs to the process, so each scenario runs this program anew.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::{mem, ptr};

use foliocopy::{
    Cause, CopyError, CopyMcError, PAGE_SIZE, Side, Unsupported, copy_mc, copy_mc_pages, sigbus,
};

use crate::memory::{Region, system_page, unit};

/// Where the bad page starts, in bytes.
fn bad_page() -> usize {
    2 * system_page()
}

/// Runs a scenario anew. It must end well, or by this signal.
fn run(scenario: &str, signal: Option<i32>) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sigsegv::scenario", "--nocapture", "--test-threads=1"])
        .env("FOLIOCOPY_TEST_SIGSEGV", scenario)
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = output;
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.signal(), signal, "{status}\n{out}{err}");
    assert_eq!(out.contains("<end>"), signal.is_none(), "{out}{err}");
    assert!(out.contains("<about to fault>"), "{out}{err}");
}

#[test]
fn it_kills_unless_asked_for() {
    run("unasked", Some(libc::SIGSEGV));
}

#[test]
fn a_page_without_access_is_an_error() {
    run("asked", None);
}

#[test]
fn a_fault_of_the_program_kills_it() {
    run("own fault", Some(libc::SIGSEGV));
}

#[test]
fn a_handler_that_stood_before_gets_the_others() {
    run("handler", None);
}

/// Rust's own handler reports it, on a stack of its own.
#[test]
fn a_stack_overflow_is_still_reported() {
    run("overflow", Some(libc::SIGABRT));
}

/// Another handler takes its place. Copies are refused then, since a fault would kill.
#[test]
fn a_replaced_handler_is_noticed() {
    run("replaced", None);
}

#[test]
fn a_handler_of_others_may_call_ours() {
    run("called by others", None);
}

/// Not a test of its own: the other tests run it.
#[test]
fn scenario() {
    let Ok(scenario) = std::env::var("FOLIOCOPY_TEST_SIGSEGV") else { return };
    println!("<about to fault>");
    match scenario.as_str() {
        "unasked" => {
            let src = protected(libc::PROT_NONE);
            let _ = copy_mc_pages(Region::new(4).destination(), src.source());
        }
        "asked" => check_answers(),
        "own fault" => {
            check_answers();
            // SAFETY: mapped memory; that it faults is the point.
            unsafe { ptr::read_volatile(protected(libc::PROT_NONE).start().cast::<u8>().add(bad_page())) };
        }
        "handler" => {
            act(count as *const (), 0);
            check_answers();
            assert_eq!(CALLS.load(SeqCst), 0);
            // SAFETY: a signal that is no fault.
            unsafe { libc::raise(libc::SIGSEGV) };
            assert_eq!(CALLS.load(SeqCst), 1);
        }
        "replaced" => {
            check_answers();
            assert!(sigbus::is_installed());
            act(ptr::without_provenance(libc::SIG_DFL), 0);
            assert!(!sigbus::is_installed());
            let replaced = Unsupported::SegvHandlerReplaced;
            let answer = copy_mc_pages(Region::new(4).destination(), protected(libc::PROT_NONE).source());
            assert_eq!(answer, Err(CopyMcError::Refused(CopyError::Unsupported(replaced))));
            assert_eq!((sigbus::install(), sigbus::catch_sigsegv()), (Err(replaced), Err(replaced)));
        }
        "called by others" => {
            sigbus::catch_sigsegv().unwrap();
            act(ask as *const (), libc::SA_SIGINFO);
            // SAFETY: nobody replaces our handler of SIGBUS, and the other one of SIGSEGV calls ours.
            unsafe { sigbus::handled_by_caller() };
            check_answers();
        }
        "overflow" => {
            check_answers();
            overflow(1);
        }
        other => panic!("no scenario {other}"),
    }
    println!("<end>");
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    CALLS.fetch_add(1, SeqCst);
}

extern "C" fn ask(signal: i32, info: *const libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the arguments from the kernel.
    assert!(unsafe { sigbus::try_handle(signal, info, context) });
}

/// Installs a handler of SIGSEGV.
fn act(handler: *const (), flags: i32) {
    // SAFETY: zeros are a valid action, and the handler has the signature that the flags say.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler.addr();
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()), 0);
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn overflow(depth: usize) -> usize {
    let frame = [depth; 100];
    overflow(depth + 1) + std::hint::black_box(&frame)[depth % 100]
}

/// Four pages. The third one has this protection.
fn protected(protection: i32) -> Region {
    let region = Region::patterned(4);
    // SAFETY: a page of ours.
    let answer = unsafe { libc::mprotect(region.start().add(2 * unit()).cast(), system_page(), protection) };
    assert_eq!(answer, 0);
    region
}

/// Checks faults of either kind on either side, exact to the byte.
fn check_answers() {
    sigbus::catch_sigsegv().unwrap();
    let check = |dst: &Region, src: &Region, side, cause| {
        for before in (0..300).chain([PAGE_SIZE, bad_page()]) {
            let (to, from) =
                if side == Side::Source { (0, bad_page() - before) } else { (bad_page() - before, 0) };
            // SAFETY: within the regions, of which a page of each raises SIGSEGV, which is caught.
            let answer = unsafe {
                let (dst, src) = (dst.start().cast::<u8>().add(to), src.start().cast::<u8>().add(from));
                copy_mc(dst, src, before + 9)
            };
            let Err(CopyMcError::Memory(error)) = answer else { panic!("{answer:?}") };
            assert_eq!((error.bytes_copied, error.bytes_left), (before, 9), "{error:?}");
            assert_eq!((error.side, error.cause), (side, cause), "{error:?}");
            assert!(dst.bytes(to, to + before) == src.bytes(from, from + before), "{error:?}");
        }
        let answer = copy_mc_pages(dst.destination(), src.source());
        let Err(CopyMcError::Memory(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.page_index, error.side, error.cause), (2 * unit(), side, cause));
    };
    check(&Region::new(4), &protected(libc::PROT_NONE), Side::Source, Cause::NotAllowed);
    check(&protected(libc::PROT_READ), &Region::patterned(4), Side::Destination, Cause::NotAllowed);
    let hole = Region::patterned(4);
    // SAFETY: a page of ours. No other thread of this process maps anything meanwhile.
    assert_eq!(unsafe { libc::munmap(hole.start().add(2 * unit()).cast(), system_page()) }, 0);
    check(&Region::new(4), &hole, Side::Source, Cause::NotMapped);
}
