//! One measurement against another: what differs between the machines, and cell by cell what became of the speed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::result::{Cache, Cell, Environment, Results};
use crate::size::Size;
use crate::statistics::{CONFIDENCE, Interval, corrected_confidence, geometric_mean};
use crate::unpaired::Unpaired;

/// Something that is not the same in two measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs, such as `microcode`.
    pub what: &'static str,
    /// It in the old measurement.
    pub old: String,
    /// It in the new one.
    pub new: String,
    /// Whether figures across it answer no question, so that a comparison needs to be forced.
    pub forbids: bool,
}

/// Such as `microcode: 0xa0011d5, then 0xa0011de`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &'_ str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
        write!(f, "{}: {}, then {}", self.what, shown(&self.old), shown(&self.new))
    }
}

/// What differs between the CPUs, the parameters and the environments of two measurements.
///
/// Another CPU, other parameters or an emulator forbid a comparison: the ratio would be that of two questions. What
/// a comparison is made for (microcode, kernel, governor) is told and allowed.
pub fn differences(old: &Results, new: &Results) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut look = |forbids: bool, what: &'static str, tell: &dyn Fn(&Results) -> String| {
        let (old, new) = (tell(old), tell(new));
        if old != new {
            found.push(Difference { what, old, new, forbids });
        }
    };
    look(true, "CPU", &|results| {
        let cpu = &results.environment.cpu;
        format!(
            "{} ({} family {}, model {}, stepping {})",
            cpu.model_name, cpu.vendor, cpu.family, cpu.model, cpu.stepping
        )
    });
    look(true, "emulated CPU", &|results| results.environment.emulated.to_string());
    look(true, "masked features", &|results| results.environment.cpu.masked.join(" "));
    look(true, "command", &|results| results.command.clone());
    look(true, "place", &|results| format!("{:?}", results.origin));
    look(true, "bytes of a cold run", &|results| Size(results.parameters.total_bytes_cold).to_string());
    look(true, "bytes of a hot run", &|results| Size(results.parameters.total_bytes_hot).to_string());
    look(true, "bytes evicted", &|results| Size(results.parameters.evict_bytes).to_string());
    look(true, "memory", &|results| results.parameters.memory.clone());
    look(true, "other parameters", &|results| listed(&results.parameters.other));
    look(false, "baseline", &|results| results.parameters.baseline.clone());
    look(false, "microcode", &|results| results.environment.cpu.microcode.clone().unwrap_or_default());
    look(false, "features", &|results| results.environment.cpu.features.join(" "));
    look(false, "CPUs online", &|results| results.environment.cpu.online_cpus.to_string());
    look(false, "caches", &|results| caches(&results.environment));
    look(false, "kernel", &|results| results.environment.kernel.clone());
    look(false, "hypervisor", &|results| results.environment.hypervisor.clone().unwrap_or_default());
    look(false, "governor", &|results| results.environment.governor.clone().unwrap_or_default());
    look(false, "transparent huge pages", &|results| {
        results.environment.transparent_hugepages.clone().unwrap_or_default()
    });
    look(false, "NUMA balancing", &|results| match results.environment.numa_balancing {
        Some(true) => "on".into(),
        Some(false) => "off".into(),
        None => String::new(),
    });
    look(false, "nodes", &|results| nodes(&results.environment));
    look(false, "program", &|results| results.program.clone());
    look(false, "pinned to CPU", &|results| {
        results.parameters.cpu.map(|cpu| cpu.to_string()).unwrap_or_default()
    });
    look(false, "complete", &|results| results.complete.to_string());
    for contender in &new.parameters.contenders {
        let before = old.parameters.contenders.iter().find(|before| before.name == contender.name);
        if let Some(before) = before.filter(|before| *before != contender) {
            let tell = |contender: &crate::result::Contender| {
                let from = contender.loaded.as_deref().unwrap_or(&contender.description);
                format!("{} is {from}", contender.name)
            };
            found.push(Difference {
                what: "contender",
                old: tell(before),
                new: tell(contender),
                forbids: false,
            });
        }
    }
    found
}

fn listed(other: &BTreeMap<String, String>) -> String {
    other.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn caches(environment: &Environment) -> String {
    let caches = environment.cpu.caches.iter();
    caches.map(|cache| format!("L{} {}", cache.level, Size(cache.bytes))).collect::<Vec<_>>().join(", ")
}

fn nodes(environment: &Environment) -> String {
    let told = environment.nodes.iter().map(|node| {
        let cpus = if node.cpus.is_empty() { "memory only" } else { "with CPUs" };
        format!("{} {cpus}", node.id)
    });
    told.collect::<Vec<_>>().join(", ")
}

/// What of a cell is held against its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Its GB/s. Nothing cancels between two runs: a host that has become slower shows as a slower cell.
    Throughput,
    /// Its speed-up over its own run's baseline, which a slower host leaves as it was.
    SpeedUp,
}

