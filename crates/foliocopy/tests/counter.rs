//! Threads that may not read the time-stamp counter (`prctl(2)`, PR_SET_TSC). Each case runs this program anew, since a process
//! has one policy.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::thread;

use foliocopy::{
    CopyOptions, Cpu, Features, FolioPair, Locality, Page, Policy, Registers, copy_mc_pages_skipping,
    copy_pages,
};

const HOW: &str = "FOLIOCOPY_TEST_COUNTER";

fn forbid() {
    // SAFETY: from now on a reading of the counter on this thread raises SIGSEGV, which is what is tested.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_TSC, libc::PR_TSC_SIGSEGV) }, 0);
}

/// Makes every kind of copy, at lengths of several bands.
fn copy_all() {
    const MOST: usize = 512;
    let src: Vec<Page> = (0..MOST).map(|index| Page::filled(index as u8)).collect();
    let mut dst = vec![Page::zeroed(); MOST];
    for locality in Locality::ALL {
        let options = CopyOptions::new().locality(*locality);
        for nr_pages in [1, 3, 16, 64, MOST] {
            let (dst, src) = (&mut dst[..nr_pages], &src[..nr_pages]);
            let check = |dst: &mut [Page]| {
                assert!(dst == src, "{locality} {nr_pages}");
                dst.fill(Page::zeroed());
            };
            options.copy_pages(dst, src).unwrap();
            check(dst);
            options.copy_mc_pages((&mut *dst).into(), src.into()).unwrap();
            check(dst);
            assert_eq!(copy_mc_pages_skipping((&mut *dst).into(), src.into(), |_| ()), Ok(0));
            check(dst);
            let threads = NonZeroUsize::new(2).unwrap();
            options.copy_mc_pages_parallel((&mut *dst).into(), src.into(), threads).unwrap();
            check(dst);
            let start = dst.as_mut_ptr();
            let pair = |index: usize| FolioPair {
                dst: start.wrapping_add(index),
                src: &raw const src[index],
                nr_pages: 1,
            };
            let batch: Vec<FolioPair> = (0..nr_pages).map(pair).collect();
            // SAFETY: pages of both slices, each once.
            unsafe { options.copy_folios(&batch) }.unwrap();
            check(dst);
            // SAFETY: as above.
            unsafe { options.copy_mc_folios(&batch) }.unwrap();
            check(dst);
        }
    }
}

/// Not a test of its own: the other tests run it.
#[test]
fn child() {
    let Ok(how) = std::env::var(HOW) else { return };
    match how.as_str() {
        "set_host" => {
            let policy = Policy::new(Cpu::detect().without(Features::TSC), Registers::Vector);
            policy.set_host().expect("nothing was copied yet");
            assert!(Policy::host_report().problems.is_empty());
        }
        "host_without" => {
            Policy::host_without(Features::TSC).expect("nothing was copied yet");
            assert!(Policy::host_without(Features::NONE).is_err());
            assert!(Policy::host_report().is_ready);
            // The environment still counts.
            assert!(!Policy::host().cpu().has(Features::FSRM));
        }
        "forbidden first" => {}
        _ => copy_pages(&mut [Page::zeroed()], &[Page::filled(1)]).unwrap(),
    }
    // The harness may read the clock, and so the counter, on this thread.
    thread::scope(|scope| {
        scope.spawn(|| {
            forbid();
            copy_all();
        });
    });
}

fn run(how: &str, mask: &str) -> ExitStatus {
    let program = std::env::current_exe().expect("a test knows where it is");
    let output = Command::new(program)
        .args(["--exact", "child", "--nocapture"])
        .env(HOW, how)
        .env("FOLIOCOPY_MASK", mask)
        .output()
        .expect("this program runs");
    let status = output.status;
    assert!(
        status.success() || status.signal().is_some(),
        "{how}: {status}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    status
}

#[test]
fn a_thread_without_the_counter_copies_where_the_counter_is_masked() {
    for (how, mask) in [("set_host", "fsrm"), ("host_without", "fsrm"), ("environment", "tsc")] {
        let status = run(how, mask);
        assert!(status.success(), "{how}: {status}");
    }
    let unmasked = run("nothing", "");
    if unmasked.success() {
        println!("not tested: no copy on this machine reads the time-stamp counter, masked or not");
    } else {
        assert_eq!(unmasked.signal(), Some(libc::SIGSEGV), "{unmasked}");
    }
}

#[test]
fn a_process_whose_first_copy_finds_it_forbidden_does_without() {
    let status = run("forbidden first", "");
    assert!(status.success(), "{status}");
}
