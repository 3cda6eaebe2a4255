//! Text in lines of limited width.

use std::fmt::Write;

/// How wide lines are for a terminal, and where the output goes to none.
pub(crate) const COLUMNS: usize = 80;

/// Adds `paragraph` to `text` in lines of at most `columns`, the first after `bullet` and the others indented as far. A word that is
/// wider than a line is broken: a path may be, and has no better place for it.
pub(crate) fn wrap(text: &mut String, bullet: &str, paragraph: &str, columns: usize) {
    let indent = " ".repeat(bullet.chars().count());
    let mut line = bullet.to_owned();
    let mut empty = true;
    let room = columns.saturating_sub(indent.len()).max(1);
    let pieces = paragraph.split_whitespace().flat_map(|word| {
        let letters: Vec<char> = word.chars().collect();
        letters.chunks(room).map(String::from_iter).collect::<Vec<_>>()
    });
    for word in pieces {
        if !empty && line.chars().count() + 1 + word.chars().count() > columns {
            let _ = writeln!(text, "{line}");
            line.clone_from(&indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(&word);
        empty = false;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// `paragraph` in lines for a terminal.
pub(crate) fn paragraph(paragraph: &str) -> String {
    let mut text = String::new();
    wrap(&mut text, "", paragraph, COLUMNS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_a_line_is_broken() {
        let mut text = String::new();
        wrap(&mut text, "  - ", &format!("a {} b", "/ü".repeat(90)), 72);
        assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
        assert_eq!(text.matches('ü').count(), 90);
        assert_eq!(text.lines().last(), Some("    ".to_owned() + &"/ü".repeat(22) + " b").as_deref());
    }

    #[test]
    fn other_lines_stand_under_the_first() {
        let mut text = String::new();
        wrap(&mut text, "CPU:  ", "one two three", 12);
        assert_eq!(text, "CPU:  one\n      two\n      three\n");
    }
}
