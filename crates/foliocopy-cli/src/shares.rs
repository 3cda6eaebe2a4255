//! The shares of the best that decisions have, as people read them.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use foliocopy_measure::size::Size;
use foliocopy_measure::survey::Share;

/// A table of shares, a column for each of `policies`, which have been judged by the same samples.
pub(crate) fn table(policies: &[(&str, &[Share])]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec!["share of the best".to_owned(), "size".to_owned(), "at least".to_owned()];
    policies.iter().for_each(|(name, _)| header.push((*name).to_owned()));
    header.push("best".to_owned());
    table.set_header(header);
    let (_, first) = policies[0];
    for share in first {
        let size = share.bytes.map_or("all".to_owned(), |bytes| Size(bytes).to_string());
        let mut row = vec![share.what.clone(), size, format!("{:.2}", share.bound)];
        for (_, shares) in policies {
            let of_policy =
                shares.iter().find(|other| (&other.what, other.bytes) == (&share.what, share.bytes));
            row.push(of_policy.map_or_else(String::new, one));
        }
        row.push(share.best.clone());
        table.add_row(row);
    }
    for (index, alignment) in [(0, CellAlignment::Left), (1, CellAlignment::Right), (2, CellAlignment::Right)]
    {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(alignment);
            if index == 0 {
                column.set_padding((0, 1));
            }
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// Such as `0.97 avx2@0`, with what there is to say of it.
fn one(share: &Share) -> String {
    let verdict = match (share.is_missed(), share.is_undecided()) {
        (true, _) => " MISSED",
        (false, true) => " undecided",
        (false, false) => "",
    };
    format!("{:.2} {}{verdict}", share.share.median, share.step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy_measure::statistics::Interval;

    #[test]
    fn a_share_says_whether_it_is_enough() {
        let share = |median: f64, spread: f64| Share {
            what: "auto cold".into(),
            bytes: Some(65536),
            step: "avx2@0".into(),
            best: "avx2_nt@0".into(),
            share: Interval { median, low: median - spread, high: median + spread },
            bound: 0.95,
        };
        let (built_in, tuned) = ([share(0.8, 0.01)], [share(0.96, 0.02)]);
        let text = table(&[("built in", &built_in), ("profile", &tuned)]);
        assert!(text.contains("0.80 avx2@0 MISSED"), "{text}");
        assert!(text.contains("0.96 avx2@0 undecided"), "{text}");
        assert!(text.contains(" 64K ") && text.contains("avx2_nt@0\n"), "{text}");
        assert!(!table(&[("built in", &[share(0.99, 0.01)])]).contains("undecided"));
    }
}
