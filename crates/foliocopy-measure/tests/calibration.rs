//! How often verdicts are wrong, on simulated runs whose true ratios are known. The seeds are fixed, so the answers never
//! change.
//!
//! A simulated machine drifts, has two speeds or comes in bursts, as shared machines do.

use fastrand::Rng;
use foliocopy_measure::bench::Until;
use foliocopy_measure::compare::{Comparison, Measure};
use foliocopy_measure::result::{self, Cache, Cell, Results};
use foliocopy_measure::statistics::paired_ratios;
use foliocopy_measure::verdict::{Standing, Verdict};

/// The disturbance of the machine, beside 3 % of noise.
#[derive(Clone, Copy, Debug)]
enum Noise {
    /// The speed wanders by a factor of two, for both contenders alike.
    Drift,
    /// Every third sample runs at two thirds of the speed.
    TwoSpeeds,
    /// For ten rounds in every forty a neighbour takes up to half the speed, and another part of each sample.
    Bursts,
}

const NOISES: [Noise; 3] = [Noise::Drift, Noise::TwoSpeeds, Noise::Bursts];

/// The cells of a simulated run: one contender against one baseline.
const CELLS: usize = 12;

/// An approximately normal random number.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

/// A simulated machine, which gives the speed of each sample.
struct Machine {
    noise: Noise,
    speed: f64,
    round: usize,
    rng: Rng,
}

impl Machine {
    fn next_round(&mut self) {
        self.round += 1;
        if matches!(self.noise, Noise::Drift) {
            self.speed = (self.speed * (0.05 * normal(&mut self.rng)).exp()).clamp(0.7, 1.4);
        }
    }

    fn sample(&mut self) -> f64 {
        let disturbed = match self.noise {
            Noise::TwoSpeeds if self.rng.u32(..3) == 0 => 0.67,
            Noise::Bursts if self.round % 40 < 10 => 1.0 - 0.5 * self.rng.f64(),
            Noise::Drift | Noise::TwoSpeeds | Noise::Bursts => 1.0,
        };
        10.0 * self.speed * disturbed * (0.03 * normal(&mut self.rng)).exp()
    }
}

/// Cells of `new` and `old`, where `new` has `speed_up(cell)` times the speed of `old`. They have as many rounds as a gate of
/// this `width` needs, and at most `most`.
fn run(noise: Noise, seed: u64, most: usize, width: f64, speed_up: impl Fn(usize) -> f64) -> Results {
    let mut rng = Rng::with_seed(seed);
    let until = Until { baseline: "old".into(), width, tests: CELLS };
    let mut results = empty();
    for cell in 0..CELLS {
        let mut machine = Machine { noise, speed: 1.0, round: 0, rng: rng.fork() };
        let (mut old, mut new) = (Vec::new(), Vec::new());
        while old.len() < most {
            machine.next_round();
            old.push(machine.sample());
            new.push(machine.sample() * speed_up(cell));
            if old.len() % 8 == 0 && until.suffices(&paired_ratios(&new, &old)) {
                break;
            }
        }
        for (contender, samples) in [("old", old), ("new", new)] {
            let bytes = 4096 << cell;
            results.cells.push(Cell { cache: Some(Cache::Cold), ..Cell::new(contender, bytes, samples) });
        }
    }
    results.rate();
    results
}

/// Results without cells, with `old` as the baseline.
fn empty() -> Results {
    let text = include_bytes!("fixtures/schema-1.json");
    let mut results = result::read_from(text, "schema-1.json".as_ref()).unwrap();
    results.cells.clear();
    results.parameters.baseline = "old".into();
    results
}

/// How many of the runs of the gate find a slower cell.
fn alarms(runs: u64, noise: Noise, speed_up: impl Fn(usize) -> f64) -> usize {
    let is_red = |seed: &u64| {
        let results = run(noise, *seed, 600, 0.03, &speed_up);
        !Verdict::of(&results, "new").unwrap().is_good()
    };
    (0..runs).filter(is_red).count()
}

#[test]
fn a_build_against_itself_is_no_slower() {
    for noise in NOISES {
        // 1 % would be two. The smallest difference that counts makes false alarms rarer.
        let alarms = alarms(200, noise, |_| 1.0);
        assert!(alarms <= 1, "{noise:?}: {alarms} of 200");
    }
}

