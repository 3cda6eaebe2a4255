//! What a healthy kernel never prints.

/// Parts of console lines that mean the kernel is hurt, whatever the guest's verdict says.
const COMPLAINTS: &[&str] = &[
    "Kernel panic",
    "Oops:",
    "BUG:",
    "kernel BUG at",
    "WARNING: CPU:",
    "WARNING: possible",
    "general protection fault",
    "unable to handle",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "detected stall",
    "self-detected stall",
    "scheduling while atomic",
    "sleeping function called",
    "bad: scheduling",
    "Bad page state",
    "Unknown rela relocation",
    "unpatched return thunk",
    "Missing ENDBR",
    "double fault",
    "refcount_t:",
    "Out of memory:",
];

/// The first complaint among the console's lines.
pub(crate) fn complaint(console: &[String]) -> Option<&str> {
    let complains = |line: &&String| COMPLAINTS.iter().any(|complaint| line.contains(complaint));
    console.iter().find(complains).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oops_is_seen_and_an_ordinary_boot_is_not() {
        let line = |text: &str| text.to_owned();
        let boot =
            [line("[    0.0] Linux version 6.12"), line("[    1.2] foliocopy: loading out-of-tree module")];
        assert_eq!(complaint(&boot), None);
        let hurt = [boot[0].clone(), line("[    2.0] Oops: general protection fault, probably for")];
        assert_eq!(complaint(&hurt), Some(hurt[1].as_str()));
    }
}
