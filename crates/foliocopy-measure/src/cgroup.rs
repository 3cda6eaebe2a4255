//! The limits of the cgroups that this process is in.
//!
//! Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. A limit holds for all that lies below it, so the
//! smallest counts. Both versions may be mounted at once, each with other controllers.

use std::fs;
use std::path::{Path, PathBuf};

/// Memory of this process beside the buffers: its code and its samples.
const OWN: u64 = 16 << 20;

/// A cgroup that the process is in, itself or by a parent, in one of the two versions.
struct Group {
    folder: PathBuf,
}

impl Group {
    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }

    /// The number in a file. `None` where there is none, such as `max`.
    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    /// The sum of fields of a file of `name value` lines.
    fn fields(&self, file: &str, names: &[&str]) -> u64 {
        let text = self.text(file).unwrap_or_default();
        let fields = text.lines().filter_map(|line| line.split_once(' '));
        fields
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }

    /// Bytes of memory that may still be used here. What only caches files gives way.
    fn memory_left(&self) -> Option<u64> {
        // Beyond `memory.high` nothing is killed, but nothing gets on either.
        let limits = ["memory.max", "memory.high", "memory.limit_in_bytes"];
        let limit = limits.iter().filter_map(|file| self.number(file)).min()?;
        let used = self.number("memory.current").or(self.number("memory.usage_in_bytes")).unwrap_or(0);
        // Version 1 counts the children in fields of their own.
        let fields = match self.folder.join("memory.limit_in_bytes").exists() {
            true => ["total_inactive_file", "total_active_file"],
            false => ["inactive_file", "active_file"],
        };
        let gives_way = self.fields("memory.stat", &fields);
        Some(limit.saturating_sub(used.saturating_sub(gives_way)).saturating_sub(OWN))
    }

    /// Bytes of reserved huge pages of 2 MiB that may still be used here.
    fn huge_pages_left(&self) -> Option<u64> {
        let limit = self.number("hugetlb.2MB.max").or(self.number("hugetlb.2MB.limit_in_bytes"))?;
        let used = self.number("hugetlb.2MB.current").or(self.number("hugetlb.2MB.usage_in_bytes"));
        Some(limit.saturating_sub(used.unwrap_or(0)))
    }

    /// How many CPUs' time a period has.
    fn cpus(&self) -> Option<f64> {
        let (quota, period) = match self.text("cpu.max") {
            Some(both) => {
                let (quota, period) = both.trim().split_once(' ')?;
                (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?)
            }
            // Without a quota it is -1.
            None => (self.number("cpu.cfs_quota_us")?, self.number("cpu.cfs_period_us")?),
        };
        (period > 0).then(|| quota as f64 / period as f64)
    }
}

/// Bytes of memory that the tightest cgroup leaves this process. `None` where none limits it.
pub(crate) fn memory_left(root: &Path) -> Option<u64> {
    groups(root, "memory").iter().filter_map(Group::memory_left).min()
}

/// Bytes of huge pages that the tightest cgroup leaves this process. `None` where none limits it.
pub(crate) fn huge_pages_left(root: &Path) -> Option<u64> {
    groups(root, "hugetlb").iter().filter_map(Group::huge_pages_left).min()
}

/// The CPUs whose time the tightest cgroup gives this process. `None` where none limits it.
pub(crate) fn cpu_quota(root: &Path) -> Option<f64> {
    groups(root, "cpu").iter().filter_map(Group::cpus).reduce(f64::min)
}

/// The groups of the process that may limit `controller`'s resource, on the machine whose /proc and /sys lie below `root`.
fn groups(root: &Path, controller: &str) -> Vec<Group> {
    let text = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let (own, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
    let mut groups = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse).filter(|mount| mount.has(controller)) {
        let Some(path) = own.lines().find_map(|line| mount.path_of(line, controller)) else { continue };
        let top = root.join(mount.point.trim_start_matches('/'));
        // A path outside of the mounted hierarchy cannot be seen. Its parents that are mounted can.
        let below = match path.strip_prefix(mount.root.trim_end_matches('/')) {
            Some(below) if below.is_empty() || below.starts_with('/') => below.trim_matches('/'),
            _ => "",
        };
        let leaf = top.join(below);
        let folders = leaf.ancestors().take_while(|folder| folder.starts_with(&top));
        groups.extend(folders.map(|folder| Group { folder: folder.to_owned() }));
    }
    if groups.is_empty() {
        // Without /proc: the usual place.
        let usual = ["sys/fs/cgroup".to_owned(), format!("sys/fs/cgroup/{controller}")];
        groups.extend(usual.map(|folder| Group { folder: root.join(folder) }));
    }
    groups
}

