//! Decisions by samples that were made up: what is faster where is known.

use super::*;
use crate::contender::step_name;
use crate::statistics::CONFIDENCE;
use foliocopy::Primitive::{Avx2, Avx2Nt, Avx512Nt, Movnti, RepMovsb, RepMovsq};
use foliocopy::{Caches, Features, Locality, Policy, Vendor};

/// A Zen 4 with 32 MiB of last-level cache.
fn cpu() -> Cpu {
    let others = Features::MOVDIR64B | Features::HYPERVISOR | Features::ASIMD | Features::MOPS;
    let features = Features::ALL.without(others);
    Cpu::foreign(Vendor::Amd, [0x19, 0x11, 1], features, Caches { l1d: 32 << 10, l2: 1 << 20, l3: 32 << 20 })
}

fn built_in() -> Policy {
    Policy::new(cpu(), Registers::Vector)
}

/// The cells of a survey in which a step has `speed` times the speed of the kernel's copy in each state and length, and noise that
/// is its own where it is called noisy.
fn cells(speed: impl Fn(State, u64, Step) -> f64, is_noisy: impl Fn(Step) -> bool) -> Vec<Cell> {
    let settings = Settings {
        cpu: cpu(),
        kernel: cpu(),
        scope: Scope::Full,
        time: Duration::from_secs(1),
        evict_bytes: 0,
        cold_run_bytes: 2 << 20,
        last_level_cache: Some(32 << 20),
        seed: 1,
        counter: TimeStampCounter::Unusable("made up"),
    };
    let mut rng = fastrand::Rng::with_seed(1);
    let mut cells = Vec::new();
    for case in settings.cases() {
        let mut steps = steps::built_in(&cpu(), &cpu(), case.folio_bytes);
        steps::copies(&cpu(), false).into_iter().for_each(|step| push(&mut steps, step));
        let drift: Vec<f64> = (0..31).map(|_| 5.0 + rng.f64()).collect();
        let mut add = |contender: &str, samples: Vec<f64>| {
            let mut cell = Cell::new(contender, case.folio_bytes, samples);
            cell.cache = Some(case.cache);
            if case.then.is_some() {
                cell.dimensions.insert("then".into(), "read".into());
            }
            cells.push(cell);
        };
        add(BASELINE, drift.clone());
        for step in steps {
            let speed = speed(state(&case), case.folio_bytes, step);
            let noise = |rng: &mut fastrand::Rng| if is_noisy(step) { 0.8 + 0.4 * rng.f64() } else { 1.0 };
            let samples = drift.iter().map(|drift| drift * speed * noise(&mut rng));
            add(&step_name(step), samples.collect());
        }
    }
    cells
}

/// As on a Zen 4, roughly: what is built in there is the best, or close to it.
fn like_zen_4(state: State, bytes: u64, step: Step) -> f64 {
    let far = step.far();
    let of_copy = |step: Step| match (step.primitives()[0], state) {
        (Avx2Nt | Avx512Nt, State::Hot) => 0.3,
        (Avx2Nt, State::Cold) => match (step, bytes) {
            (Step::Copy { distance: 0, .. }, ..1_048_576) => 1.5,
            (Step::Copy { distance: 1024, .. }, 1_048_576..) => 1.5,
            _ => 1.4,
        },
        (Avx512Nt, State::Cold) => 1.4,
        (Avx2Nt | Movnti, State::Read) if bytes >= 64 << 10 => 1.0,
        (Movnti, State::Cold) => match (step, bytes) {
            (Step::Copy { distance: 1024, .. }, ..65_536) => 1.3,
            (Step::Copy { distance: 4096, .. }, 65_536..16_777_216) => 1.3,
            (Step::Copy { distance: 2048, .. }, 16_777_216..) => 1.3,
            _ => 1.2,
        },
        (Movnti, State::Hot) => 0.3,
        (by, State::Read) if by.is_non_temporal() => 0.9,
        (Avx2, State::Hot) if bytes < SHORT => 1.2,
        (Avx2, State::Cold) if bytes >= SHORT => 0.8,
        (RepMovsb, _) => 1.02,
        _ => 1.0,
    };
    match state {
        State::Hot => of_copy(step.near()),
        _ => of_copy(far),
    }
}

