//! One decision: whether somebody takes the place of what is built in.

use std::collections::BTreeMap;

use foliocopy::profile::Evidence;

use crate::result::Cell;
use crate::statistics::{
    CONFIDENCE, Interval, corrected_confidence, geometric_mean_interval, median_interval, rounds_needed,
};

/// A decision, by the names of the contenders.
pub(super) struct Trial<'a> {
    /// What it is about, such as `process.non_temporal`.
    pub(super) decision: &'a str,
    /// Who stays unless somebody is measured faster.
    pub(super) incumbent: &'a str,
    /// Who might be; the incumbent among them or not.
    pub(super) challengers: &'a [String],
    /// The cells that count.
    pub(super) cells: Vec<&'a Cell>,
}

impl Trial<'_> {
    /// The fastest of those whose speed-up over the incumbent is above 1, all situations together; else the incumbent.
    pub(super) fn decide(&self, evidence: &mut Vec<Evidence>) -> String {
        let challengers: Vec<&String> =
            self.challengers.iter().filter(|challenger| *challenger != self.incumbent).collect();
        evidence.extend(self.evidence(&challengers));
        let confidence = corrected_confidence(challengers.len());
        let faster = challengers.iter().filter_map(|challenger| {
            let groups = self.ratios(challenger);
            let rounds = groups.iter().map(Vec::len).min()?;
            let medians = groups.iter().map(|group| median_interval(group, confidence));
            let speed_up = geometric_mean_interval(&medians.collect::<Option<Vec<_>>>()?)?;
            let enough = rounds >= rounds_needed(challengers.len());
            (enough && speed_up.low > 1.0).then_some((*challenger, speed_up.median))
        });
        let fastest = faster.max_by(|(_, one), (_, other)| one.total_cmp(other));
        fastest.map_or_else(|| self.incumbent.to_owned(), |(challenger, _)| challenger.clone())
    }

    /// The incumbent's cells: a situation each.
    fn situations(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().copied().filter(|cell| cell.contender == self.incumbent)
    }

    /// The ratios of `challenger` to the incumbent, a group for each situation.
    fn ratios(&self, challenger: &str) -> Vec<Vec<f64>> {
        self.situations()
            .filter_map(|baseline| Some(find(&self.cells, challenger, baseline)?.ratios_to(baseline)))
            .collect()
    }

    /// Size by size, how `challenger` stands to the incumbent in what includes a read of the destination; nothing from
    /// too few rounds.
    pub(super) fn gains(&self, challenger: &str, with_read: bool) -> impl Iterator<Item = (u64, Interval)> {
        let sizes = self.situations().filter(move |cell| cell.dimensions.contains_key("then") == with_read);
        let confidence = corrected_confidence(self.cells.len());
        sizes.filter_map(move |baseline| {
            let ratios = find(&self.cells, challenger, baseline)?.ratios_to(baseline);
            let enough = ratios.len() >= rounds_needed(self.cells.len());
            let gain = median_interval(&ratios, confidence)?;
            enough.then_some((baseline.folio_bytes, gain))
        })
    }

    fn evidence(&self, challengers: &[&String]) -> Vec<Evidence> {
        let of = |baseline: &Cell| {
            let ratios = challengers.iter().filter_map(|challenger| {
                let ratio = ratio(find(&self.cells, challenger, baseline)?, baseline)?;
                Some(((*challenger).clone(), rounded(ratio)))
            });
            Evidence {
                decision: self.decision.to_owned(),
                cache: baseline.cache.map_or_else(String::new, |cache| cache.to_string()),
                bytes: baseline.folio_bytes,
                with_read: baseline.dimensions.contains_key("then"),
                rounds: baseline.samples_gbps.len(),
                baseline: self.incumbent.to_owned(),
                ratios: ratios.collect::<BTreeMap<_, _>>(),
            }
        };
        self.situations().map(of).filter(|evidence| !evidence.ratios.is_empty()).collect()
    }
}

/// The cell of `contender` in the situation of `other`.
pub(super) fn find<'a>(cells: &[&'a Cell], contender: &str, other: &Cell) -> Option<&'a Cell> {
    cells.iter().copied().find(|cell| cell.contender == contender && cell.situation() == other.situation())
}

