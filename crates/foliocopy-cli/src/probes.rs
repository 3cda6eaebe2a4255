//! The decisions of probes, in the lines under a table.

use foliocopy_measure::result::{Cell, Probed, Results};
use foliocopy_measure::size::Size;

use crate::wrap::paragraph;

/// The share of the copies that each contender's probe sent past the cache, length by length. Nothing where none has a probe.
pub(crate) fn text(results: &Results) -> String {
    let probed: Vec<(&Cell, Probed)> =
        results.cells.iter().filter_map(|cell| Some((cell, cell.probed?))).collect();
    let mut kinds: Vec<(&str, String)> = Vec::new();
    for (cell, _) in &probed {
        let kind = (cell.contender.as_str(), state(cell));
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let mut text = String::new();
    for (contender, state_of_cache) in kinds {
        let of_kind =
            probed.iter().filter(|(cell, _)| cell.contender == contender && state(cell) == state_of_cache);
        let shares: Vec<String> = of_kind
            .map(|(cell, Probed { copies, past_cache })| {
                let percent = 100.0 * *past_cache as f64 / (*copies).max(1) as f64;
                format!("{} {percent:.0} %", Size(cell.folio_bytes))
            })
            .collect();
        let line = format!("{contender} sent past the cache, {state_of_cache}: {}", shares.join(", "));
        text += &paragraph(&line);
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// The state of the cache, what else sets the situation apart, and the nodes.
fn state(cell: &Cell) -> String {
    let nodes = cell.src_node.zip(cell.dst_node);
    let cache = cell.situation().kind().kind_name();
    match nodes {
        Some((src, dst)) if src != dst => format!("{cache}, node {src} to node {dst}"),
        _ => cache,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn shares_are_told_by_state_and_length() {
        let fixture = include_bytes!("../tests/fixtures/schema-1.json");
        let mut results = foliocopy_measure::result::read_from(fixture, Path::new("schema-1.json")).unwrap();
        assert_eq!(text(&results), "");
        let like = results.cells[0].clone();
        let cell = |folio_bytes, past_cache| Cell {
            contender: "foliocopy".into(),
            folio_bytes,
            probed: Some(Probed { copies: 200, past_cache }),
            ..like.clone()
        };
        results.cells = vec![cell(65536, 197), cell(1 << 20, 200)];
        let expected = format!("\nfoliocopy sent past the cache, {}: 64K 98 %, 1M 100 %\n", state(&like));
        assert_eq!(text(&results), expected);
        for (cell, load) in results.cells.iter_mut().zip(["0", "1"]) {
            cell.folio_bytes = 65536;
            cell.dimensions.insert("load".into(), load.into());
        }
        assert!(
            text(&results).contains("load=0: 64K 98 %\n") && text(&results).contains("load=1: 64K 100 %\n")
        );
    }
}
