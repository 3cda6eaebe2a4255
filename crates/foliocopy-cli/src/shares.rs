//! The shares of the best that decisions have, as people read them.

use foliocopy_measure::size::Size;
use foliocopy_measure::survey::Share;

use crate::table::{align_right, empty_table, trimmed};

/// A table of shares, a column for each of `policies`. All were judged by the same samples. Policies that decide alike
/// share a column.
pub(crate) fn table(policies: &[(&str, &[Share])]) -> String {
    let mut columns: Vec<(String, &[Share])> = Vec::new();
    for (name, shares) in policies {
        match columns.iter_mut().find(|(_, other)| other.iter().map(one).eq(shares.iter().map(one))) {
            Some((names, _)) => *names += &format!(" and {name}"),
            None => columns.push(((*name).to_owned(), shares)),
        }
    }
    let heads: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut table =
        empty_table(["share of the best", "size", "min"].into_iter().chain(heads).chain(["best"]));
    let (_, first) = policies[0];
    for share in first {
        let size = share.bytes.map_or("all".to_owned(), |bytes| Size(bytes).to_string());
        let mut row = vec![share.what.clone(), size, format!("{:.2}", share.bound)];
        for (_, shares) in &columns {
            let of_policy =
                shares.iter().find(|other| (&other.what, other.bytes) == (&share.what, share.bytes));
            row.push(of_policy.map_or_else(String::new, one));
        }
        // The best is news where it is another than the decision.
        row.push(if share.best == share.step { String::new() } else { share.best.clone() });
        table.add_row(row);
    }
    align_right(&mut table, 1);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    format!("{}\n", trimmed(&table))
}

/// Such as `0.97 ? avx2@0`, with the sign of what there is to say of it.
fn one(share: &Share) -> String {
    let mark = match (share.is_missed(), share.is_undecided()) {
        (true, _) => " MISSED",
        (false, true) => " ?",
        (false, false) => "",
    };
    format!("{:.2}{mark} {}", share.share.median, share.step).trim_end().to_owned()
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
        let text = anstream::adapter::strip_str(&text).to_string();
        assert!(text.contains("0.80 MISSED avx2@0"), "{text}");
        assert!(text.contains("0.96 ? avx2@0"), "{text}");
        assert!(text.contains(" 64K ") && text.contains("avx2_nt@0"), "{text}");
        let alike = table(&[("built in", &built_in), ("profile", &built_in)]);
        assert!(alike.contains("built in and profile"), "{alike}");
        assert!(!table(&[("built in", &[share(0.99, 0.01)])]).contains('?'));
    }
}
