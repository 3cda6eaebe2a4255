//! The time that a measurement may take.

use std::time::Duration;

/// Reads one: `humantime`'s durations but nothing.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let budget = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if budget.is_zero() {
        Err("nothing can be measured in no time: give it some, such as 90s".to_owned())
    } else {
        Ok(budget)
    }
}