#[test]
fn even_without_a_smallest_difference_one_run_in_a_hundred_errs() {
    for noise in NOISES {
        let errs = |seed: &u64| {
            let mut results = run(noise, *seed, 64, 0.0, |_| 1.0);
            results.parameters.minimal_effect = Some(0.0);
            let verdict = Verdict::of(&results, "new").unwrap();
            !verdict.slower.is_empty() || !verdict.faster.is_empty()
        };
        let errors = (0..400).filter(errs).count();
        // With an error rate of 1 %, more than 10 errors of 400 occur once in 400 tests.
        assert!(errors <= 10, "{noise:?}: {errors} of 400");
    }
}

#[test]
fn what_is_planted_in_one_cell_is_found_there_and_nowhere_else() {
    let planted = |loss: f64| move |cell: usize| if cell == 5 { 1.0 - loss } else { 1.0 };
    for noise in NOISES {
        for (loss, at_least, at_most) in [(0.02, 0, 1), (0.05, 38, 40), (0.10, 40, 40)] {
            let found = alarms(40, noise, planted(loss));
            assert!((at_least..=at_most).contains(&found), "{noise:?}: {loss} found {found} times of 40");
        }
        let results = run(noise, 1, 600, 0.03, planted(0.1));
        let verdict = Verdict::of(&results, "new").unwrap();
        let slower: Vec<u64> = verdict.slower.iter().map(|cell| cell.folio_bytes).collect();
        assert_eq!(slower, [4096 << 5], "{noise:?}");
    }
}

#[test]
fn what_is_promised_to_decide_decides() {
    // Enough rounds for an interval, but too few for a decision.
    let mut promised = 0;
    for seed in 0..40 {
        let results = run(Noise::Drift, seed, 24, 0.0, |_| 1.0);
        let verdict = Verdict::of(&results, "new").unwrap();
        let needed = verdict.undecided.iter().filter_map(|cell| verdict.rule.to_decide(cell));
        let Some(rounds) = needed.map(|needed| needed.rounds).max() else { continue };
        promised += 1;
        let longer = run(Noise::Drift, seed + 1000, rounds.min(2000), 0.0, |_| 1.0);
        let open = Verdict::of(&longer, "new").unwrap().undecided.len();
        assert!(open <= 2, "{open} of {CELLS} are undecided after {rounds} rounds");
    }
    assert!(promised >= 20, "{promised}");
}

/// Runs whose speed-ups differ by `between`, a standard deviation, beside their noise.
fn runs(count: u64, seed: u64, between: f64, speed_up: f64) -> Vec<Results> {
    let mut rng = Rng::with_seed(seed);
    let one = |_| {
        let differ: Vec<f64> = (0..CELLS).map(|_| (between * normal(&mut rng)).exp()).collect();
        let planted = |cell: usize| if cell == 5 { speed_up } else { 1.0 };
        run(Noise::Drift, rng.u64(..), 41, 0.0, |cell| differ[cell] * planted(cell))
    };
    (0..count).map(one).collect()
}

fn compared(count: u64, seed: u64, between: f64, speed_up: f64) -> (bool, usize) {
    let (old, new) = (runs(count, seed, between, 1.0), runs(count, seed + 10_000, between, speed_up));
    let (old, new): (Vec<&Results>, Vec<&Results>) = (old.iter().collect(), new.iter().collect());
    let comparison = Comparison::of(&old, &new, Measure::SpeedUp, 0.02);
    (comparison.is_good(), comparison.standing(Standing::Undecided).count())
}

#[test]
fn compared_runs_of_one_build_are_no_slower() {
    // One run of each, and then enough runs to know how much they differ.
    for (count, between) in [(1, 0.03), (7, 0.03), (7, 0.01)] {
        let alarms = (0..100).filter(|seed| !compared(count, *seed, between, 1.0).0).count();
        assert!(alarms <= 1, "{count} runs: {alarms} of 100");
    }
}

#[test]
fn compared_runs_find_what_they_can() {
    let found = |count, speed_up| (0..40).filter(|seed| !compared(count, *seed, 0.01, speed_up).0).count();
    assert!(found(7, 0.90) >= 38);
    // Runs may differ by a twelfth anyway, but not by a quarter.
    assert_eq!(found(1, 0.92), 0);
    assert!(found(1, 0.75) >= 38);
}
