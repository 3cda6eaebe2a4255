//! NUMA nodes and caches, as the kernel shows them under /sys/devices/system.
//!
//! Documentation/ABI/stable/sysfs-devices-node and Documentation/ABI/testing/sysfs-devices-system-cpu.

use std::fs;
use std::path::Path;

use crate::affinity;
use crate::result::{CacheLevel, Node};

/// More numbers than a kernel's list has.
const MOST: u32 = 1 << 22;

/// The nodes and caches of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Online nodes with memory or CPUs, ascending. A kernel without NUMA gets one node with all its CPUs.
    pub nodes: Vec<Node>,
    /// `distances[i][j]` from `nodes[i]` to `nodes[j]`.
    pub distances: Vec<Vec<u32>>,
    /// Data and unified caches of the first online CPU, from the first level.
    pub caches: Vec<CacheLevel>,
    /// Online CPUs.
    pub online_cpus: Vec<u32>,
    /// The nodes whose memory the process's cpuset allows it. Empty where the kernel doesn't tell.
    pub allowed_nodes: Vec<u32>,
}

impl Topology {
    /// This machine's. Where /sys or /proc is not mounted, what system calls tell.
    pub fn detect() -> Self {
        let mut topology = Self::from_root(Path::new("/"));
        if topology.online_cpus.is_empty() {
            topology.online_cpus = affinity::allowed_cpus().unwrap_or_default();
        }
        if let [node] = &mut topology.nodes[..] {
            // The only node has every CPU.
            if node.cpus.is_empty() {
                let cpus: Vec<String> = topology.online_cpus.iter().map(u32::to_string).collect();
                node.cpus = cpus.join(",");
            }
            if node.memory_bytes == 0 {
                (node.memory_bytes, node.free_bytes) = memory_of_the_system();
            }
        }
        topology
    }

    /// That of the machine whose /sys and /proc lie below `root`.
    pub fn from_root(root: &Path) -> Self {
        let system = root.join("sys/devices/system");
        let online_cpus = text(&system.join("cpu/online")).map_or_else(Vec::new, |list| parse_list(&list));
        let mut numbered: Vec<(u32, Vec<u32>, Node)> = text(&system.join("node/online"))
            .map_or_else(Vec::new, |list| parse_list(&list))
            .into_iter()
            .map(|id| node(&system.join(format!("node/node{id}")), id))
            .collect();
        // Distances cover every online node, also those left out below.
        let kept: Vec<bool> =
            numbered.iter().map(|(_, _, node)| node.memory_bytes > 0 || !node.cpus.is_empty()).collect();
        let keep = |row: &[u32]| -> Vec<u32> {
            row.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(distance, _)| *distance).collect()
        };
        let distances =
            numbered.iter().zip(&kept).filter(|(_, kept)| **kept).map(|((_, row, _), _)| keep(row)).collect();
        let mut kept = kept.iter();
        numbered.retain(|_| *kept.next().expect("one flag a node"));
        let mut topology = Self {
            nodes: numbered.into_iter().map(|(_, _, node)| node).collect(),
            distances,
            caches: caches(&system.join(format!("cpu/cpu{}/cache", online_cpus.first().unwrap_or(&0)))),
            online_cpus,
            allowed_nodes: allowed_nodes(&root.join("proc/self/status")),
        };
        if topology.nodes.is_empty() {
            topology.nodes = vec![Node {
                id: 0,
                cpus: text(&system.join("cpu/online")).unwrap_or_default(),
                memory_bytes: memory(&root.join("proc/meminfo"), "MemTotal:"),
                free_bytes: memory(&root.join("proc/meminfo"), "MemFree:"),
            }];
            topology.distances = vec![vec![10]];
        }
        topology
    }

    /// The nodes that have memory of which this process may use some.
    pub fn usable_nodes(&self) -> Vec<u32> {
        let allowed = |id: u32| self.allowed_nodes.is_empty() || self.allowed_nodes.contains(&id);
        let usable = self.nodes.iter().filter(|node| node.memory_bytes > 0 && allowed(node.id));
        usable.map(|node| node.id).collect()
    }

    /// The node with this number.
    pub fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node that `cpu` belongs to.
    pub fn node_of_cpu(&self, cpu: u32) -> Option<u32> {
        self.nodes.iter().find(|node| parse_list(&node.cpus).contains(&cpu)).map(|node| node.id)
    }

    /// Bytes of the last level of cache. `None` where the kernel shows no caches.
    pub fn last_level_cache(&self) -> Option<u64> {
        self.caches.iter().max_by_key(|cache| cache.level).map(|cache| cache.bytes)
    }
}

