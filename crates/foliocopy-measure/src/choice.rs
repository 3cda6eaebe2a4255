//! Chooses the contender to take in each situation of a run, and names its instruction.

use crate::contender::LIMIT;
use crate::result::{Cache, Cell, Results, Situation};
use crate::verdict::{Rule, Standing};

/// The choice in one situation.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    /// The situation.
    pub situation: Situation<'a>,
    /// The contender. `None` where more rounds would tell.
    pub cell: Option<&'a Cell>,
    /// The instruction, such as `rep_movsb` or `avx2_nt@1024`: a primitive, and how many bytes ahead it prefetches. `None` where
    /// the results do not name it.
    pub instruction: Option<String>,
}

/// The choice in each situation that has a baseline, in the order of the measurement.
///
/// A contender counts where it is faster than the baseline by the verdict's rule. The fastest is chosen. Where several tie,
/// within the smallest difference that counts, the first that was named is. Where none is faster, the baseline is.
pub fn choices(results: &Results) -> Vec<Choice<'_>> {
    if results.environment.emulated {
        return vec![];
    }
    let rule = Rule::of(results);
    results
        .situations()
        .into_iter()
        .filter_map(|(situation, cells)| choice(results, rule, situation, &cells))
        .collect()
}

fn choice<'a>(
    results: &Results,
    rule: Rule,
    situation: Situation<'a>,
    cells: &[&'a Cell],
) -> Option<Choice<'a>> {
    // A neighbour's speed is no copy's.
    if situation.dimensions.contains_key("victim") {
        return None;
    }
    let baseline = *cells.iter().find(|cell| cell.contender == results.parameters.baseline)?;
    let median = |cell: &Cell| cell.ratio_to_baseline.map_or(0.0, |ratio| ratio.interval.median);
    let others: Vec<(&Cell, Standing)> = cells
        .iter()
        .filter(|cell| cell.contender != baseline.contender && cell.contender != LIMIT)
        .filter_map(|cell| Some((*cell, rule.standing_of(cell)?)))
        .collect();
    if others.is_empty() {
        return None;
    }
    let faster =
        || others.iter().filter(|(_, standing)| *standing == Standing::Faster).map(|(cell, _)| *cell);
    let best = faster().map(median).fold(0.0, f64::max);
    let may_be_faster = |(cell, standing): &(&Cell, Standing)| {
        let corrected = cell.ratio_to_baseline.map(|ratio| ratio.corrected());
        *standing == Standing::Undecided
            && (cell.samples_gbps.len() < rule.rounds_needed
                || corrected.is_some_and(|corrected| corrected.high > 1.0 + rule.minimal_effect))
    };
    let cell = match faster().find(|cell| median(cell) >= best * (1.0 - rule.minimal_effect)) {
        Some(cell) => Some(cell),
        None if others.iter().any(may_be_faster) => None,
        None => Some(baseline),
    };
    Some(Choice { situation, cell, instruction: cell.and_then(|cell| instruction(results, cell)) })
}

/// The instruction by which a contender copies folios of this size, in this state of the cache.
fn instruction(results: &Results, cell: &Cell) -> Option<String> {
    let locality = match cell.contender.as_str() {
        "foliocopy" | "foliocopy-mc" => "auto",
        "foliocopy:temporal" => "temporal",
        "foliocopy:non_temporal" => "non_temporal",
        name => {
            let contender = results.parameters.contenders.iter().find(|contender| contender.name == name)?;
            // The description of a kernel's function has its instruction in brackets.
            let (_, by) = contender.description.split_once('(').filter(|_| contender.loaded.is_none())?;
            return Some(by.split_once(')')?.0.to_owned());
        }
    };
    let mut bands = results.environment.tables.bands.iter().filter(|band| band.locality == locality);
    let band = bands.find(|band| band.up_to.is_none_or(|up_to| cell.folio_bytes <= up_to))?;
    Some(of_step(&band.step, cell.cache))
}