fn exact(cells: &[Cell]) -> Samples {
    Samples::of(cells)
}

#[test]
fn what_is_built_in_stays_where_nothing_is_faster() {
    let samples = exact(&cells(like_zen_4, |_| false));
    for registers in [Registers::Vector, Registers::GeneralPurpose] {
        let built_in = Policy::new(cpu(), registers);
        let (row, choices) = choose(&samples, &built_in);
        let tuned = Policy::with_row(cpu(), registers, &row).unwrap();
        for locality in Locality::ALL {
            assert!(
                tuned.bands(*locality).eq(built_in.bands(*locality)),
                "{registers:?} {locality}: {row:?}"
            );
        }
        assert!(choices.iter().all(|choice| choice.undecided.is_none()), "{choices:?}");
    }
}

#[test]
fn a_faster_step_has_a_band_of_its_own() {
    let faster = Step::Copy { by: Avx512Nt, distance: 2048 };
    let speed = |state, bytes, step: Step| match (state, bytes, step) {
        (State::Cold, 262_144.., _) if step == faster => 1.7,
        _ => like_zen_4(state, bytes, step),
    };
    let (row, choices) = choose(&exact(&cells(speed, |_| false)), &built_in());
    let bands = row.non_temporal.as_slice();
    assert_eq!(bands.len(), 2, "{bands:?}");
    assert_eq!((bands[0].step, bands[1].step), (Step::copy(Avx2Nt), faster));
    assert_eq!(bands[0].up_to, foliocopy::Limit::Bytes((256 << 10) - 4096));
    let choice = choices
        .iter()
        .find(|choice| choice.locality == Locality::NonTemporal && choice.bytes == 1 << 20)
        .unwrap();
    assert!((choice.gain.median - 1.7 / 1.5).abs() < 1e-9, "{choice:?}");
}

#[test]
fn noise_changes_nothing_and_is_called_undecided() {
    let noisy = Step::Copy { by: Avx512Nt, distance: 2048 };
    let speed = |state, bytes, step: Step| match state {
        State::Cold if step == noisy => 1.53,
        _ => like_zen_4(state, bytes, step),
    };
    let (row, choices) = choose(&exact(&cells(speed, |step| step == noisy)), &built_in());
    assert_eq!(row.non_temporal.as_slice().len(), 2);
    let rivals: Vec<Rival> = choices.iter().filter_map(|choice| choice.undecided).collect();
    // Its intervals reach over 1, so that it takes more rounds to tell.
    assert!(rivals.iter().any(|rival| rival.step == noisy && rival.times > 1.0), "{choices:?}");
}

/// A copy past the cache that loses with the read of the destination gives way, and one through it comes.
#[test]
fn a_reader_of_the_destination_is_heard() {
    let speed = |state, bytes, step: Step| match (state, step.far().primitives()[0]) {
        (State::Read, Avx2Nt) if bytes < 128 << 10 => 0.85,
        _ => like_zen_4(state, bytes, step),
    };
    let (row, _) = choose(&exact(&cells(speed, |_| false)), &built_in());
    let tuned = Policy::with_row(cpu(), Registers::Vector, &row).unwrap();
    for (bytes, is_past) in [(32 << 10, false), (64 << 10, false), (128 << 10, true), (1 << 20, true)] {
        let step = tuned.step(Locality::Auto, bytes);
        assert_eq!(step.far().primitives()[0].is_non_temporal(), is_past, "{bytes}: {step}");
    }
}

