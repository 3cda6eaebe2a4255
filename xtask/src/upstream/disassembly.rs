//! Compares machine code before and after the series, function by function.

use std::collections::BTreeMap;

/// The output of objdump for each object file.
pub(crate) type Objects = BTreeMap<&'static str, String>;

/// How far a function may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sameness {
    /// In any way.
    Free,
    /// Only in its registers and stack slots. The operations, their order, and all calls and references are the same.
    Operations,
    /// Not at all, except for addresses.
    Exact,
}

/// The functions that differ more than they may, in the output of `objdump -dr --no-show-raw-insn`.
pub(crate) fn differences(before: &str, after: &str, may_differ: &[(&str, Sameness)]) -> Vec<String> {
    let before = functions(before);
    let after = functions(after);
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let differs = |name: &&&str| {
        let sameness =
            may_differ.iter().find(|(function, _)| function == *name).map_or(Sameness::Exact, |(_, s)| *s);
        let code = |functions: &BTreeMap<&str, Vec<&str>>| {
            functions.get(**name).map(|lines| normalise(lines, sameness))
        };
        sameness != Sameness::Free && code(&before) != code(&after)
    };
    names.filter(differs).map(|name| (*name).to_owned()).collect()
}

/// The lines of each function, or of a section without functions.
fn functions(objdump: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut functions = BTreeMap::<&str, Vec<&str>>::new();
    let mut current = None;
    for line in objdump.lines() {
        let header = line.strip_suffix(">:").and_then(|line| line.split_once(" <"));
        if let Some((address, name)) = header
            && address.bytes().all(|b| b.is_ascii_hexdigit())
        {
            current = Some(functions.entry(name).or_default());
        } else if let (Some(lines), Some((_, code))) = (&mut current, line.split_once(":\t")) {
            lines.push(code.trim());
        } else if let (Some(lines), Some((_, relocation))) = (&mut current, line.trim().split_once(": R_")) {
            lines.push(relocation);
        }
    }
    functions
}

/// The lines without the function's addresses and its padding.
fn normalise(lines: &[&str], sameness: Sameness) -> Vec<String> {
    let exact = lines.iter().map(|line| without_addresses(line)).filter(|line| !is_padding(line));
    match sameness {
        Sameness::Operations => {
            exact.filter(|line| !is_move_within_frame(line)).map(|line| operation(&line)).collect()
        }
        _ => exact.collect(),
    }
}

/// Turns `e8 <folio_copy+0x12c>` into `<folio_copy>`, and `.text+0x650` into `.text`. It also removes the numbers in names that
/// gcc makes up, which depend on earlier declarations.
fn without_addresses(line: &str) -> String {
    let mut words = Vec::new();
    // objdump adds the target of an address relative to %rip.
    let line = line.split_once(" # ").map_or(line, |(code, _)| code);
    for word in line.split_whitespace() {
        let is_address = word.bytes().all(|b| b.is_ascii_hexdigit());
        if is_address && words.len() == 1 {
            continue;
        }
        let word = word.split_once('+').map_or(word, |(name, _)| name).trim_end_matches('>');
        let made_up = word.contains("__UNIQUE_ID_");
        words.push(if made_up { word.trim_end_matches(|c: char| c.is_ascii_digit()) } else { word });
    }
    words.join(" ")
}

fn is_padding(line: &str) -> bool {
    let operation = line.split(' ').next().unwrap_or(line);
    matches!(operation, "nop" | "nopw" | "nopl" | "data16" | "cs")
        || line == "xchg %ax,%ax"
        || line.starts_with("lea 0x0(%e")
}

/// A `mov` between a register and the function's own stack frame.
fn is_move_within_frame(line: &str) -> bool {
    line.strip_prefix("mov ").is_some_and(|operands| {
        let (from, to) = operands.split_once(',').unwrap_or((operands, ""));
        let frame = |operand: &str| operand.starts_with('-') && operand.ends_with("(%ebp)");
        let register = |operand: &str| operand.starts_with('%');
        frame(from) && register(to) || register(from) && frame(to)
    })
}

/// The operation of an instruction without its operands. A relocation or a call stays whole.
fn operation(line: &str) -> String {
    match line.split_once(' ') {
        Some((operation, operands)) if operands.contains(['%', '$', '(']) => operation.to_owned(),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
util.o:     file format elf32-i386

Disassembly of section .text:

00000c54 <folio_copy>:
     c54:\tmov    0x0(%rip),%r8        # c5b <folio_copy+0x7>
     c66:\tje     d80 <folio_copy+0x12c>
     c90:\tcall   c91 <folio_copy+0x3d>
\t\t\tc91: R_386_PC32\t__SCT__cond_resched
     d12:\tincl   -0x10(%ebp)
     d20:\tcmp    %eax,-0x1c(%ebp)
     d30:\tret
     d31:\tlea    0x0(%esi,%eiz,1),%esi

00000d40 <other>:
     d40:\tret
";

    fn edited(from: &str, to: &str) -> String {
        assert!(BEFORE.contains(from));
        BEFORE.replace(from, to)
    }

    #[test]
    fn moved_code_and_other_padding_are_the_same() {
        let moved = edited("d80 <folio_copy+0x12c>", "d7d <folio_copy+0x129>");
        let moved = moved
            .replace("c5b <folio_copy+0x7>", "c7b <folio_copy+0x7>")
            .replace("d31:\tlea    0x0(%esi,%eiz,1),%esi", "d31:\tnop")
            .replace("d40", "d60");
        assert!(differences(BEFORE, &moved, &[]).is_empty());
    }

    #[test]
    fn another_register_is_a_difference_unless_only_operations_count() {
        let spilled =
            edited("cmp    %eax,-0x1c(%ebp)", "mov    -0x1c(%ebp),%edi\n     d23:\tcmp    %edi,%eax");
        assert_eq!(differences(BEFORE, &spilled, &[]), ["folio_copy"]);
        assert!(differences(BEFORE, &spilled, &[("folio_copy", Sameness::Operations)]).is_empty());
    }

    #[test]
    fn another_call_or_operation_is_always_a_difference() {
        for (from, to) in [("__SCT__cond_resched", "schedule"), ("incl ", "decl "), ("je  ", "jne  ")] {
            let other = edited(from, to);
            assert_eq!(differences(BEFORE, &other, &[("folio_copy", Sameness::Operations)]), ["folio_copy"]);
            assert!(differences(BEFORE, &other, &[("folio_copy", Sameness::Free)]).is_empty());
        }
    }

    #[test]
    fn a_function_that_comes_or_goes_is_a_difference() {
        let without = edited("00000d40 <other>:\n     d40:\tret\n", "");
        assert_eq!(differences(BEFORE, &without, &[]), ["other"]);
        assert_eq!(differences(&without, BEFORE, &[]), ["other"]);
    }
}
