//! What the system really gave, from /proc/self/smaps, and how much it could give.

use std::fs;
use std::path::Path;

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

/// Bytes that could be allocated now without swapping: what the kernel estimates, within the cgroup's limit.
pub fn available_bytes() -> u64 {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> u64 {
    let number = |file: &str| fs::read_to_string(root.join(file)).ok()?.trim().parse::<u64>().ok();
    let system = fs::read_to_string(root.join("proc/meminfo"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(u64::MAX, |kibibytes| kibibytes << 10);
    let cgroup = number("sys/fs/cgroup/memory.max")
        .map_or(u64::MAX, |limit| limit.saturating_sub(number("sys/fs/cgroup/memory.current").unwrap_or(0)));
    system.min(cgroup)
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

    #[test]
    fn the_smaller_of_system_and_cgroup_is_available() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, content: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        };
        write("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable:    2048 kB\n");
        assert_eq!(available_below(root.path()), 2 << 20);
        write("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(available_below(root.path()), 2 << 20);
        write("sys/fs/cgroup/memory.max", "1500000\n");
        write("sys/fs/cgroup/memory.current", "500000\n");
        assert_eq!(available_below(root.path()), 1_000_000);
    }
}