/// What became of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The corrected interval lies above 1.
    Faster,
    /// The corrected interval lies below 1.
    Slower,
    /// The corrected interval holds 1.
    NoDifference,
    /// There are too few rounds for any interval of that confidence.
    TooFewRounds,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Change::Faster => "faster",
            Change::Slower => "slower",
            Change::NoDifference => "no difference",
            Change::TooFewRounds => "too few rounds",
        })
    }
}

/// One cell then and now.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// It in the old measurement.
    pub old: &'a Cell,
    /// It in the new one.
    pub new: &'a Cell,
    /// New by old with its interval at 95 % for this cell alone. `None` with too few rounds.
    pub ratio: Option<Interval>,
    /// With the interval at 95 % for all cells together.
    pub corrected: Option<Interval>,
    /// The verdict.
    pub change: Change,
}

/// Two measurements, cell by cell.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    /// What was held against what.
    pub measure: Measure,
    /// The cells that both have, in the order of the new measurement.
    pub pairs: Vec<Pair<'a>>,
    /// Cells that only the old one has.
    pub only_old: Vec<&'a Cell>,
    /// Cells that only the new one has.
    pub only_new: Vec<&'a Cell>,
}

impl<'a> Comparison<'a> {
    /// Compares all cells of the same contender in the same situation.
    pub fn of(old: &'a Results, new: &'a Results, measure: Measure) -> Self {
        let old_sets = samples(old, measure);
        let new_sets = samples(new, measure);
        let both = new_sets.iter().filter(|(key, _)| old_sets.contains_key(*key)).count();
        let confidence = corrected_confidence(both);
        let (mut alone, mut together) = (Unpaired::new(CONFIDENCE), Unpaired::new(confidence));
        let pair = |cell: &'a Cell| {
            let (new, new_samples) = new_sets.get(&key(cell))?;
            let (old, old_samples) = old_sets.get(&key(cell))?;
            let ratio = alone.ratio(new_samples, old_samples);
            let corrected = together.ratio(new_samples, old_samples);
            let change = match corrected {
                None => Change::TooFewRounds,
                Some(interval) if interval.low > 1.0 => Change::Faster,
                Some(interval) if interval.high < 1.0 => Change::Slower,
                Some(_) => Change::NoDifference,
            };
            Some(Pair { old, new, ratio, corrected, change })
        };
        let pairs = new.cells.iter().filter_map(pair).collect();
        let missing = |cells: &'a [Cell], others: &[Cell]| {
            let others: BTreeSet<Key<'_>> = others.iter().map(key).collect();
            cells.iter().filter(|cell| !others.contains(&key(cell))).collect()
        };
        let (only_old, only_new) = (missing(&old.cells, &new.cells), missing(&new.cells, &old.cells));
        Self { measure, pairs, only_old, only_new }
    }

    /// The pairs that became slower by more than `threshold` (0.03 is 3 %) beyond their corrected interval.
    pub fn regressions(&self, threshold: f64) -> impl Iterator<Item = &Pair<'a>> {
        let bound = 1.0 - threshold;
        self.pairs.iter().filter(move |pair| pair.corrected.is_some_and(|interval| interval.high < bound))
    }

    /// How many pairs ended as `change`.
    pub fn count(&self, change: Change) -> usize {
        self.pairs.iter().filter(|pair| pair.change == change).count()
    }

    /// The geometric mean of the ratios of `contender`'s cells, or of all cells, by state of the cache.
    pub fn geometric_means(&self, contender: Option<&str>) -> Vec<(Option<Cache>, f64)> {
        let mut groups: BTreeMap<Option<Cache>, Vec<f64>> = BTreeMap::new();
        for pair in &self.pairs {
            if contender.is_none_or(|contender| contender == pair.new.contender) {
                let ratio =
                    pair.ratio.map_or(pair.new.median_gbps / pair.old.median_gbps, |ratio| ratio.median);
                groups.entry(pair.new.cache).or_default().push(ratio);
            }
        }
        groups.into_iter().filter_map(|(cache, ratios)| Some((cache, geometric_mean(&ratios)?))).collect()
    }
}

/// What makes two cells the same cell.
type Key<'a> = (Option<Cache>, u64, Option<u32>, Option<u32>, &'a BTreeMap<String, String>, &'a str);

fn key(cell: &Cell) -> Key<'_> {
    (cell.cache, cell.folio_bytes, cell.src_node, cell.dst_node, &cell.dimensions, &cell.contender)
}

