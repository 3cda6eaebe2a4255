//! How good a policy's decisions are, by the samples of a survey: the share of the best that each of them has, and whether that is
//! enough.

use foliocopy::{Locality, Policy, Primitive, Step};

use super::samples::{Rounds, Samples, State, interval};
use super::steps::{is_past, is_through};
use crate::contender::step_name;
use crate::statistics::{CONFIDENCE, Interval, geometric_mean_interval, median};

/// A copy of this length or less may be hot or cold: nothing tells which before it is copied.
pub(super) const SHORT: u64 = 16 << 10;

/// A copy past the cache, or any from [`SHORT`] on, keeps at least this share of the kernel's speed with one read of the
/// destination.
pub(super) const KEPT_WITH_READ: f64 = 0.97;

/// A short cold copy has to keep so much of the kernel's speed.
pub(super) const KEPT_SHORT: f64 = 0.97;

/// The share of the best copy that a hot copy has to have.
pub(super) const HOT: f64 = 0.96;

/// The share of the best copy that a cold copy has to have.
pub(super) const COLD: f64 = 0.95;

/// The least mean of a short copy's two shares, and of all of them.
const SHORT_EACH: f64 = 0.90;
const SHORT_ALL: f64 = 0.95;

/// The least geometric mean of all shares.
const ALL: f64 = 0.95;

/// The general rule may miss that much more.
const LENIENCE: f64 = 0.04;

/// The name of a mean among steps.
const MEAN: &str = "geometric mean";

/// The name of the kernel's copy among the best, alone or with a read of the destination.
const KERNELS_COPY: &str = "kernel's copy";

/// From this length on a kernel's distance counts.
const KERNEL_FROM: u64 = 64 << 10;

/// A decision's share of the best.
#[derive(Clone, Debug)]
pub struct Share {
    /// Such as `auto cold`.
    pub what: String,
    /// Bytes of the copy. `None` of a mean over lengths.
    pub bytes: Option<u64>,
    /// The name of the step that the policy has.
    pub step: String,
    /// The name of the best.
    pub best: String,
    /// The share.
    pub share: Interval,
    /// The least share that counts as good.
    pub bound: f64,
}

impl Share {
    /// Whether it is too low for sure.
    pub fn is_missed(&self) -> bool {
        self.share.high < self.bound
    }

    /// Whether more rounds might make it too low or high enough.
    pub fn is_undecided(&self) -> bool {
        self.share.low < self.bound && !self.is_missed()
    }
}

/// A policy being judged.
struct Judge<'a> {
    samples: &'a Samples,
    process: &'a Policy,
    kernel: &'a Policy,
    /// The difference by which each bound is lower.
    less: f64,
    shares: Vec<Share>,
}

/// The shares of a process's and a kernel's policy. Those of the general rule have lower bounds.
///
/// # Errors
///
/// A policy has a step of which there are no samples.
pub fn judge(samples: &Samples, process: &Policy, kernel: &Policy) -> Result<Vec<Share>, String> {
    let less = if process.source() == foliocopy::Source::GENERAL { LENIENCE } else { 0.0 };
    let mut judge = Judge { samples, process, kernel, less, shares: Vec::new() };
    judge.short()?;
    judge.cold()?;
    judge.hot()?;
    judge.with_read()?;
    judge.non_temporal()?;
    judge.kernel()?;
    judge.whole();
    Ok(judge.shares)
}