/// The speed of `cell` as a ratio to `baseline`'s.
pub(super) fn ratio(cell: &Cell, baseline: &Cell) -> Option<Interval> {
    median_interval(&cell.ratios_to(baseline), CONFIDENCE)
}

/// Median, lower and upper end, as a profile keeps them: to four places.
pub(super) fn rounded(interval: Interval) -> [f64; 3] {
    [interval.median, interval.low, interval.high].map(|value| (value * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Cache;

    /// A cell of one contender at one size; its samples are the base's, noisy, times `speed`.
    fn cell(contender: &str, folio_bytes: u64, speed: f64, rounds: usize) -> Cell {
        let samples = (0..rounds).map(|round| speed * (8.0 + (round * 7 % 5) as f64)).collect();
        Cell { cache: Some(Cache::Cold), ..Cell::new(contender, folio_bytes, samples) }
    }

    fn decide(cells: &[Cell]) -> (String, Vec<Evidence>) {
        let mut evidence = Vec::new();
        let challengers = ["slow", "fast", "faster"].map(str::to_owned);
        let trial = Trial {
            decision: "process.page",
            incumbent: "slow",
            challengers: &challengers,
            cells: cells.iter().collect(),
        };
        (trial.decide(&mut evidence), evidence)
    }

    #[test]
    fn the_fastest_of_those_that_are_faster_wins() {
        let mut cells = vec![];
        for bytes in [4096, 65536] {
            for (contender, speed) in [("slow", 1.0), ("fast", 1.1), ("faster", 1.2)] {
                cells.push(cell(contender, bytes, speed, 15));
            }
        }
        let (winner, evidence) = decide(&cells);
        assert_eq!(winner, "faster");
        assert_eq!(evidence.len(), 2, "a situation each");
        assert_eq!(evidence[1].bytes, 65536);
        assert_eq!((evidence[0].rounds, evidence[0].baseline.as_str()), (15, "slow"));
        assert_eq!(evidence[0].ratios["fast"], [1.1; 3]);
        assert_eq!(evidence[0].ratios.len(), 2);
    }

    #[test]
    fn noise_and_too_few_rounds_change_nothing() {
        let noisy: Vec<f64> = (0..15).map(|round| if round % 2 == 0 { 12.0 } else { 7.0 }).collect();
        let noisy = Cell { cache: Some(Cache::Cold), ..Cell::new("fast", 4096, noisy) };
        assert_eq!(decide(&[cell("slow", 4096, 1.0, 15), noisy]).0, "slow");
        assert_eq!(decide(&[cell("slow", 4096, 1.0, 3), cell("faster", 4096, 2.0, 3)]).0, "slow");
        assert_eq!(decide(&[cell("slow", 4096, 1.0, 15)]).0, "slow");
    }

    #[test]
    fn gains_are_of_the_copies_alone_or_with_the_read() {
        let read = |one: Cell| Cell { dimensions: [("then".into(), "read".into())].into(), ..one };
        let cells = [
            cell("slow", 4096, 1.0, 15),
            cell("fast", 4096, 1.2, 15),
            read(cell("slow", 4096, 1.0, 15)),
            read(cell("fast", 4096, 0.8, 15)),
        ];
        let trial = Trial {
            decision: "process.non_temporal_from",
            incumbent: "slow",
            challengers: &["fast".to_owned()],
            cells: cells.iter().collect(),
        };
        let medians = |with_read| -> Vec<_> {
            trial.gains("fast", with_read).map(|(bytes, gain)| (bytes, rounded(gain)[0])).collect()
        };
        assert_eq!(medians(false), [(4096, 1.2)]);
        assert_eq!(medians(true), [(4096, 0.8)]);
    }

    #[test]
    fn what_is_lost_in_one_situation_counts_against_what_is_won_in_another() {
        let cells = [
            cell("slow", 4096, 1.0, 15),
            cell("fast", 4096, 1.2, 15),
            cell("slow", 8192, 1.0, 15),
            cell("fast", 8192, 0.8, 15),
        ];
        assert_eq!(decide(&cells).0, "slow");
    }
}
