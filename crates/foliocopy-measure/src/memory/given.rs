//! Memory that the system gave, from /proc/self/smaps.

use std::fs;

/// Bytes of a mapping that lie in huge pages, transparent or reserved.
pub(super) fn huge_bytes(start: usize, bytes: usize) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    huge_bytes_in(&smaps, start, bytes)
}

fn huge_bytes_in(smaps: &str, start: usize, bytes: usize) -> u64 {
    let mut total = 0;
    let mut inside = false;
    for line in smaps.lines() {
        if let Some(range) = range(line) {
            inside = range.start < start + bytes && start < range.end;
        } else if inside {
            total += huge_field(line);
        }
    }
    total
}

/// The addresses in the first line of an entry, such as `7f00-7f01 rw-p 00000000 00:00 0`.
fn range(line: &str) -> Option<std::ops::Range<usize>> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// Bytes of the fields that count huge pages (Documentation/filesystems/proc.rst).
fn huge_field(line: &str) -> u64 {
    const FIELDS: [&str; 5] =
        ["AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Private_Hugetlb", "Shared_Hugetlb"];
    let Some((name, value)) = line.split_once(':') else { return 0 };
    if !FIELDS.contains(&name) {
        return 0;
    }
    value.trim().trim_end_matches(" kB").parse::<u64>().map_or(0, |kibibytes| kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size:               4096 kB
AnonHugePages:      2048 kB
Private_Hugetlb:       0 kB
7f0000400000-7f0000600000 rw-s 00000000 00:01 5 /memfd:foliocopy (deleted)
ShmemPmdMapped:     2048 kB
7f0000800000-7f0000a00000 rw-p 00000000 00:0f 6 /anon_hugepage (deleted)
Private_Hugetlb:    2048 kB
VmFlags: rd wr
";

    #[test]
    fn counts_huge_pages_of_the_mapping_alone() {
        assert_eq!(huge_bytes_in(SMAPS, 0x7f00_0000_0000, 4 << 20), 2 << 20);
        assert_eq!(huge_bytes_in(SMAPS, 0x7f00_0040_0000, 2 << 20), 2 << 20);
        assert_eq!(huge_bytes_in(SMAPS, 0x7f00_0080_0000, 2 << 20), 2 << 20);
        assert_eq!(huge_bytes_in(SMAPS, 0x7f00_0060_0000, 2 << 20), 0);
    }
}