#[test]
fn a_table_has_no_more_bands_than_it_may() {
    // At every length another one is the best.
    let distances = [0, 512, 1024, 2048, 4096, 8192];
    let speed = |state, bytes: u64, step: Step| match step {
        Step::Copy { by: Avx512Nt, distance } if state == State::Cold => {
            let best = distances[bytes.trailing_zeros() as usize % distances.len()];
            if distance == best { 1.8 } else { 1.4 }
        }
        _ => like_zen_4(state, bytes, step),
    };
    let (row, _) = choose(&exact(&cells(speed, |_| false)), &built_in());
    let bands = row.non_temporal.as_slice().len();
    assert_eq!(bands, foliocopy::MOST_BANDS);
}

#[test]
fn shares_are_held_against_their_bounds() {
    let kernel = Policy::new(cpu(), Registers::GeneralPurpose);
    let samples = exact(&cells(like_zen_4, |_| false));
    let shares = judge(&samples, &built_in(), &kernel).unwrap();
    let missed: Vec<_> = shares.iter().filter(|share| share.is_missed()).collect();
    assert!(missed.is_empty(), "{missed:?}");
    for what in
        ["auto hot and cold", "auto cold", "temporal hot", "auto with the read", "kernel non_temporal cold"]
    {
        assert!(shares.iter().any(|share| share.what == what), "{what}");
    }

    // Somebody is faster than what is built in, cold from 1 MiB on.
    let speed = |state, bytes, step: Step| match (state, step) {
        (State::Cold, Step::Copy { by: Avx512Nt, distance: 512 }) if bytes >= 1 << 20 => 2.0,
        _ => like_zen_4(state, bytes, step),
    };
    let shares = judge(&exact(&cells(speed, |_| false)), &built_in(), &kernel).unwrap();
    let missed: Vec<_> = shares.iter().filter(|share| share.is_missed()).collect();
    let at = |what: &str, bytes| missed.iter().any(|share| share.what == what && share.bytes == Some(bytes));
    assert!(at("non_temporal cold", 1 << 20) && at("non_temporal cold", 64 << 20), "{missed:?}");
    assert!(!at("non_temporal cold", 512 << 10), "{missed:?}");
    // It loses with the read, so that `auto` need not be as fast.
    assert!(!at("auto cold", 1 << 20), "{missed:?}");
}

#[test]
fn the_general_rule_may_miss_a_little_more() {
    let cpu = cpu().without(Features::ROW);
    let [process, kernel] =
        [Registers::Vector, Registers::GeneralPurpose].map(|registers| Policy::new(cpu, registers));
    let shares = judge(&exact(&cells(like_zen_4, |_| false)), &process, &kernel).unwrap();
    let cold = shares.iter().find(|share| share.what == "auto cold").unwrap();
    assert!((cold.bound - 0.91).abs() < 1e-9);
    assert!(shares.iter().any(|share| share.what == "auto hot, kernel's" && share.bytes == Some(4096)));
}

/// On a busy machine even a copy through the cache may seem to lose with the read.
#[test]
fn where_no_copy_keeps_its_speed_with_the_read_the_best_is_one_through_the_cache() {
    let speed = |state, bytes, step: Step| match state {
        State::Read => 0.5,
        _ => like_zen_4(state, bytes, step),
    };
    let kernel = Policy::new(cpu(), Registers::GeneralPurpose);
    let shares = judge(&exact(&cells(speed, |_| false)), &built_in(), &kernel).unwrap();
    let cold = shares.iter().find(|share| share.what == "auto cold").unwrap();
    assert_eq!(cold.best, "rep_movsb@0");
    assert!(shares.iter().any(|share| share.what == "auto with the read" && share.is_missed()));
}

#[test]
fn what_was_not_measured_is_named() {
    let mut cells = cells(like_zen_4, |_| false);
    cells.retain(|cell| !cell.contender.contains("movnti"));
    let kernel = Policy::new(cpu(), Registers::GeneralPurpose);
    let error = judge(&exact(&cells), &built_in(), &kernel).unwrap_err();
    assert!(error.contains("movnti"), "{error}");
}

