//! Text from outside, made harmless before anybody is shown it.
//!
//! Names of contenders, CPUs and tasks, files of other people, paths and messages of the kernel end up on terminals and in
//! mails, tables, pages and charts. A control character steers the terminal, a newline forges a line of ours, a
//! bidirectional mark reorders what stands beside it, and XML takes none of them.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

/// Whether `letter` is shown as itself.
fn is_harmless(letter: char) -> bool {
    let hidden = matches!(
        letter,
        '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}'
            | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !letter.is_control() && !hidden
}

/// One line: whatever would steer, break or hide is shown as `\u{1b}` is.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if is_harmless(letter) => shown.push(letter),
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            letter => write!(shown, "{}", letter.escape_unicode()).expect("a string takes everything"),
        }
    }
    Cow::Owned(shown)
}

/// Several lines, each made [`harmless`]; tabs become spaces.
pub fn harmless_lines(text: &str) -> String {
    text.lines().map(|line| harmless(&line.replace('\t', " ")).into_owned() + "\n").collect()
}

/// A path as people are shown it.
pub fn shown(path: &Path) -> String {
    harmless(&path.to_string_lossy()).into_owned()
}

/// Makes every string of a JSON document harmless, names of its fields too.
pub fn disarm(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = harmless(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(disarm),
        Value::Object(fields) => {
            fields.values_mut().for_each(disarm);
            let hostile: Vec<String> =
                fields.keys().filter(|name| matches!(harmless(name), Cow::Owned(_))).cloned().collect();
            for name in hostile {
                if let Some(value) = fields.remove(&name) {
                    fields.insert(harmless(&name).into_owned(), value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printable_stays() {
        for text in ["", "AMD EPYC 7713 64-Core", "naïve ± 漢字 → 😀", r"C:\n"] {
            assert!(matches!(harmless(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_steers_breaks_or_hides_is_shown() {
        for (text, expected) in [
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}2J\u{7f}\0", "\\u{9b}2J\\u{7f}\\u{0}"),
            ("\u{202e}evil\u{2028}", "\\u{202e}evil\\u{2028}"),
            ("\u{ffff}\u{feff}", "\\u{ffff}\\u{feff}"),
        ] {
            assert_eq!(harmless(text), expected);
        }
        assert_eq!(harmless_lines("a\tb\n\x1bc"), "a b\n\\u{1b}c\n");
        assert_eq!(shown(Path::new("a\x1bb")), "a\\u{1b}b");
    }

    #[test]
    fn every_string_of_a_document_is_disarmed() {
        let mut value = serde_json::json!({"a\n": ["\x1b", {"b": "c\r", "d": 1.5}], "e": null});
        disarm(&mut value);
        assert_eq!(value, serde_json::json!({"a\\n": ["\\u{1b}", {"b": "c\\r", "d": 1.5}], "e": null}));
    }
}
