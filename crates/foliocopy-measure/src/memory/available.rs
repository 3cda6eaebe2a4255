//! How much memory could be had.

use std::fs;
use std::path::Path;

use super::PMD_BYTES;
use crate::cgroup;
use crate::topology::{memory_of_the_system, parse_list};

/// Memory that can be had now without swapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Available {
    /// Bytes of pages of any size: the kernel's estimate, within the limits of all cgroups.
    pub bytes: u64,
    /// Whether a cgroup has less than the machine.
    pub limited_by_cgroup: bool,
    /// Bytes in the pool of reserved huge pages of 2 MiB.
    pub hugetlb_bytes: u64,
    /// Bytes on each online node: free memory, and memory that only caches files.
    pub node_bytes: Vec<(u32, u64)>,
}

impl Available {
    /// On this machine.
    pub fn detect() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        let text = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
        let number = |file: &str| text(file).trim().parse::<u64>().ok();
        let system =
            kibibytes(&text("proc/meminfo"), "MemAvailable:").unwrap_or_else(|| memory_of_the_system().1);
        let cgroup = cgroup::memory_left(root).unwrap_or(u64::MAX);
        let nodes = parse_list(&text("sys/devices/system/node/online")).into_iter();
        let huge_pages = number("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").unwrap_or(0);
        Self {
            bytes: system.min(cgroup),
            limited_by_cgroup: cgroup < system,
            hugetlb_bytes: (huge_pages * PMD_BYTES as u64)
                .min(cgroup::huge_pages_left(root).unwrap_or(u64::MAX)),
            node_bytes: nodes
                .map(|node| {
                    let meminfo = text(&format!("sys/devices/system/node/node{node}/meminfo"));
                    let fields = ["MemFree:", "Active(file):", "Inactive(file):"];
                    (node, fields.iter().filter_map(|field| kibibytes(&meminfo, field)).sum())
                })
                .collect(),
        }
    }

    /// What [`Available::bytes`] are, for messages.
    pub fn what(&self) -> &'static str {
        if self.limited_by_cgroup { "memory in its cgroup" } else { "memory" }
    }

    /// Bytes on `node`. `None` where nothing is known of it.
    pub fn on_node(&self, node: u32) -> Option<u64> {
        self.node_bytes.iter().find(|(id, _)| *id == node).map(|(_, bytes)| *bytes)
    }
}

/// The bytes behind the field `name` of a meminfo file, a node's or the system's.
fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    meminfo.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.find(|word| *word == name)?;
        words.next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_system_and_cgroup_is_available() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, content: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        };
        let bytes = || Available::below(root.path()).bytes;
        write("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable:    2048 kB\n");
        assert_eq!(bytes(), 2 << 20);
        write("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(bytes(), 2 << 20);
        write("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable:    2048000 kB\n");
        write("sys/fs/cgroup/memory.max", "150000000\n");
        write("sys/fs/cgroup/memory.current", "50000000\n");
        assert!(bytes() < 100_000_000 && bytes() > 50_000_000);
        assert!(Available::below(root.path()).limited_by_cgroup);

        write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n");
        write("sys/devices/system/node/online", "0,2\n");
        write(
            "sys/devices/system/node/node2/meminfo",
            "Node 2 MemFree:  100 kB\nNode 2 Active(file):  20 kB\nNode 2 Inactive(file):  3 kB\n",
        );
        let available = Available::below(root.path());
        assert_eq!(available.hugetlb_bytes, 6 << 20);
        assert_eq!(available.on_node(2), Some(123 << 10));
        assert_eq!((available.on_node(0), available.on_node(1)), (Some(0), None));
    }

    #[test]
    fn this_machine_has_some() {
        assert!((1..u64::MAX).contains(&Available::detect().bytes));
    }
}
