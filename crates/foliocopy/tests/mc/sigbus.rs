//! SIGBUS in the rest of a program. The action for a signal belongs to the process, so each scenario runs this program anew.

#[cfg(target_arch = "aarch64")]
mod external_abort;
mod interposed;
mod signals;

use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::memory::{Bad, Region, safe_primitives, system_page, unit};
use foliocopy::{Cause, CopyError, CopyMcError, CopyOptions, Primitive, Unsupported, copy_mc_pages, sigbus};
use interposed::{MET, Meanwhile, meet};
use libc::{SA_NODEFER, SA_RESETHAND, SA_SIGINFO, SIGBUS, SIGUSR1, SIGUSR2, c_int};
use signals::*;

/// How the process of a scenario must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It runs to its end.
    Lives,
    /// It prints that it is about to die, and dies of SIGBUS.
    DiesOfSigbus,
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident: $end:ident $body:block)*) => {
        $($(#[$doc])* #[test] fn $name() { run(stringify!($name), End::$end); })*

        /// Not a test of its own: the other tests run it.
        #[test]
        #[allow(unused_doc_comments, reason = "a scenario's other attributes say where it exists")]
        fn scenario() {
            match std::env::var("FOLIOCOPY_TEST_SCENARIO").as_deref() {
                $($(#[$doc])* Ok(stringify!($name)) => $body)*
                Ok(other) => panic!("no scenario {other}"),
                Err(_) => return,
            }
            println!("<end>");
        }
    };
}

/// Runs this program anew, with only the scenario, on its main thread.
fn run(scenario: &str, end: End) {
    let program = std::env::current_exe().expect("a test knows where it is");
    let output = Command::new(program)
        .args(["--exact", "sigbus::scenario", "--nocapture", "--test-threads=1"])
        .env("FOLIOCOPY_TEST_SCENARIO", scenario)
        .output()
        .expect("this program runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match end {
        End::Lives => {
            assert!(output.status.success() && out.contains("<end>"), "{}\n{out}{err}", output.status)
        }
        End::DiesOfSigbus => {
            assert_eq!(output.status.signal(), Some(SIGBUS), "{}\n{out}{err}", output.status);
            assert!(out.contains("<about to die>") && !out.contains("<end>"), "{out}{err}");
        }
    }
}

fn about_to_die() {
    println!("<about to die>");
}

/// Runs `body` on the first thread of a process, by a child's: the harness keeps the first thread of this one.
fn on_first_thread(body: fn()) {
    // SAFETY: the harness's first thread only waits for us, so no lock is held except those that fork handles. The child ends
    // without running the parent's cleanup.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let outcome = std::panic::catch_unwind(body);
            libc::_exit(if outcome.is_ok() { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0, "the child failed");
    }
}

/// Four pages of which the third is bad, and four pages for the copy.
fn regions() -> (Region, Region) {
    let (mut src, dst) = (Region::patterned(4), Region::new(4));
    src.spoil(2, Bad::Cut);
    (src, dst)
}

fn copy_all() -> Result<(), CopyMcError> {
    let (src, dst) = regions();
    copy_mc_pages(dst.destination(), src.source())
}

/// Checks that a copy that faults returns an error, and that other handlers are not called.
fn check_copy() {
    let before = CALLS.load(SeqCst);
    match copy_all() {
        Err(CopyMcError::Memory(error)) => {
            assert_eq!((error.page_index, error.cause), (2 * unit(), Cause::BeyondEnd))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(CALLS.load(SeqCst), before);
}

/// Raises a fault of the program's own. Doesn't return, unless a handler jumps.
fn fault() {
    let (src, _) = regions();
    // SAFETY: mapped memory; that it faults is the point.
    unsafe { ptr::read_volatile(src.start().add(2 * unit()).cast::<u8>()) };
}

fn refused(answer: Result<(), CopyMcError>) -> CopyError {
    match answer {
        Err(CopyMcError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

const REPLACED: CopyError = CopyError::Unsupported(Unsupported::HandlerReplaced);

scenarios! {
    /// Rust's own handler was there before, which tells stack overflows from other faults.
    a_fault_of_the_program_kills_it: DiesOfSigbus {
        check_copy();
        about_to_die();
        fault();
    }

    a_fault_kills_where_the_default_stood: DiesOfSigbus {
        act(DEFAULT, 0, None);
        check_copy();
        about_to_die();
        fault();
    }

    a_fault_kills_on_a_second_thread_too: DiesOfSigbus {
        act(DEFAULT, 0, None);
        check_copy();
        about_to_die();
        thread::spawn(fault).join().unwrap();
    }

    a_stray_signal_kills_where_the_default_stood: DiesOfSigbus {
        act(DEFAULT, 0, None);
        check_copy();
        about_to_die();
        stray();
    }

    poison_that_nobody_reads_kills_where_the_default_stood: DiesOfSigbus {
        act(DEFAULT, 0, None);
        check_copy();
        about_to_die();
        forge(libc::BUS_MCEERR_AO, 0x1000);
    }

    a_fault_can_not_be_ignored: DiesOfSigbus {
        act(IGNORE, 0, None);
        check_copy();
        about_to_die();
        fault();
    }

    a_stray_signal_is_ignored_where_it_was: Lives {
        act(IGNORE, 0, None);
        check_copy();
        stray();
        forge(libc::BUS_MCEERR_AO, 0x1000);
        check_copy();
    }

    a_handler_gets_what_it_asked_for: Lives {
        act(INFO, SA_SIGINFO, None);
        check_copy();
        stray();
        assert_eq!((CALLS.load(SeqCst), CODE.load(SeqCst)), (1, libc::SI_TKILL));
        forge(libc::BUS_MCEERR_AO, 0xabc0);
        assert_eq!((CALLS.load(SeqCst), ADDRESS.load(SeqCst)), (2, 0xabc0));
        check_copy();
    }

    a_handler_without_information: Lives {
        act(PLAIN, 0, None);
        check_copy();
        stray();
        assert_eq!(CALLS.load(SeqCst), 1);
        check_copy();
    }

    errno_is_kept: Lives {
        act(PLAIN, 0, None);
        let (src, dst) = regions();
        sigbus::install().unwrap();
        // The first copy works out the policy, by system calls that may set errno.
        assert!(foliocopy::copy_pages(&mut [foliocopy::Page::zeroed()], &[foliocopy::Page::zeroed()]).is_ok());
        // SAFETY: errno is always there; the rest is the test's own memory.
        unsafe {
            *libc::__errno_location() = libc::EXDEV;
            stray();
            assert_eq!((CALLS.load(SeqCst), *libc::__errno_location()), (1, libc::EXDEV));
            assert!(copy_mc_pages(dst.destination(), src.source()).is_err());
            assert_eq!(*libc::__errno_location(), libc::EXDEV);
        }
    }

    a_handler_that_wants_one_signal: DiesOfSigbus {
        act(PLAIN, SA_RESETHAND, None);
        check_copy();
        stray();
        assert_eq!(CALLS.load(SeqCst), 1);
        check_copy();
        about_to_die();
        stray();
    }

    a_handler_that_may_nest: Lives {
        act(nesting_handler as *const (), SA_NODEFER, None);
        check_copy();
        stray();
        assert_eq!((CALLS.load(SeqCst), DEEPEST.load(SeqCst)), (2, 2));
    }

    a_handler_that_may_not_nest: Lives {
        act(nesting_handler as *const (), 0, None);
        check_copy();
        stray();
        assert_eq!((CALLS.load(SeqCst), DEEPEST.load(SeqCst)), (2, 1));
    }

    a_handler_runs_under_its_own_mask: Lives {
        mask(libc::SIG_BLOCK, &[SIGUSR2]);
        act(INFO, SA_SIGINFO, Some(SIGUSR1));
        check_copy();
        stray();
        assert_eq!(CALLS.load(SeqCst), 1);
        assert_eq!(BLOCKED.load(SeqCst), set_of(&[SIGUSR1, SIGUSR2, SIGBUS]));
        assert_eq!(BLOCKED_BEFORE.load(SeqCst), set_of(&[SIGUSR2]));
    }

    a_handler_that_may_nest_runs_under_its_own_mask: Lives {
        mask(libc::SIG_BLOCK, &[SIGUSR2]);
        act(INFO, SA_SIGINFO | SA_NODEFER, Some(SIGUSR1));
        check_copy();
        stray();
        assert_eq!(CALLS.load(SeqCst), 1);
        assert_eq!(BLOCKED.load(SeqCst), set_of(&[SIGUSR1, SIGUSR2]));
    }

    /// Both signals are pending. The kernel starts the handler of the lower one, SIGBUS, first; the other
    /// interrupts it at once, unless it is blocked.
    no_signal_nests_in_ours: Lives {
        act(IGNORE, 0, None);
        act_on(SIGUSR1, INFO, SA_SIGINFO, None);
        check_copy();
        mask(libc::SIG_BLOCK, &[SIGBUS, SIGUSR1]);
        stray();
        // SAFETY: a signal to ourselves.
        unsafe { libc::raise(SIGUSR1) };
        assert_eq!(CALLS.load(SeqCst), 0, "both are pending");
        mask(libc::SIG_UNBLOCK, &[SIGBUS, SIGUSR1]);
        assert_eq!(CALLS.load(SeqCst), 1);
        assert_eq!(BLOCKED_BEFORE.load(SeqCst), 0, "it interrupted our handler");
    }

    /// Another handler is installed between our check and our call. One signal to the installing thread and one to another
    /// thread come before the call returns.
    the_action_before_is_the_one_that_was_replaced: Lives {
        act(PLAIN, 0, None);
        meet(Meanwhile { before: || act(INFO, SA_SIGINFO, None), after: be_signalled });
        sigbus::install().unwrap();
        assert!(MET.load(SeqCst));
        while CALLS.load(SeqCst) < 2 {
            thread::yield_now();
        }
        assert_eq!(CODE.load(SeqCst), libc::SI_TKILL, "the second handler was called");
        assert_eq!(STACK.load(SeqCst), 0, "the first one was");
        check_copy();
    }

    a_system_call_restarts_where_the_handler_wants_it: Lives {
        act(PLAIN, libc::SA_RESTART, None);
        check_copy();
        assert_eq!(read_during(50), Ok(1));
    }

    a_system_call_restarts_where_the_signal_is_ignored: Lives {
        act(IGNORE, 0, None);
        check_copy();
        assert_eq!(read_during(50), Ok(1));
    }

    a_system_call_is_interrupted_where_the_handler_wants_it: Lives {
        act(PLAIN, 0, None);
        check_copy();
        assert_eq!(read_during(usize::MAX), Err(libc::EINTR));
    }

    signals_run_on_the_alternate_stack: Lives {
        let mut stack = vec![0_u8; 256 << 10];
        let alternate = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        // SAFETY: the stack lives as long as the process.
        assert_eq!(unsafe { libc::sigaltstack(&alternate, ptr::null_mut()) }, 0);
        act(PLAIN, libc::SA_ONSTACK, None);
        check_copy();
        stray();
        assert!(stack.as_ptr_range().contains(&ptr::without_provenance(STACK.load(SeqCst))));
        mem::forget(stack);
    }

    /// While each copy asks the kernel.
    a_replaced_handler_is_noticed: Lives {
        check_copy();
        assert!(sigbus::is_installed());
        act(DEFAULT, 0, None);
        assert_eq!(refused(copy_all()), REPLACED, "a fault would have killed us");
        assert!(!sigbus::is_installed());
        assert_eq!(sigbus::install(), Err(Unsupported::HandlerReplaced), "it is not put in place twice");
    }

    a_replaced_handler_is_noticed_in_the_long_run: Lives {
        let (src, dst) = (Region::patterned(4), Region::new(4));
        (0..10_000).for_each(|_| copy_mc_pages(dst.destination(), src.source()).unwrap());
        act(PLAIN, 0, None);
        // Short copies ask again in the next second.
        thread::sleep(Duration::from_millis(1100));
        assert_eq!(refused(copy_all()), REPLACED);
    }

    asking_whether_it_stands_makes_copies_wary: Lives {
        let (src, dst) = (Region::patterned(4), Region::new(4));
        (0..10_000).for_each(|_| copy_mc_pages(dst.destination(), src.source()).unwrap());
        act(PLAIN, 0, None);
        assert!(!sigbus::is_installed());
        assert_eq!(refused(copy_all()), REPLACED);
    }

    /// Rust's own handler restores the default action when it gets a signal that is not its own.
    a_handler_that_steps_down_is_noticed: Lives {
        let (src, dst) = (Region::patterned(4), Region::new(4));
        (0..10_000).for_each(|_| copy_mc_pages(dst.destination(), src.source()).unwrap());
        stray();
        if !sigbus::is_installed() {
            assert_eq!(refused(copy_all()), REPLACED);
        }
    }

    a_handler_of_others_may_call_ours: Lives {
        act(asking_handler as *const (), SA_SIGINFO, None);
        // SAFETY: the program's handler calls ours.
        unsafe { sigbus::handled_by_caller() };
        check_copy();
        assert!(!sigbus::is_installed(), "theirs stands");
        assert_eq!(sigbus::install(), Ok(()), "and is relied on");
        stray();
        assert_eq!(CALLS.load(SeqCst), 1, "it is told what is none of ours");
        forge(libc::BUS_ADRERR, 0x1000);
        assert_eq!(CALLS.load(SeqCst), 2, "this isn't either: nobody copies");
        check_copy();
    }

    /// The kernel can't keep a fault for later.
    a_thread_that_blocks_sigbus_dies: DiesOfSigbus {
        check_copy();
        mask(libc::SIG_BLOCK, &[SIGBUS]);
        about_to_die();
        let _ = copy_all();
    }

    what_can_not_survive_is_refused: Lives {
        let (src, dst) = regions();
        let answer = CopyOptions::new().primitive(Primitive::Portable).copy_mc_pages(dst.destination(), src.source());
        assert_eq!(refused(answer), CopyError::Unsupported(Unsupported::Primitive(Primitive::Portable)));
    }

    #[cfg(target_arch = "aarch64")]
    an_external_abort_without_an_address: Lives {
        external_abort::check();
    }

    /// Signals of every other kind, at any instruction of the copies. None is taken for a fault, and real faults are still
    /// found.
    a_storm_of_signals_during_copies: Lives {
        on_first_thread(storm);
    }
}

/// Sends a signal to this thread and one to another, which blocks none. Returns when both are sent.
fn be_signalled() {
    stray();
    let about_to = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&about_to);
    thread::spawn(move || {
        mask(libc::SIG_UNBLOCK, &[SIGBUS]);
        says.store(true, SeqCst);
        stray();
    });
    while !about_to.load(SeqCst) {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(20));
}

/// Reads from a pipe that stays empty until this many signals have come. Returns the result of `read(2)`.
fn read_during(signals: usize) -> Result<isize, c_int> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: always succeeds.
    let reader = unsafe { libc::gettid() };
    let returned = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..signals {
                if returned.load(SeqCst) {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
                // SAFETY: a signal to a thread of ours.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), reader, SIGBUS) };
            }
            // SAFETY: a byte of ours.
            assert_eq!(unsafe { libc::write(ends[1], [1_u8].as_ptr().cast(), 1) }, 1);
        });
        let mut byte = 0_u8;
        // SAFETY: a byte of ours.
        let answer = match unsafe { libc::read(ends[0], (&raw mut byte).cast(), 1) } {
            -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
            count => Ok(count),
        };
        returned.store(true, SeqCst);
        answer
    })
}

/// The rounds that each copier makes at least.
const ROUNDS: usize = 100;

fn storm() {
    const COPIERS: usize = 4;
    const SIGNALS: usize = 1000;
    act(INFO, SA_SIGINFO, None);
    sigbus::install().unwrap();
    let (sender, receiver) = mpsc::channel();
    let (content, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let copy = |offset| {
            let (sender, content, done) = (sender.clone(), &content, &done);
            scope.spawn(move || copy_in_a_storm(offset, &sender, content, done))
        };
        let copiers: Vec<_> = (0..COPIERS).map(copy).collect();
        let targets: Vec<_> = receiver.iter().take(COPIERS).collect();
        // Then signals to the process go to a copier.
        mask(libc::SIG_BLOCK, &[SIGBUS]);
        let started = Instant::now();
        let mut sent = 0_usize;
        // For two seconds, and on a busy machine until enough signals came and each copier made its rounds, or one failed.
        let enough = || CALLS.load(SeqCst) > SIGNALS && content.load(SeqCst) == COPIERS;
        let failed = || copiers.iter().any(|copier| copier.is_finished());
        while !failed() && (started.elapsed() < Duration::from_secs(2) || !enough()) {
            for (thread, address) in &targets {
                // SAFETY: a signal to a thread of ours.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), *thread, SIGBUS) };
                // The address is in a range that is being copied, but the code is not a fault's.
                forge_for_process(libc::BUS_MCEERR_AO, address + 7 * system_page());
                thread::sleep(Duration::from_micros(20));
                // The code is a fault's, but the address is in no range.
                forge_for_process(libc::BUS_ADRERR, 0x1000);
                thread::sleep(Duration::from_micros(20));
                sent += 3;
            }
        }
        done.store(true, SeqCst);
        // The kernel doesn't queue a signal that is already pending.
        let forwarded = CALLS.load(SeqCst);
        assert!(forwarded <= sent, "{forwarded} of {sent} were forwarded");
    });
}

/// Copies good and bad memory in turn, with every primitive, until it is told to stop. Adds itself to `content` after
/// [`ROUNDS`].
fn copy_in_a_storm(
    offset: usize,
    ready: &mpsc::Sender<(libc::pid_t, usize)>,
    content: &AtomicUsize,
    done: &AtomicBool,
) {
    let (good, mut bad, dst) = (Region::patterned(64), Region::patterned(64), Region::new(64));
    bad.spoil(40, Bad::Cut);
    // SAFETY: always succeeds.
    ready.send((unsafe { libc::gettid() }, good.address())).unwrap();
    let primitives = safe_primitives();
    let copy = |primitive: Primitive, src: &Region| {
        CopyOptions::new().primitive(primitive).copy_mc_pages(dst.destination(), src.source())
    };
    for (round, primitive) in primitives.iter().copied().cycle().skip(offset).enumerate() {
        if done.load(SeqCst) {
            return;
        }
        assert_eq!(copy(primitive, &good), Ok(()), "{primitive}");
        assert!(dst.bytes(0, 64 * system_page()) == good.bytes(0, 64 * system_page()), "{primitive}");
        match copy(primitive, &bad) {
            Err(CopyMcError::Memory(error)) => assert_eq!(error.page_index, 40 * unit(), "{primitive}"),
            other => panic!("{primitive}: {other:?}"),
        }
        if round == ROUNDS {
            content.fetch_add(1, SeqCst);
        }
    }
}
