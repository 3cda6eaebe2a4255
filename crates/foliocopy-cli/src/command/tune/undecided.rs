//! Tells the decisions that a tuning leaves open, and the time that would decide them.

use std::time::Duration;

use foliocopy_measure::size::Size;
use foliocopy_measure::tune::Undecided;

use crate::wrap::{COLUMNS, wrap};

/// Longer than so many times the time that it had, a decision is not promised.
const PATIENCE: f64 = 100.0;

/// A line for each decision that is open after so much `time`.
pub(super) fn lines(undecided: &[Undecided], time: Duration) -> String {
    let mut text = String::new();
    for open in undecided.chunk_by(|one, other| one.decision == other.decision) {
        let first = &open[0];
        let more = if open.len() > 1 { format!(", and {} more", open.len() - 1) } else { String::new() };
        let times = open.iter().map(|open| open.times).fold(1.0, f64::max);
        let advice = match times <= PATIENCE {
            true => format!("try {}", option(time, times)),
            false => "they are too near to each other for any time to tell".to_owned(),
        };
        let question = format!(
            "{}: whether {} is faster than {} at {}{more}; {advice}",
            first.decision,
            first.rival,
            first.chosen,
            Size(first.bytes)
        );
        wrap(&mut text, "undecided: ", &question, COLUMNS);
    }
    text
}

/// `--time` for so many times as long, in whole minutes where it is long.
fn option(time: Duration, times: f64) -> String {
    let seconds = (time.as_secs_f64() * times).ceil().max(1.0);
    match seconds > 120.0 {
        true => format!("--time {:.0}m", (seconds / 60.0).ceil()),
        false => format!("--time {seconds:.0}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: u64, times: f64) -> Undecided {
        Undecided {
            decision: "process.auto".into(),
            bytes,
            chosen: "rep_movsb@0".into(),
            rival: "avx2_nt@0".into(),
            times,
        }
    }

    #[test]
    fn a_decision_says_how_long_it_takes() {
        let kernel = Undecided { decision: "kernel.auto".into(), ..open(4096, 1.2) };
        let text = lines(&[open(65536, 1.5), open(262144, 4.0), kernel], Duration::from_secs(60));
        let expected = "undecided: process.auto: whether avx2_nt@0 is faster than rep_movsb@0 at 64K,\n           \
                        and 1 more; try --time 4m\n\
                        undecided: kernel.auto: whether avx2_nt@0 is faster than rep_movsb@0 at 4K; try\n           \
                        --time 72s\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_no_time_tells_is_not_promised() {
        let text = lines(&[open(65536, 1.5), open(262144, 400.0)], Duration::from_secs(60));
        assert!(text.contains("too near"), "{text}");
    }
}
