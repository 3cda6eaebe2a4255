//! From values to places on an axis, and the ticks along it.

/// A linear axis that starts at zero: a throughput is a length, so its bar or point must be one too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    start: f64,
    end: f64,
    maximum: f64,
    step: f64,
}

impl Linear {
    /// An axis from `start` to `end` (in chart units; they may run upwards) that holds 0 to `maximum`.
    pub(super) fn new(start: f64, end: f64, maximum: f64, ticks: f64) -> Self {
        let maximum = if maximum.is_finite() && maximum > 0.0 { maximum } else { 1.0 };
        let rough = maximum / ticks;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * magnitude)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(10.0 * magnitude);
        Self { start, end, maximum: (maximum / step - 1e-9).ceil() * step, step }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        self.start + (self.end - self.start) * value / self.maximum
    }

    /// The ticks, zero included, with the text of each.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let count = (self.maximum / self.step).round() as usize;
        let digits = if self.step >= 1.0 && self.step.fract() == 0.0 { 0 } else { decimals(self.step) };
        (0..=count)
            .map(|index| {
                let value = index as f64 * self.step;
                (self.place(value), format!("{value:.digits$}"))
            })
            .collect()
    }
}

/// How many digits after the point show `step` exactly.
fn decimals(step: f64) -> usize {
    (0..6).find(|digits| (step * 10f64.powi(*digits as i32)).fract().abs() < 1e-9).unwrap_or(6)
}

/// A logarithmic axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    start: f64,
    end: f64,
    low: f64,
    high: f64,
}

impl Log {
    /// An axis from `start` to `end` that holds `low` to `high`, both above zero. One value alone stands in the middle.
    pub(super) fn new(start: f64, end: f64, low: f64, high: f64) -> Self {
        if low == high {
            return Self { start, end, low: low / 2.0, high: high * 2.0 };
        }
        Self { start, end, low, high }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        self.start + (self.end - self.start) * part.clamp(0.0, 1.0)
    }

    /// Of `candidates`, in order of importance, those that leave `gap` units between any two ticks.
    pub(super) fn ticks(&self, candidates: &[f64], gap: f64) -> Vec<(f64, f64)> {
        let mut ticks: Vec<(f64, f64)> = Vec::new();
        for value in candidates.iter().copied().filter(|value| (self.low..=self.high).contains(value)) {
            let place = self.place(value);
            if ticks.iter().all(|(taken, _)| (taken - place).abs() >= gap) {
                ticks.push((place, value));
            }
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_hold_the_maximum() {
        for maximum in [0.003, 0.7, 1.0, 9.99, 10.0, 38.03, 96.7, 1234.5] {
            let axis = Linear::new(0.0, 100.0, maximum, 5.0);
            let ticks = axis.ticks();
            assert!((2..=7).contains(&ticks.len()), "{maximum}: {ticks:?}");
            assert!(axis.place(maximum) <= 100.0 + 1e-6);
            let texts: std::collections::HashSet<_> = ticks.iter().map(|(_, text)| text).collect();
            assert_eq!(texts.len(), ticks.len(), "{maximum}: {ticks:?}");
        }
    }

    #[test]
    fn linear_survives_nothing_and_nonsense() {
        for maximum in [0.0, f64::NAN, f64::INFINITY, -3.0] {
            assert!(Linear::new(0.0, 100.0, maximum, 5.0).ticks().iter().all(|(place, _)| place.is_finite()));
        }
    }

    #[test]
    fn log_is_symmetric_around_one() {
        let axis = Log::new(0.0, 100.0, 0.5, 2.0);
        assert!((axis.place(1.0) - 50.0).abs() < 1e-9);
        assert!((axis.place(0.5) + axis.place(2.0) - 100.0).abs() < 1e-9);
        assert_eq!(Log::new(0.0, 100.0, 4096.0, 4096.0).place(4096.0), 50.0);
    }
}
