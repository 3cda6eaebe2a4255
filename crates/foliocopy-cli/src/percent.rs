//! Percentages on the command line.

/// Reads one, from 0 to below 100, as a part of one.
pub(crate) fn parse(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_end_matches('%').trim().parse().ok();
    number
        .filter(|percent| (0.0..100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "a percentage is a number from 0 to below 100, such as 3".to_owned())
}