#[test]
fn a_probe_that_was_not_measured_counts_as_what_it_comes_to() {
    let probe = Step::Glance { near: RepMovsq, far: Avx2Nt, distance: 512 };
    let samples = exact(&cells(like_zen_4, |_| false));
    let ratio = |state, step| samples.of_two(state, 1 << 20, probe, step, CONFIDENCE).unwrap().median;
    assert_eq!(ratio(State::Cold, Step::Copy { by: Avx2Nt, distance: 512 }), 1.0);
    assert_eq!(ratio(State::Hot, Step::copy(RepMovsq)), 1.0);
}

/// Who was dropped is compared by the rounds in which it took part.
#[test]
fn losers_are_compared_within_the_first_pass() {
    let cell = |contender: &str, samples: &[f64], first: bool| {
        let mut cell = Cell::new(contender, 4096, samples.to_vec());
        cell.cache = Some(Cache::Cold);
        if first {
            cell.dimensions.insert(FIRST_PASS.0.into(), FIRST_PASS.1.into());
        }
        cell
    };
    let (winner, loser) = (Step::copy(Avx2), Step::copy(RepMovsq));
    let samples = Samples::of(&[
        cell(BASELINE, &[10.0, 20.0], false),
        cell(&step_name(winner), &[20.0, 40.0], false),
        cell(BASELINE, &[1.0, 2.0], true),
        cell(&step_name(winner), &[2.0, 4.0], true),
        cell(&step_name(loser), &[0.5, 1.0], true),
    ]);
    assert_eq!(samples.of_two(State::Cold, 4096, loser, winner, CONFIDENCE).unwrap().median, 0.25);
    let at = (State::Cold, 4096);
    assert_eq!(samples.to_baseline(Rounds::All, at, loser), Some(vec![0.5, 0.5]));
    assert_eq!(samples.to_baseline(Rounds::All, at, winner), Some(vec![2.0, 2.0]));
    assert_eq!(samples.steps(at), [winner], "only survivors are chosen");
}

struct Watcher {
    stop_after: u32,
    seen: u32,
}

impl Observer for Watcher {
    fn case(&mut self, _: usize, _: &Case) {}
    fn progress(&mut self, done: f64) {
        assert!((0.0..=1.0).contains(&done), "{done}");
        self.seen += 1;
    }
    fn interrupted(&self) -> bool {
        self.seen >= self.stop_after
    }
}

/// One round each on real memory: whatever is needed to judge and to choose was measured.
#[test]
fn a_short_survey_has_all_that_decides() {
    // A kernel may do without what its CPU has.
    let kernel = Policy::host().cpu().without(Features::ERMS.union(Features::MOVDIR64B));
    let settings = |stop_after| {
        let settings = Settings {
            cpu: *Policy::host().cpu(),
            kernel,
            scope: Scope::Brief,
            time: Duration::from_millis(1),
            evict_bytes: 1 << 20,
            cold_run_bytes: 2 << 20,
            last_level_cache: Some(32 << 20),
            seed: 1,
            counter: TimeStampCounter::detect(),
        };
        measure(&settings, &mut Watcher { stop_after, seen: 0 })
    };
    let interrupted = settings(3).unwrap();
    assert!(!interrupted.complete && !interrupted.cells.is_empty(), "what was measured is kept");
    let complete = settings(u32::MAX).unwrap();
    assert!(complete.complete);
    let samples = Samples::of(&complete.cells);
    assert_eq!(samples.lengths(State::Cold), Scope::Brief.lengths());
    let tuned = crate::tune::tune(&samples, *Policy::host().cpu(), kernel).unwrap();
    let built_in = Policy::new(*Policy::host().cpu(), Registers::Vector);
    let unchanged = Policy::with_row(*built_in.cpu(), Registers::Vector, &tuned.process).unwrap();
    assert!(unchanged.bands(Locality::NonTemporal).eq(built_in.bands(Locality::NonTemporal)), "one round");
}