/// A hierarchy of cgroups that is mounted: a line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
struct Mount {
    /// The cgroup at the root of the mounted hierarchy.
    root: String,
    /// The mount point.
    point: String,
    /// The controllers of version 1. `None` of version 2, which has all that version 1 has not.
    controllers: Option<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (unescaped(mount.next()?), unescaped(mount.next()?));
        let mut kind = kind.split(' ');
        let controllers = match kind.next()? {
            "cgroup2" => None,
            "cgroup" => Some(kind.next_back()?.to_owned()),
            _ => return None,
        };
        Some(Self { root, point, controllers })
    }

    fn has(&self, controller: &str) -> bool {
        let lists = |controllers: &String| controllers.split(',').any(|listed| listed == controller);
        self.controllers.as_ref().is_none_or(lists)
    }

    /// The path in a line `number:controllers:path` of /proc/self/cgroup, if it is of this hierarchy.
    fn path_of<'a>(&self, line: &'a str, controller: &str) -> Option<&'a str> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let ours = match self.controllers {
            None => controllers.is_empty(),
            Some(_) => controllers.split(',').any(|listed| listed == controller),
        };
        ours.then_some(path)
    }
}

/// Without the octal escapes of blanks.
fn unescaped(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(own: &str, mounts: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.write("proc/self/cgroup", own);
            machine.write("proc/self/mountinfo", mounts);
            machine
        }

        fn write(&self, file: &str, content: &str) {
            let file = self.0.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
    }

    const MIB: u64 = 1 << 20;
    const V2: &str =
        "22 1 0:1 / /proc rw - proc proc rw\n30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    const V1: &str = "36 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        37 1 0:3 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n";

    #[test]
    fn the_smallest_limit_up_to_the_root_counts() {
        let machine = Machine::new("0::/a/b\n", V2);
        let left = || memory_left(machine.0.path());
        assert_eq!(left(), None);
        machine.write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(left(), None);
        machine.write("sys/fs/cgroup/a/memory.max", &(96 * MIB).to_string());
        assert_eq!(left(), Some(96 * MIB - OWN));
        machine.write("sys/fs/cgroup/a/memory.current", &(50 * MIB).to_string());
        machine.write("sys/fs/cgroup/a/memory.stat", &format!("anon 1\ninactive_file {}\n", 20 * MIB));
        assert_eq!(left(), Some(66 * MIB - OWN));
        machine.write("sys/fs/cgroup/a/b/memory.high", &(40 * MIB).to_string());
        assert_eq!(left(), Some(40 * MIB - OWN));
        machine.write("sys/fs/cgroup/a/b/memory.current", &(60 * MIB).to_string());
        assert_eq!(left(), Some(0));
        // Another's.
        machine.write("sys/fs/cgroup/c/memory.max", "0\n");
        assert_eq!(left(), Some(0));
    }

    #[test]
    fn version_1_has_a_hierarchy_for_each_controller() {
        let machine = Machine::new("5:memory:/a/b\n4:cpu,cpuacct:/c\n0::/\n", V1);
        machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        machine.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", &(96 * MIB).to_string());
        machine.write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", &(30 * MIB).to_string());
        machine.write("sys/fs/cgroup/memory/a/memory.stat", &format!("total_active_file {}\n", 10 * MIB));
        assert_eq!(memory_left(machine.0.path()), Some(76 * MIB - OWN));
        machine.write("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "-1\n");
        machine.write("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
        assert_eq!(cpu_quota(machine.0.path()), None);
        machine.write("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "150000\n");
        assert_eq!(cpu_quota(machine.0.path()), Some(1.5));
    }

    #[test]
    fn a_container_sees_the_part_that_is_mounted() {
        let mounts = "36 1 0:2 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            30 1 0:26 /../.. /sys/fs/cgroup/my\\040unified rw - cgroup2 cgroup2 rw\n";
        for own in ["4:memory:/docker/abc/x\n0::/\n", "4:memory:/elsewhere\n0::/y\n"] {
            let machine = Machine::new(own, mounts);
            machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", &(64 * MIB).to_string());
            machine.write("sys/fs/cgroup/my unified/cpu.max", "50000 100000\n");
            assert_eq!(memory_left(machine.0.path()), Some(64 * MIB - OWN), "{own}");
            assert_eq!(cpu_quota(machine.0.path()), Some(0.5), "{own}");
        }
    }

    #[test]
    fn quotas_and_huge_pages_are_the_smallest_too() {
        let machine = Machine::new("0::/a/b\n", V2);
        machine.write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(cpu_quota(machine.0.path()), None);
        machine.write("sys/fs/cgroup/a/cpu.max", "200000 100000\n");
        machine.write("sys/fs/cgroup/cpu.max", "70000 100000\n");
        assert_eq!(cpu_quota(machine.0.path()), Some(0.7));
        machine.write("sys/fs/cgroup/a/hugetlb.2MB.max", &(8 * MIB).to_string());
        machine.write("sys/fs/cgroup/a/hugetlb.2MB.current", &(2 * MIB).to_string());
        assert_eq!(huge_pages_left(machine.0.path()), Some(6 * MIB));
    }

    #[test]
    fn without_proc_the_usual_places_count() {
        let machine = Machine::new("", "");
        machine.write("sys/fs/cgroup/memory.max", &(96 * MIB).to_string());
        assert_eq!(memory_left(machine.0.path()), Some(96 * MIB - OWN));
    }
}