/// A node, with its number and its row of distances.
fn node(directory: &Path, id: u32) -> (u32, Vec<u32>, Node) {
    let distances = text(&directory.join("distance")).unwrap_or_default();
    let node = Node {
        id,
        cpus: text(&directory.join("cpulist")).unwrap_or_default(),
        memory_bytes: memory(&directory.join("meminfo"), "MemTotal:"),
        free_bytes: memory(&directory.join("meminfo"), "MemFree:"),
    };
    (id, distances.split_ascii_whitespace().filter_map(|distance| distance.parse().ok()).collect(), node)
}

fn caches(directory: &Path) -> Vec<CacheLevel> {
    let mut caches: Vec<CacheLevel> = (0..)
        .map(|index| directory.join(format!("index{index}")))
        .take_while(|index| index.exists())
        .filter(|index| text(&index.join("type")).is_some_and(|kind| kind != "Instruction"))
        .filter_map(|index| {
            Some(CacheLevel {
                level: text(&index.join("level"))?.parse().ok()?,
                bytes: text(&index.join("size"))?.parse::<crate::size::Size>().ok()?.0,
                shared_cpus: text(&index.join("shared_cpu_list"))?,
            })
        })
        .collect();
    caches.sort_by_key(|cache| cache.level);
    caches
}

/// The bytes in the line of a meminfo file that has the field `name`; 0 where there is none.
fn memory(meminfo: &Path, name: &str) -> u64 {
    let kibibytes = text(meminfo).and_then(|text| {
        let mut words = text.lines().find(|line| line.contains(name))?.split_ascii_whitespace();
        words.find(|word| *word == name)?;
        words.next()?.parse::<u64>().ok()
    });
    kibibytes.unwrap_or(0) << 10
}

/// The nodes in the line `Mems_allowed_list` of /proc/self/status.
fn allowed_nodes(status: &Path) -> Vec<u32> {
    let status = text(status).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:")).map_or_else(Vec::new, parse_list)
}

/// All memory and what is free of it, in bytes, by sysinfo(2).
pub(crate) fn memory_of_the_system() -> (u64, u64) {
    // SAFETY: numbers, for which zero is a value.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: writes the struct it is given; of a failed call it stays zero.
    unsafe { libc::sysinfo(&raw mut info) };
    let unit = u64::from(info.mem_unit);
    (info.totalram * unit, info.freeram * unit)
}

