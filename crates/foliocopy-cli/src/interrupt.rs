//! Signals: this module alone decides what each does, for the whole run.
//!
//! The first SIGINT, SIGTERM or SIGHUP ends the work well, the second ends the program at once. While something is
//! [held](hold), such as a roll-back, a second is noted and nothing more. A file that may grow no further is an error
//! of its write, and so is a reader that went away.

use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;
use crate::printer;

/// Signals that come sooner than this after the first are the first: `timeout` sends its own to the process and to the
/// group that it is in.
const ONCE: Duration = Duration::from_millis(300);

/// One of the signals came.
static CAME: AtomicBool = AtomicBool::new(false);

/// Started by the first caller.
static LISTENING: OnceLock<()> = OnceLock::new();

/// Work that must not be cut short, the latest last.
static HELD: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// Whether the user wants the work to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt(());

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    pub(crate) fn catch() -> Result<Self> {
        if LISTENING.get().is_none() {
            listen().context("can't catch signals")?;
            let _ = LISTENING.set(());
        }
        Ok(Self(()))
    }

    /// Whether one of them came.
    pub(crate) fn is_set(&self) -> bool {
        CAME.load(Ordering::Relaxed)
    }
}

fn listen() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    // The thread sleeps in read(2) until a signal comes.
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut first = None;
        for _ in signals.forever() {
            let again = first.get_or_insert_with(Instant::now).elapsed() >= ONCE;
            CAME.store(true, Ordering::Relaxed);
            let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            match held.last() {
                Some(what) if again => {
                    printer::note(format_args!("interrupted again, which is noted: {what}"))
                }
                // Nothing can begin to be held meanwhile.
                None if again => process::exit(Exit::Interrupted as i32),
                _ => {}
            }
        }
    })?;
    Ok(())
}

/// No signal ends the program while this value lives.
#[must_use]
pub(crate) struct Hold(());

/// Begins work that must not be cut short. `what` names it, such as "a file is being written".
pub(crate) fn hold(what: &'static str) -> Hold {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).pop();
    }
}

/// Makes an error of a write beyond the limit for files, which would kill by SIGXFSZ. The standard library ignores SIGPIPE
/// already.
pub(crate) fn survive_limits() -> io::Result<()> {
    // A handler and not SIG_IGN, which programs that are started would inherit.
    signal_hook::flag::register(Signal::XFSZ.as_raw(), Arc::new(AtomicBool::new(false)))?;
    Ok(())
}
