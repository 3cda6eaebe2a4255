//! Ctrl-C: the first ends the work well, the second at once.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// Signals that come sooner than this after the first are the first: `timeout` sends its own to the process and to the
/// group that it is in.
const ONCE: Duration = Duration::from_millis(300);

/// Whether somebody wants us to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let flag = Arc::clone(&interrupted);
        // It sleeps in read(2) until there is one.
        thread::Builder::new().name("signals".into()).spawn(move || {
            let mut first = None;
            for _ in signals.forever() {
                if first.get_or_insert_with(Instant::now).elapsed() >= ONCE {
                    process::exit(Exit::Interrupted as i32);
                }
                flag.store(true, Ordering::Relaxed);
            }
        })?;
        Ok(Self(interrupted))
    }

    /// Whether one of them came.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
