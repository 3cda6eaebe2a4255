//! What a tuning leaves open: decisions that had too few rounds, or intervals too wide to tell.

use std::fmt::Write;
use std::time::Duration;

use foliocopy::profile::Evidence;
use foliocopy_measure::size::Size;
use foliocopy_measure::statistics::rounds_needed;
use foliocopy_measure::verdict::MINIMAL_EFFECT;

/// Longer than so many times the time that it had, a decision is not promised.
const PATIENCE: f64 = 100.0;

/// A line for each decision that is open, with the time that would close it.
pub(super) fn lines(evidence: &[Evidence], time: Duration) -> String {
    let mut decisions: Vec<&str> = evidence.iter().map(|row| row.decision.as_str()).collect();
    decisions.dedup();
    let mut text = String::new();
    for decision in decisions {
        let rows: Vec<&Evidence> = evidence.iter().filter(|row| row.decision == decision).collect();
        let Some(least) = rows.iter().min_by_key(|row| row.rounds) else { continue };
        let candidates = rows.iter().map(|row| row.ratios.len()).max().unwrap_or(1);
        let needed = rounds_needed(candidates);
        if least.rounds < needed {
            let noun = if least.rounds == 1 { "round" } else { "rounds" };
            let times = needed as f64 / least.rounds.max(1) as f64;
            let _ = writeln!(
                text,
                "undecided: {decision}: {} had {} {noun}, and {needed} can tell {candidates} apart; try {}",
                cell(least),
                least.rounds,
                option(time, times)
            );
            continue;
        }
        let wide: Vec<(&Evidence, f64)> =
            rows.iter().filter_map(|row| Some((*row, times_to_decide(row)?))).collect();
        let Some((first, _)) = wide.first() else { continue };
        let times = wide.iter().map(|(_, times)| *times).fold(1.0, f64::max);
        let more = if wide.len() > 1 { format!(" and {} more", wide.len() - 1) } else { String::new() };
        let advice = match times <= PATIENCE {
            true => format!("try {}", option(time, times)),
            false => "they are too near to each other for any time to tell".to_owned(),
        };
        let _ = writeln!(text, "undecided: {decision}: {}{more} too wide to tell; {advice}", cell(first));
    }
    text
}

/// How many times the rounds would tell whether each candidate gains what counts in this cell. `None` where that is told.
fn times_to_decide(row: &Evidence) -> Option<f64> {
    let bound = 1.0 + MINIMAL_EFFECT;
    let open = row.ratios.values().filter(|[_, low, high]| *low <= bound && bound < *high);
    let times = open.map(|[median, low, high]| {
        let reach = if *median > bound { median - low } else { high - median };
        (reach / (median - bound)).powi(2).max(1.0)
    });
    times.reduce(f64::max)
}

/// Such as `cold 64K`.
fn cell(row: &Evidence) -> String {
    let read = if row.with_read { " with a read" } else { "" };
    format!("{} {}{read}", row.cache, Size(row.bytes))
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

    fn row(bytes: u64, rounds: usize, ratio: [f64; 3]) -> Evidence {
        Evidence {
            decision: "process.page".into(),
            cache: "cold".into(),
            bytes,
            with_read: false,
            rounds,
            baseline: "rep_movsb".into(),
            ratios: [("avx2".to_owned(), ratio), ("movq".to_owned(), [0.8, 0.79, 0.81])].into(),
        }
    }

    #[test]
    fn the_smallest_number_of_rounds_counts() {
        let text = lines(&[row(4096, 41, [1.0; 3]), row(65536, 3, [1.0; 3])], Duration::from_secs(90));
        assert_eq!(
            text,
            "undecided: process.page: cold 64K had 3 rounds, and 9 can tell 2 apart; try --time 5m\n"
        );
    }

    #[test]
    fn what_is_too_wide_says_how_long_it_takes() {
        let narrow = row(4096, 41, [1.0, 0.99, 1.01]);
        assert_eq!(lines(std::slice::from_ref(&narrow), Duration::from_secs(90)), "");
        // Half as wide would tell.
        let text = lines(&[narrow, row(65536, 41, [1.0, 0.96, 1.04])], Duration::from_secs(20));
        assert_eq!(text, "undecided: process.page: cold 64K too wide to tell; try --time 80s\n");
        let text = lines(&[row(65536, 41, [1.019, 0.96, 1.04])], Duration::from_secs(20));
        assert!(text.contains("too near"), "{text}");
    }
}
