//! The log of the kit's program: for each pair of nodes some moves there and back.

use super::{Key, Log, Problem, TOTAL, speed};
use crate::size::Size;

/// The form of a line with a figure.
const ITER: &str = "`iter=N -> node B  SPEED GB/s  (PAGES/PAGES pages on target)`";

/// What is moved, and between which nodes.
#[derive(Debug, Default)]
pub(super) struct Region {
    pair: Option<(u32, u32)>,
    bytes: Option<u64>,
    page_bytes: Option<u64>,
}

/// Takes a line that is no comment.
pub(super) fn take(log: &mut Log, line: &str, number: usize) -> Result<(), Problem> {
    let line = line.trim_end();
    if let Some(pair) = line.strip_prefix("--- node") {
        let pair = pair_of(pair).ok_or(
            "write `--- node A <-> B ---`, or `--- node A (single-node) ---`, with the numbers of the nodes",
        )?;
        log.region = Region { pair: Some(pair), ..Region::default() };
        return Ok(());
    }
    if line.starts_with("size=") {
        return take_size(log, line);
    }
    if let Some(figure) = line.strip_prefix("iter=") {
        return take_figure(log, figure, number);
    }
    // Whatever else was caught with it is left aside, but no figure is.
    match line.contains("iter=") {
        true => Err(format!("write {ITER}, with nothing before it")),
        false => Ok(()),
    }
}

/// Of ` 0 <-> 1 ---` or ` 0 (single-node) ---`.
fn pair_of(text: &str) -> Option<(u32, u32)> {
    let words: Vec<&str> = text.strip_suffix("---")?.split_ascii_whitespace().collect();
    match words[..] {
        [a, "<->", b] => Some((a.parse().ok()?, b.parse().ok()?)),
        [a] | [a, "(single-node)"] => a.parse().ok().map(|a| (a, a)),
        _ => None,
    }
}

/// `size=512MB page_sz=4KB nr_pages=131072 …`.
fn take_size(log: &mut Log, line: &str) -> Result<(), Problem> {
    for word in line.split_ascii_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        let number = |unit: &str, shift: u32| -> Option<u64> {
            let number: u64 = value.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
        };
        match key {
            "size" => {
                let bytes = number("MB", 20);
                log.region.bytes =
                    Some(bytes.ok_or(format!("`{word}` is no size: mebibytes, such as size=512MB"))?);
            }
            "page_sz" => {
                let bytes = number("KB", 10);
                log.region.page_bytes = Some(
                    bytes.ok_or(format!("`{word}` is no size of pages: kibibytes, such as page_sz=4KB"))?,
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// ` 0 -> node 1  9.658 GB/s  (16352/16384 pages on target)`.
fn take_figure(log: &mut Log, text: &str, number: usize) -> Result<(), Problem> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, "->", "node", target, gbps, "GB/s", pages, "pages", "on", "target)"] = words[..] else {
        return Err(format!("write {ITER}"));
    };
    let target: u32 = target.parse().map_err(|_| format!("`{target}` is no node: write {ITER}"))?;
    let gbps = speed("", gbps)?;
    let pages = pages.strip_prefix('(').and_then(|pages| {
        let (there, all) = pages.split_once('/')?;
        Some((there.parse::<u64>().ok()?, all.parse::<u64>().ok()?))
    });
    let (there, all) = pages.ok_or_else(|| format!("write {ITER}"))?;
    if there > all {
        return Err(format!("{there} of {all} pages are more than all: write {ITER}"));
    }
    let (a, b) =
        log.region.pair.ok_or("an `iter=` before any `--- node A <-> B ---` moves between unknown nodes")?;
    let src = match target {
        node if node == b => a,
        node if node == a => b,
        node => return Err(format!("node {node} is neither of the pair {a} <-> {b}")),
    };
    if src == target {
        log.warn(number, &format!("nothing moves from node {src} to node {target}, so this is no speed"));
        return Ok(());
    }
    if there == 0 {
        log.warn(number, &format!("no page reached node {target}, so this is no speed"));
        return Ok(());
    }
    if there < all {
        log.warn(
            number,
            &format!("{there} of {all} pages reached node {target}, and the kit counts the bytes of all"),
        );
    }
    let mut dimensions = [("method", "move_pages"), ("folios", "as the system gave")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    dimensions.extend(log.region.bytes.map(|bytes| (TOTAL.to_owned(), Size(bytes).to_string())));
    let key = Key {
        contender: "kernel".to_owned(),
        cache: None,
        folio_bytes: log.region.page_bytes.unwrap_or(4096),
        nodes: (src, target),
        dimensions: dimensions.into_iter().collect(),
    };
    log.add(key, gbps);
    Ok(())
}
