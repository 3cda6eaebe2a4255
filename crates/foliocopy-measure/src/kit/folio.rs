//! The log of the kit's module: a line RESULT for each run of one function.

use std::collections::HashMap;

use super::{Key, Log, Problem, TOTAL, speed};
use crate::result::Cache;
use crate::size::Size;
use crate::text::harmless;

/// What a line must have.
const KEYS: &str = "fn=, order=, src=, dst=, bytes_total=, flush= and throughput_GBps=";

/// A folio of 1 GiB in base pages of 4 KiB.
const LARGEST_ORDER: u64 = 18;

/// Linux numbers no more nodes (CONFIG_NODES_SHIFT).
const LAST_NODE: u64 = 1023;

/// Takes a line that is no comment.
pub(super) fn take(log: &mut Log, line: &str, number: usize) -> Result<(), Problem> {
    let line = line.trim_end();
    if let Some(words) = line.strip_prefix("RESULT ") {
        return take_result(log, &Words::parse(words)?, number);
    }
    if line.starts_with("ERR") {
        log.warn(number, &format!("the kit says `{line}`"));
        return Ok(());
    }
    // Whatever else was caught with it is left aside, but no figure is.
    match line.contains("RESULT") || line.contains("throughput_GBps=") {
        true => {
            Err("a RESULT begins its line: take away what stands before it, and join what was wrapped".into())
        }
        false => Ok(()),
    }
}

fn take_result(log: &mut Log, words: &Words<'_>, number: usize) -> Result<(), Problem> {
    let contender = harmless(words.get("fn")?).into_owned();
    let order = words.number("order", 0, LARGEST_ORDER)?;
    let src = words.number("src", 0, LAST_NODE)? as u32;
    let dst = words.number("dst", 0, LAST_NODE)? as u32;
    if let Ok(error) = words.get("err") {
        let what = format!("{contender} failed (order {order}, node {src} to {dst}, error {error})");
        log.warn(number, &what);
        return Ok(());
    }
    let total = words.number("bytes_total", 1, 1 << 50)?;
    let cache = match words.number("flush", 0, 1)? {
        0 => Cache::Hot,
        _ => Cache::Cold,
    };
    let gbps = speed("throughput_GBps=", words.get("throughput_GBps")?)?;
    let key = Key {
        contender,
        cache: Some(cache),
        folio_bytes: folio_bytes(words, order)?,
        nodes: (src, dst),
        dimensions: [(TOTAL.to_owned(), Size(total).to_string())].into(),
    };
    log.add(key, gbps);
    Ok(())
}

/// Bytes of a folio: `bytes=`, where the line has it, since a base page need not have 4 KiB.
fn folio_bytes(words: &Words<'_>, order: u64) -> Result<u64, Problem> {
    let Ok(text) = words.get("bytes") else { return Ok(4096 << order) };
    let bytes = words.number("bytes", 4096, 1 << 40)?;
    let page = bytes >> order;
    if page << order != bytes || ![4 << 10, 16 << 10, 64 << 10].contains(&page) {
        return Err(format!(
            "`bytes={text}` and `order={order}` do not go together: a folio of that order has {} bytes in pages of 4 KiB",
            4096u64 << order
        ));
    }
    Ok(bytes)
}

/// The words `KEY=VALUE` of a line.
struct Words<'a>(HashMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn parse(text: &'a str) -> Result<Self, Problem> {
        let mut words = HashMap::new();
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                format!("`{word}` is no KEY=VALUE: after RESULT stand {KEYS}, a blank between any two")
            })?;
            if words.insert(key, value).is_some() {
                return Err(format!("`{key}=` stands twice: a line RESULT is of one run"));
            }
        }
        Ok(Self(words))
    }

    fn get(&self, key: &str) -> Result<&'a str, Problem> {
        match self.0.get(key) {
            None => Err(format!("`{key}=` is missing: a line RESULT has {KEYS}")),
            Some(&"") => Err(format!("`{key}=` is empty: a line RESULT has {KEYS}")),
            Some(value) => Ok(value),
        }
    }

    fn number(&self, key: &str, least: u64, most: u64) -> Result<u64, Problem> {
        let text = self.get(key)?;
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("`{key}={text}` is not a number from {least} to {most}"))
    }
}
