//! The progress bar of a measurement, on standard error and only where that is a terminal.

use std::time::Duration;

use foliocopy_measure::bench::{Case, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt::Interrupt;
use crate::printer;

/// The bar's resolution.
const STEPS: f64 = 1000.0;

/// Watches a measurement, shows how far it is, and ends it when interrupted.
pub(crate) struct Progress {
    bar: ProgressBar,
    cases: usize,
    interrupt: Interrupt,
}

impl Progress {
    /// A bar for `cases` cases; none when `quiet`.
    pub(crate) fn new(cases: usize, quiet: bool, interrupt: Interrupt) -> Self {
        // indicatif itself draws nothing where standard error is no terminal.
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(STEPS as u64), target);
        let style =
            ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed} of about {duration}  {msg}");
        bar.set_style(style.expect("the template is right"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, cases, interrupt }
    }

    /// Shows the current work.
    pub(crate) fn message(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// Says something beside the bar.
    pub(crate) fn line(&self, text: &str) {
        self.around(|| printer::note(text));
    }

    /// Does something that writes, with the bar out of its way.
    pub(crate) fn around<T>(&self, writes: impl FnOnce() -> T) -> T {
        self.bar.suspend(writes)
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Progress {
    fn case(&mut self, index: usize, case: &Case) {
        self.bar.set_message(format!("{case} ({} of {})", index + 1, self.cases));
    }

    fn progress(&mut self, done: f64) {
        self.bar.set_position((done * STEPS) as u64);
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_set()
    }
}
