//! One case: its rounds, and the samples that they leave.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::sampler::{Sample, Sampler};
use super::{BenchError, Case, Observer, Plan, Until, add};
use crate::contender::Contender;
use crate::latency::clock_ns;
use crate::result::{Cache, Cell, Load, MemoryGiven, Probed, Times};
use crate::statistics::{best_of_halves, paired_ratios};
use crate::turns::Visit;

/// One case being measured.
pub(super) struct CaseRun<'a> {
    pub(super) case: &'a Case,
    contenders: Vec<&'a Contender>,
    /// Samples of each contender.
    series: Vec<Series>,
    given: MemoryGiven,
    nodes: (Option<u32>, Option<u32>),
    pub(super) spent: Duration,
    pub(super) rng: Rng,
}

impl<'a> CaseRun<'a> {
    pub(super) fn new(plan: &'a Plan, index: usize, case: &'a Case) -> Self {
        let contenders: Vec<&Contender> = plan.lineup(index).collect();
        Self {
            case,
            series: contenders.iter().map(|_| Series::default()).collect(),
            contenders,
            given: MemoryGiven { on_node_bytes: Some(0), ..MemoryGiven::default() },
            nodes: (None, None),
            spent: Duration::ZERO,
            rng: Rng::with_seed(plan.seed ^ (index as u64) << 32),
        }
    }

    /// The rounds of one visit.
    pub(super) fn measure(
        &mut self,
        plan: &Plan,
        sampler: &mut Sampler<'_>,
        until: Option<Instant>,
        observer: &mut dyn Observer,
    ) -> Result<Visit, BenchError> {
        if self.rounds() == 0 {
            for contender in &self.contenders {
                if observer.interrupted() {
                    return Ok(Visit::Interrupted);
                }
                sampler.verify(contender)?;
            }
            self.nodes = sampler.nodes();
        }
        add(&mut self.given, &sampler.given());
        let mut order: Vec<usize> = (0..self.contenders.len()).collect();
        for round in 0..plan.layout_rounds.min(plan.rounds - self.rounds()) {
            if round > 0 && until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            sampler.shuffle(&mut self.rng);
            if round == 0 {
                for (contender, series) in self.contenders.iter().zip(&mut self.series) {
                    series.add_probed(sampler.probe(contender));
                }
            }
            self.rng.shuffle(&mut order);
            let mut samples: Vec<Option<Sample>> = self.contenders.iter().map(|_| None).collect();
            for &contender in &order {
                if observer.interrupted() {
                    return Ok(Visit::Interrupted);
                }
                samples[contender] = Some(sampler.sample(self.contenders[contender], &mut self.rng));
            }
            for (series, sample) in self.series.iter_mut().zip(samples.into_iter().flatten()) {
                series.push(sample, self.case.cache == Cache::Cold);
            }
        }
        Ok(match self.has_enough(plan) {
            true => Visit::Enough,
            false => Visit::More(f64::from(self.rounds()) / f64::from(plan.rounds)),
        })
    }

    fn rounds(&self) -> u32 {
        self.series.first().map_or(0, Series::rounds) as u32
    }

    fn has_enough(&self, plan: &Plan) -> bool {
        let precise = |until: &Until| {
            let baseline = self.contenders.iter().position(|contender| contender.name() == until.baseline);
            baseline.is_some_and(|baseline| {
                let others = self.series.iter().enumerate().filter(|(index, _)| *index != baseline);
                others
                    .map(|(_, series)| paired_ratios(&series.fastest(), &self.series[baseline].fastest()))
                    .all(|ratios| until.suffices(&ratios))
            })
        };
        self.rounds() >= plan.rounds || plan.until.as_ref().is_some_and(precise)
    }

    pub(super) fn into_cells(self) -> Vec<Cell> {
        let Self { case, contenders, series, given, nodes, spent, .. } = self;
        let measured = contenders.iter().zip(series).filter(|(_, series)| series.rounds() > 0);
        let cells = measured.flat_map(|(contender, series)| {
            let of_situation = Cell {
                cache: Some(case.cache),
                src_node: nodes.0,
                dst_node: nodes.1,
                dimensions: case.dimensions(),
                memory: Some(given.clone()),
                seconds: Some(spent.as_secs_f64()),
                ..Cell::new(contender.name(), case.folio_bytes, vec![0.0])
            };
            series.into_cells(&of_situation, case.load)
        });
        cells.collect()
    }
}

/// One contender's samples, one a round.
#[derive(Default)]
struct Series {
    /// Samples of each copier. Mostly there is one; of several the fastest counts.
    copies: Vec<Vec<f64>>,
    with_read: Vec<f64>,
    victim_before: Vec<f64>,
    victim_after: Vec<f64>,
    probe_loads: Vec<Vec<u32>>,
    times: Times,
    load_gbps: Vec<f64>,
    probed: Option<Probed>,
}

impl Series {
    fn add_probed(&mut self, more: Option<Probed>) {
        let Some(more) = more else { return };
        let probed = self.probed.get_or_insert_default();
        probed.copies += more.copies;
        probed.past_cache += more.past_cache;
    }

    fn rounds(&self) -> usize {
        self.copies.first().map_or(0, Vec::len)
    }

    /// The copies alone: where the fastest of several counts, one that the other half of the rounds chose.
    fn fastest(&self) -> Vec<f64> {
        let copies: Vec<&[f64]> = self.copies.iter().map(Vec::as_slice).collect();
        best_of_halves(&copies).unwrap_or_default()
    }

    fn push(&mut self, sample: Sample, after_eviction: bool) {
        self.copies.resize_with(sample.copy_gbps.len(), Vec::new);
        for (copies, gbps) in self.copies.iter_mut().zip(sample.copy_gbps) {
            copies.push(gbps);
        }
        self.with_read.extend(sample.with_read_gbps);
        self.victim_before.extend(sample.victim_gbps.map(|(before, _)| before));
        self.victim_after.extend(sample.victim_gbps.map(|(_, after)| after));
        if !sample.probe_loads.is_empty() {
            self.probe_loads.push(sample.probe_loads);
        }
        self.times.add_run(sample.times.into_iter().map(u64::from), after_eviction);
        self.load_gbps.extend(sample.load_gbps);
    }

    /// The cells of one contender. `like` has their situation.
    fn into_cells(self, like: &Cell, load: Option<usize>) -> Vec<Cell> {
        let cell = |samples: Vec<f64>, dimension: Option<(&str, &str)>| {
            let mut cell = like.clone().with_samples(samples);
            cell.dimensions.extend(dimension.map(|(name, value)| (name.to_owned(), value.to_owned())));
            cell
        };
        let mut cells = vec![Cell {
            probe_load_cycles: self.probe_loads.clone(),
            latency: self.times.clone().into_latency(Some(clock_ns())),
            load: load.map(|threads| Load { threads, gbps: self.load_gbps.clone() }),
            probed: self.probed,
            ..cell(self.fastest(), None)
        }];
        for (samples, dimension) in [
            (self.with_read, ("then", "read")),
            (self.victim_before, ("victim", "before")),
            (self.victim_after, ("victim", "after")),
        ] {
            if !samples.is_empty() {
                cells.push(cell(samples, Some(dimension)));
            }
        }
        cells
    }
}