/// The instruction of a step in words, as results have it: of [`foliocopy::Step`]'s `Display`.
fn of_step(step: &str, cache: Option<Cache>) -> String {
    let near_and_far = step.split_once("in a cache ").and_then(|(_, both)| both.split_once("; in memory "));
    let first_and_rest = step
        .split_once("first page by ")
        .and_then(|(_, both)| Some((both.split_once(": ")?.0, both.split_once("otherwise ")?.1)));
    let copy = match (near_and_far, first_and_rest, cache) {
        (Some((near, _)), _, Some(Cache::Hot)) => near,
        (Some((_, far)), _, Some(Cache::Cold)) => far,
        (_, Some((_, rest)), Some(Cache::Cold)) => rest.split(", after ").next().unwrap_or(rest),
        // Which of the two depends on whether both folios fit the L1.
        (_, Some((first, rest)), Some(Cache::Hot)) => {
            return format!("{first} or {}", rest.split(',').next().unwrap_or(rest));
        }
        _ => step,
    };
    match copy
        .split_once(", prefetching ")
        .and_then(|(by, ahead)| Some((by, ahead.strip_suffix(" bytes ahead")?)))
    {
        Some((by, distance)) => format!("{by}@{distance}"),
        None => copy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::tests::sample;
    use crate::result::{Contender, PolicyBand};
    use foliocopy::{Primitive, Step};

    fn with_tables() -> Results {
        let mut results = sample();
        results.environment.tables.bands = vec![PolicyBand {
            locality: "auto".into(),
            step: Step::Glance { near: Primitive::RepMovsb, far: Primitive::Avx2Nt, distance: 1024 }
                .to_string(),
            ..PolicyBand::default()
        }];
        results.parameters.contenders = vec![Contender {
            name: "per-page".into(),
            description: "copy_page (rep_movsq) page by page".into(),
            loaded: None,
        }];
        results
    }

    #[test]
    fn a_slower_contender_leaves_the_baseline_and_a_faster_one_replaces_it() {
        let results = with_tables();
        let choices = choices(&results);
        let told: Vec<_> = choices
            .iter()
            .map(|choice| (choice.cell.unwrap().contender.as_str(), choice.instruction.as_deref().unwrap()))
            .collect();
        assert_eq!(told, [("per-page", "rep_movsq"), ("foliocopy", "rep_movsb")]);
    }

    #[test]
    fn a_cold_folio_is_copied_by_what_a_glance_takes_for_memory() {
        let results = with_tables();
        let cold = Cell { cache: Some(Cache::Cold), ..results.cells[3].clone() };
        assert_eq!(instruction(&results, &cold).as_deref(), Some("avx2_nt@1024"));
    }

    #[test]
    fn every_step_has_an_instruction_hot_and_cold() {
        use Primitive::{Avx2Nt, Avx512, RepMovsb};
        for (step, cold, hot) in [
            (Step::copy(RepMovsb), "rep_movsb", "rep_movsb"),
            (Step::Copy { by: Avx2Nt, distance: 512 }, "avx2_nt@512", "avx2_nt@512"),
            (Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 0 }, "avx2_nt", "rep_movsb"),
            (
                Step::TimeFirstPage { first: Avx512, rest: RepMovsb, burst: 16384 },
                "rep_movsb",
                "avx512 or rep_movsb",
            ),
        ] {
            let told = |cache| of_step(&step.to_string(), Some(cache));
            assert_eq!((told(Cache::Cold).as_str(), told(Cache::Hot).as_str()), (cold, hot));
        }
    }

    #[test]
    fn of_two_that_tie_the_first_is_taken() {
        let mut results = sample();
        let mut other = results.cells[3].clone();
        other.contender = "rfc".into();
        for sample in &mut other.samples_gbps {
            *sample *= 0.99;
        }
        results.cells.insert(3, other);
        for cell in &mut results.cells {
            cell.samples_gbps = cell.samples_gbps.repeat(3);
        }
        results.rate();
        assert_eq!(choices(&results)[1].cell.unwrap().contender, "rfc");
    }

    #[test]
    fn too_few_rounds_and_an_emulated_cpu_choose_nothing() {
        let mut results = sample();
        for cell in &mut results.cells {
            cell.samples_gbps.truncate(4);
        }
        results.rate();
        assert!(choices(&results).iter().all(|choice| choice.cell.is_none()));
        results.environment.emulated = true;
        assert!(choices(&results).is_empty());
    }
}