impl Judge<'_> {
    fn is_general(&self) -> bool {
        self.less > 0.0
    }

    /// The share of `step` of the best of those that count. Where none counts, of the best through the cache.
    fn share(
        &self,
        at: (State, u64),
        step: Step,
        counts: impl Fn(Step) -> bool,
    ) -> Result<(Interval, Step), String> {
        let missing = || {
            let (state, bytes) = at;
            format!("{} {bytes}: there are no samples of {}", state.name(), step_name(step))
        };
        let best = self.samples.best(at, counts).or_else(|| self.samples.best(at, is_through));
        let best = best.ok_or_else(missing)?;
        let share = self.samples.ratio(Rounds::Odd, at, [step, best], CONFIDENCE).ok_or_else(missing)?;
        Ok((share, best))
    }

    fn to_kernel(&self, at: (State, u64), step: Step) -> Result<Interval, String> {
        let ratios = self.samples.to_baseline(Rounds::All, at, step);
        ratios.and_then(|ratios| interval(&ratios, CONFIDENCE)).ok_or_else(|| {
            let (state, bytes) = at;
            format!("{} {bytes}: there are no samples of {}", state.name(), step_name(step))
        })
    }

    fn push(
        &mut self,
        what: String,
        bytes: Option<u64>,
        [step, best]: [String; 2],
        share: Interval,
        bound: f64,
    ) {
        self.shares.push(Share { what, bytes, step, best, share, bound });
    }

    /// Short copies: the mean of the shares of a hot one and of a cold one among those through the cache.
    fn short(&mut self) -> Result<(), String> {
        for locality in [Locality::Auto, Locality::Temporal] {
            let mut means = Vec::new();
            for bytes in self.lengths(State::Cold, 0..=SHORT) {
                let step = self.process.step(locality, bytes as usize);
                let kept = self.to_kernel((State::Cold, bytes), step)?;
                let names = [step_name(step), KERNELS_COPY.to_owned()];
                if self.is_general() {
                    let hot = self.to_kernel((State::Hot, bytes), step)?;
                    self.push(format!("{locality} hot, kernel's"), Some(bytes), names.clone(), hot, 1.0);
                    self.push(format!("{locality} cold, kernel's"), Some(bytes), names, kept, 1.0);
                    continue;
                }
                let (hot, best_hot) = self.share((State::Hot, bytes), step, is_through)?;
                let (cold, best_cold) = self.share((State::Cold, bytes), step, is_through)?;
                let mean = geometric_mean_interval(&[hot, cold]).ok_or("no share")?;
                means.push(mean);
                let best = match best_hot == best_cold {
                    true => step_name(best_hot),
                    false => format!("{} hot, {} cold", step_name(best_hot), step_name(best_cold)),
                };
                let what = format!("{locality} hot and cold");
                self.push(what, Some(bytes), [step_name(step), best], mean, SHORT_EACH);
                self.push(format!("{locality} cold, kernel's"), Some(bytes), names, kept, KEPT_SHORT);
            }
            if let Some(mean) = geometric_mean_interval(&means) {
                let what = format!("{locality} hot and cold");
                self.push(what, None, [MEAN.to_owned(), String::new()], mean, SHORT_ALL);
            }
        }
        Ok(())
    }

    /// Longer cold copies, among those that keep their speed with the read.
    fn cold(&mut self) -> Result<(), String> {
        for bytes in self.lengths(State::Cold, SHORT + 1..=u64::MAX) {
            let step = self.process.step(Locality::Auto, bytes as usize);
            let keeps = |step: Step| keeps_with_read(self.samples, bytes, step);
            let (share, best) = self.share((State::Cold, bytes), step, keeps)?;
            let names = [step_name(step), step_name(best)];
            self.push("auto cold".into(), Some(bytes), names, share, COLD - self.less);
        }
        Ok(())
    }

    fn hot(&mut self) -> Result<(), String> {
        for locality in [Locality::Auto, Locality::Temporal] {
            for bytes in self.lengths(State::Hot, SHORT + 1..=4 << 20) {
                let step = self.process.step(locality, bytes as usize);
                let (share, best) = self.share((State::Hot, bytes), step, |_| true)?;
                let names = [step_name(step), step_name(best)];
                self.push(format!("{locality} hot"), Some(bytes), names, share, HOT - self.less);
            }
        }
        Ok(())
    }

    fn with_read(&mut self) -> Result<(), String> {
        for bytes in self.lengths(State::Read, SHORT + 1..=u64::MAX) {
            let step = self.process.step(Locality::Auto, bytes as usize);
            let kept = self.to_kernel((State::Read, bytes), step)?;
            let names = [step_name(step), format!("{KERNELS_COPY} and read")];
            self.push("auto with the read".into(), Some(bytes), names, kept, KEPT_WITH_READ - self.less);
        }
        Ok(())
    }

    fn non_temporal(&mut self) -> Result<(), String> {
        for bytes in self.lengths(State::Cold, 0..=u64::MAX) {
            let step = self.process.step(Locality::NonTemporal, bytes as usize);
            let (share, best) = self.share((State::Cold, bytes), step, is_past)?;
            let names = [step_name(step), step_name(best)];
            self.push("non_temporal cold".into(), Some(bytes), names, share, COLD - self.less);
        }
        Ok(())
    }

    /// There is no module for aarch64.
    fn kernel(&mut self) -> Result<(), String> {
        if self.kernel.cpu().is_aarch64() {
            return Ok(());
        }
        for bytes in self.lengths(State::Cold, KERNEL_FROM..=u64::MAX) {
            let step = self.kernel.step(Locality::NonTemporal, bytes as usize);
            let movnti = |step| matches!(step, Step::Copy { by: Primitive::Movnti, .. });
            let (share, best) = self.share((State::Cold, bytes), step, movnti)?;
            let names = [step_name(step), step_name(best)];
            self.push("kernel non_temporal cold".into(), Some(bytes), names, share, COLD - self.less);
        }
        Ok(())
    }

    /// The geometric mean of all shares of the best.
    fn whole(&mut self) {
        let of_the_best = |share: &&Share| share.bytes.is_some() && !share.best.starts_with(KERNELS_COPY);
        let shares: Vec<Interval> = self.shares.iter().filter(of_the_best).map(|share| share.share).collect();
        if let Some(mean) = geometric_mean_interval(&shares) {
            self.push("all".into(), None, [MEAN.to_owned(), String::new()], mean, ALL - self.less);
        }
    }

    fn lengths(&self, state: State, range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        let mut lengths = self.samples.lengths(state);
        lengths.retain(|bytes| range.contains(bytes));
        lengths
    }
}

/// Whether the copy and one read of the destination together keep their speed. A copy without samples does.
pub(super) fn keeps_with_read(samples: &Samples, bytes: u64, step: Step) -> bool {
    let ratios = samples.to_baseline(Rounds::Even, (State::Read, bytes), step);
    ratios.and_then(|ratios| median(&ratios)).is_none_or(|kept| kept >= KEPT_WITH_READ)
}
