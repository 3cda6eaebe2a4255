//! The shares of the best that decisions have, as people read them.

use foliocopy_measure::size::Size;
use foliocopy_measure::survey::Share;

use crate::wrap::{COLUMNS, wrap};

/// The shares of the first of `policies`, and those of each other one that differ from them. All were judged by the same
/// samples. Policies that decide alike share a table.
pub(crate) fn table(policies: &[(&str, &[Share])]) -> String {
    let mut tables: Vec<(String, &[Share])> = Vec::new();
    for (name, shares) in policies {
        match tables.iter_mut().find(|(_, other)| other.iter().map(one).eq(shares.iter().map(one))) {
            Some((names, _)) => *names += &format!(" and {name}"),
            None => tables.push(((*name).to_owned(), shares)),
        }
    }
    let (_, first) = policies[0];
    let differs =
        |share: &&Share| !first.iter().any(|other| (&other.what, one(other)) == (&share.what, one(share)));
    let texts = tables.iter().enumerate().map(|(index, (name, shares))| {
        let shown: Vec<&Share> = shares.iter().filter(|share| index == 0 || differs(share)).collect();
        of_policy(name, &shown)
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// The shares of a policy in lines for a terminal: under each kind of copy, a line for each size.
fn of_policy(name: &str, shares: &[&Share]) -> String {
    let of_policy: Vec<String> = shares.iter().map(|share| one(share)).collect();
    let width = of_policy.iter().map(String::len).chain([name.len()]).max().unwrap_or_default();
    let line = |size: &str, min: &str, policy: &str| format!("  {size:>4} {min:>4} {policy:<width$} ");
    let mut kinds: Vec<&str> = Vec::new();
    for share in shares {
        if !kinds.contains(&share.what.as_str()) {
            kinds.push(&share.what);
        }
    }
    let mut text = format!("share of the best\n{}best\n", line("size", "min", name));
    for kind in kinds {
        text += &format!("{kind}\n");
        for (share, policy) in shares.iter().zip(&of_policy).filter(|(share, _)| share.what == kind) {
            let size = share.bytes.map_or("all".to_owned(), |bytes| Size(bytes).to_string());
            // The best is news where it is another than the decision.
            let best = if share.best == share.step { "" } else { &share.best };
            wrap(&mut text, &line(&size, &format!("{:.2}", share.bound), policy), best, COLUMNS);
        }
    }
    text
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
