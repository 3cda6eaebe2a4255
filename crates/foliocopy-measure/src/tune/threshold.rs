//! From which length on something counts: that copies which find their source in memory pass the cache, say.

use crate::statistics::Interval;

/// The threshold, from what is gained by it, size by size in ascending order. What is built in falls to the shortest size
/// from which on something is gained, and rises past the longest that has less than `tolerable`. `None` where every size has.
pub(super) fn decide(built_in: Option<usize>, gains: &[(u64, Interval)], tolerable: f64) -> Option<usize> {
    let losing = gains.iter().rposition(|(_, gain)| gain.high < tolerable);
    let built_in = built_in.unwrap_or(usize::MAX);
    if let Some(losing) = losing.filter(|losing| gains[*losing].0 as usize >= built_in) {
        return gains.get(losing + 1).map(|(bytes, _)| *bytes as usize);
    }
    let even = gains
        .iter()
        .rev()
        .skip_while(|(bytes, _)| *bytes as usize >= built_in)
        .take_while(|(_, gain)| gain.low > 1.0)
        .last();
    match even {
        Some((bytes, _)) => Some(*bytes as usize),
        None => (built_in != usize::MAX).then_some(built_in),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gains(medians: [f64; 4]) -> Vec<(u64, Interval)> {
        let sizes = [64 << 10, 128 << 10, 256 << 10, 512 << 10];
        let interval = |median| Interval { median, low: median - 0.02, high: median + 0.02 };
        sizes.into_iter().zip(medians.map(interval)).collect()
    }

    #[test]
    fn what_is_built_in_stays_where_nothing_speaks_against_it() {
        assert_eq!(decide(Some(256 << 10), &gains([0.8, 0.9, 0.95, 1.1]), 0.9), Some(256 << 10));
        assert_eq!(decide(Some(256 << 10), &gains([1.01, 1.01, 1.01, 1.1]), 0.9), Some(256 << 10), "noise");
        assert_eq!(decide(Some(256 << 10), &gains([1.1, 0.99, 1.1, 1.1]), 0.9), Some(256 << 10), "a gap");
        assert_eq!(decide(None, &gains([0.8; 4]), 0.9), None);
    }

    #[test]
    fn it_falls_where_nothing_is_lost() {
        assert_eq!(decide(Some(256 << 10), &gains([0.9, 1.05, 1.1, 1.2]), 0.9), Some(128 << 10));
        assert_eq!(decide(Some(256 << 10), &gains([1.05, 1.05, 0.95, 1.2]), 0.9), Some(64 << 10));
        assert_eq!(decide(None, &gains([0.9, 0.9, 1.1, 1.2]), 0.9), Some(256 << 10));
    }

    #[test]
    fn it_rises_where_more_than_a_tenth_is_lost() {
        assert_eq!(decide(Some(256 << 10), &gains([0.5, 0.6, 0.7, 1.0]), 0.9), Some(512 << 10));
        assert_eq!(decide(Some(256 << 10), &gains([0.5, 0.6, 0.95, 0.7]), 0.9), None);
        assert_eq!(decide(Some(256 << 10), &gains([1.0, 1.0, 0.95, 1.0]), 1.0), Some(512 << 10));
    }
}