type Samples<'a> = BTreeMap<Key<'a>, (&'a Cell, Vec<f64>)>;

/// Of every cell what `measure` asks for. Cells without it (a speed-up without a baseline, and the baseline's own) are
/// left out.
fn samples(results: &Results, measure: Measure) -> Samples<'_> {
    let baseline = results.parameters.baseline.as_str();
    let cells: BTreeMap<Key<'_>, &Cell> = results.cells.iter().map(|cell| (key(cell), cell)).collect();
    let of = |cell: &Cell| match measure {
        Measure::Throughput => Some(cell.samples_gbps.clone()),
        Measure::SpeedUp if cell.contender == baseline => None,
        Measure::SpeedUp => {
            let (cache, bytes, src, dst, dimensions, _) = key(cell);
            let baseline = cells.get(&(cache, bytes, src, dst, dimensions, baseline))?;
            Some(cell.ratios_to(baseline))
        }
    };
    cells.iter().filter_map(|(key, cell)| Some((*key, (*cell, of(cell)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::sample;

    fn scaled(contender: &str, factor: f64) -> Results {
        let mut results = sample();
        for cell in results.cells.iter_mut().filter(|cell| cell.contender == contender) {
            for gbps in &mut cell.samples_gbps {
                *gbps *= factor;
            }
        }
        results.rate();
        results
    }

    fn forbidding(change: impl FnOnce(&mut Results)) -> Vec<(&'static str, bool)> {
        let mut new = sample();
        change(&mut new);
        differences(&sample(), &new).into_iter().map(|found| (found.what, found.forbids)).collect()
    }

    #[test]
    fn the_same_run_has_no_difference() {
        assert_eq!(differences(&sample(), &sample()), []);
        let (old, new) = (sample(), sample());
        let comparison = Comparison::of(&old, &new, Measure::Throughput);
        assert_eq!(comparison.count(Change::NoDifference), 4);
        assert_eq!(comparison.regressions(0.0).count(), 0);
    }

    #[test]
    fn another_question_forbids_and_another_machine_state_does_not() {
        assert_eq!(forbidding(|new| new.environment.cpu.family = 26), [("CPU", true)]);
        assert_eq!(forbidding(|new| new.parameters.memory = "hugetlb".into()), [("memory", true)]);
        assert_eq!(
            forbidding(|new| new.environment.cpu.masked = vec!["erms".into()]),
            [("masked features", true)]
        );
        assert_eq!(
            forbidding(|new| new.environment.cpu.microcode = Some("0x2".into())),
            [("microcode", false)]
        );
        assert_eq!(forbidding(|new| new.environment.kernel = "Linux 7.3".into()), [("kernel", false)]);
        assert_eq!(
            forbidding(|new| new.environment.governor = Some("powersave".into())),
            [("governor", false)]
        );
        assert_eq!(forbidding(|new| new.started = "2027-01-01T00:00:00Z".into()), []);
    }

    #[test]
    fn a_slower_cell_is_found_and_counts_from_the_threshold_on() {
        // Nine rounds between 8 and 16 GB/s are wide: only half the speed stands out of them.
        let (old, new) = (sample(), scaled("foliocopy", 0.4));
        let comparison = Comparison::of(&old, &new, Measure::Throughput);
        assert_eq!((comparison.count(Change::Slower), comparison.count(Change::NoDifference)), (2, 2));
        assert_eq!(comparison.regressions(0.03).count(), 2);
        assert_eq!(comparison.regressions(0.9).count(), 0);
        let comparison = Comparison::of(&new, &old, Measure::Throughput);
        assert_eq!((comparison.count(Change::Faster), comparison.regressions(0.03).count()), (2, 0));
    }

    #[test]
    fn a_slower_host_leaves_the_speed_up() {
        let mut new = sample();
        for cell in &mut new.cells {
            for gbps in &mut cell.samples_gbps {
                *gbps *= 0.3;
            }
        }
        new.rate();
        let old = sample();
        assert_eq!(Comparison::of(&old, &new, Measure::Throughput).count(Change::Slower), 4);
        let by_speed_up = Comparison::of(&old, &new, Measure::SpeedUp);
        assert_eq!((by_speed_up.only_old.len(), by_speed_up.only_new.len()), (0, 0));
        assert_eq!((by_speed_up.pairs.len(), by_speed_up.count(Change::NoDifference)), (2, 2));
        // And a cell that lost against its baseline shows at once, wide as the throughputs are.
        let lost = scaled("foliocopy", 0.95);
        assert_eq!(Comparison::of(&old, &lost, Measure::SpeedUp).regressions(0.03).count(), 2);
    }

    #[test]
    fn cells_of_one_side_are_named() {
        let (old, mut new) = (sample(), sample());
        new.cells.remove(1);
        new.cells[0].contender = "stranger".into();
        let comparison = Comparison::of(&old, &new, Measure::Throughput);
        assert_eq!(comparison.pairs.len(), 2);
        assert_eq!(comparison.only_old.len(), 2);
        assert_eq!(comparison.only_new[0].contender, "stranger");
    }

    #[test]
    fn few_rounds_give_no_verdict() {
        let mut new = scaled("foliocopy", 0.1);
        for cell in &mut new.cells {
            cell.samples_gbps.truncate(2);
        }
        let old = sample();
        let comparison = Comparison::of(&old, &new, Measure::Throughput);
        assert_eq!(comparison.count(Change::TooFewRounds), 4);
        assert_eq!(comparison.regressions(0.03).count(), 0);
    }
}