/// A kernel list such as `0-3,8` (bitmap_parselist(), lib/bitmap-str.c), written out.
pub fn parse_list(list: &str) -> Vec<u32> {
    list.trim()
        .split(',')
        .filter_map(|range| match range.split_once('-') {
            Some((first, last)) => Some(first.parse().ok()?..=last.parse().ok()?),
            None => range.parse().ok().map(|number: u32| number..=number),
        })
        // No kernel numbers so many CPUs or nodes; somebody's file may.
        .filter(|range| *range.end() < MOST)
        .flatten()
        .collect()
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, content: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// Two DRAM nodes with CPUs, an empty one, and a CXL node with memory alone: the RFC's machine.
    fn machine_with_cxl() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let system = "sys/devices/system";
        write(root.path(), &format!("{system}/cpu/online"), "0-3\n");
        write(root.path(), &format!("{system}/node/online"), "0-3\n");
        for (id, cpus, kibibytes, distances) in [
            (0, "0-1", 16 << 20, "10 32 32 50"),
            (1, "2-3", 16 << 20, "32 10 32 60"),
            (2, "", 0, "32 32 10 70"),
            (3, "", 8 << 20, "50 60 70 10"),
        ] {
            let node = format!("{system}/node/node{id}");
            write(root.path(), &format!("{node}/cpulist"), &format!("{cpus}\n"));
            write(root.path(), &format!("{node}/distance"), &format!("{distances}\n"));
            let meminfo = format!(
                "Node {id} MemTotal:       {kibibytes} kB\nNode {id} MemFree:        {} kB\n",
                kibibytes / 2
            );
            write(root.path(), &format!("{node}/meminfo"), &meminfo);
        }
        let caches = [
            ("1", "Data", "32K"),
            ("1", "Instruction", "32K"),
            ("2", "Unified", "512K"),
            ("3", "Unified", "32768K"),
        ];
        for (index, (level, kind, size)) in caches.into_iter().enumerate() {
            let cache = format!("{system}/cpu/cpu0/cache/index{index}");
            for (file, content) in
                [("level", level), ("type", kind), ("size", size), ("shared_cpu_list", "0-1")]
            {
                write(root.path(), &format!("{cache}/{file}"), content);
            }
        }
        root
    }

    #[test]
    fn memory_only_nodes_are_kept_and_empty_ones_are_not() {
        let root = machine_with_cxl();
        let topology = Topology::from_root(root.path());
        let ids: Vec<u32> = topology.nodes.iter().map(|node| node.id).collect();
        assert_eq!(ids, [0, 1, 3]);
        assert_eq!(topology.distances, [[10, 32, 50], [32, 10, 60], [50, 60, 10]]);
        let cxl = topology.node(3).unwrap();
        assert_eq!((cxl.cpus.as_str(), cxl.memory_bytes, cxl.free_bytes), ("", 8 << 30, 4 << 30));
        assert_eq!(topology.node_of_cpu(2), Some(1));
        assert_eq!(topology.node_of_cpu(4), None);
    }

    #[test]
    fn a_cpuset_leaves_some_nodes() {
        let root = machine_with_cxl();
        assert_eq!(Topology::from_root(root.path()).usable_nodes(), [0, 1, 3]);
        write(root.path(), "proc/self/status", "Name:\tx\nMems_allowed:\tb\nMems_allowed_list:\t1-3\n");
        assert_eq!(Topology::from_root(root.path()).usable_nodes(), [1, 3]);
    }

    #[test]
    fn instruction_caches_do_not_count() {
        let root = machine_with_cxl();
        let topology = Topology::from_root(root.path());
        let levels: Vec<(u32, u64)> =
            topology.caches.iter().map(|cache| (cache.level, cache.bytes)).collect();
        assert_eq!(levels, [(1, 32 << 10), (2, 512 << 10), (3, 32 << 20)]);
        assert_eq!(topology.last_level_cache(), Some(32 << 20));
    }

    #[test]
    fn a_kernel_without_numa_has_one_node() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "sys/devices/system/cpu/online", "0-1\n");
        write(root.path(), "proc/meminfo", "MemTotal:       1024 kB\nMemFree:        512 kB\n");
        let topology = Topology::from_root(root.path());
        assert_eq!(topology.nodes.len(), 1);
        let node = &topology.nodes[0];
        assert_eq!((node.cpus.as_str(), node.memory_bytes, node.free_bytes), ("0-1", 1 << 20, 512 << 10));
        assert_eq!(topology.last_level_cache(), None);
    }

    #[test]
    fn this_machine_has_a_node_with_memory_and_the_cpu_we_run_on() {
        let topology = Topology::detect();
        assert!(topology.nodes.iter().any(|node| node.memory_bytes > 0));
        assert!(!topology.online_cpus.is_empty());
    }

    #[test]
    fn lists_are_the_kernels() {
        assert_eq!(parse_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_list(""), [] as [u32; 0]);
        assert_eq!(parse_list("7,0-4294967295"), [7]);
    }
}
