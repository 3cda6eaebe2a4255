//! The environment of a measurement, as the schema keeps it. A field that a machine does not tell is absent.

use serde::{Deserialize, Serialize};

/// The machine and its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The CPU under its mask.
    pub cpu: CpuIdentity,
    /// Name, release and version of the kernel, as `uname -srv` prints them.
    pub kernel: String,
    /// The hypervisor by the vendor name of CPUID leaf 0x4000_0000, such as `KVM`. `None` on bare metal.
    pub hypervisor: Option<String>,
    /// The CPU is interpreted (QEMU's TCG): its timings say nothing about copies and aren't shown as speed.
    pub emulated: bool,
    /// NUMA nodes with memory or CPUs.
    pub nodes: Vec<Node>,
    /// `node_distances[i][j]` from `nodes[i]` to `nodes[j]`, in the ACPI SLIT's unit (10 is local).
    pub node_distances: Vec<Vec<u32>>,
    /// The cpufreq governor.
    pub governor: Option<String>,
    /// The mode of transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_hugepages: Option<String>,
    /// Whether automatic NUMA balancing may move pages.
    pub numa_balancing: Option<bool>,
    /// Load averages over 1, 5 and 15 minutes, before the measurement.
    pub load_average: Option<[f64; 3]>,
    /// The CPUs' worth of time that its tightest cgroup gives the process. `None` where none has a quota.
    pub cpu_quota: Option<f64>,
    /// File systems that every Linux has mounted and this process does not see: `/proc`, `/sys`.
    pub unmounted: Vec<String>,
    /// Frequency of the time-stamp counter. `None` where the counter is missing, trapped or not invariant.
    pub tsc_hz: Option<u64>,
    /// How `foliocopy` copies. Absent from files of before it had tables.
    pub tables: PolicyTables,
    /// The profile that the policy follows.
    pub profile: Option<String>,
    /// Environment variables and profiles that were left aside, and why.
    pub left_aside: Vec<String>,
}

impl Environment {
    /// How far node `src` is from node `dst`, in the ACPI SLIT's unit. `None` where the machine does not tell.
    pub fn distance(&self, src: u32, dst: u32) -> Option<u32> {
        let place = |id: u32| self.nodes.iter().position(|node| node.id == id);
        self.node_distances.get(place(src)?)?.get(place(dst)?).copied()
    }
}

/// The identity of a CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuIdentity {
    /// CPUID vendor, such as `AuthenticAMD`.
    pub vendor: String,
    /// The brand string.
    pub model_name: String,
    /// Display family.
    pub family: u32,
    /// Display model.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Such as `Zen 3`. `None` of one that we have no name for.
    pub microarchitecture: Option<String>,
    /// Microcode revision as the kernel prints it, such as `0xa0011d5`.
    pub microcode: Option<String>,
    /// Features that matter to a copy, after the mask, by the kernel's names in lower case.
    pub features: Vec<String>,
    /// Features that `--mask` or `FOLIOCOPY_MASK` took away.
    pub masked: Vec<String>,
    /// Features that CPUID has and the kernel does without, as after `clearcpuid=`.
    pub kernel_lacks: Vec<String>,
    /// Features by which the kernel copies that CPUID lacks and the kernel believes in.
    pub kernel_adds: Vec<String>,
    /// Logical CPUs that are online.
    pub online_cpus: u32,
    /// Data and unified caches, from the first level.
    pub caches: Vec<CacheLevel>,
}

impl CpuIdentity {
    /// Whether it is of aarch64: implementer, part and revision instead of family, model and stepping.
    pub fn is_aarch64(&self) -> bool {
        ["asimd", "mops"]
            .iter()
            .any(|name| self.features.iter().chain(&self.masked).any(|known| known == name))
    }

    /// Its numbers, as /proc/cpuinfo has them.
    pub fn signature(&self) -> String {
        let Self { family, model, stepping, .. } = self;
        match self.is_aarch64() {
            true => {
                format!("implementer {family:#x}, part {model:#x}, r{}p{}", stepping >> 4, stepping & 0xf)
            }
            false => format!("family {family}, model {model}, stepping {stepping}"),
        }
    }
}

/// One level of cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheLevel {
    /// 1 for the L1 data cache.
    pub level: u32,
    /// Bytes of one such cache.
    pub bytes: u64,
    /// The CPUs that share one, as a kernel list such as `0-7`.
    pub shared_cpus: String,
}

/// One NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The kernel's number.
    pub id: u32,
    /// Its CPUs, as a kernel list; empty of a memory-only node such as CXL.
    pub cpus: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes that were free before the measurement.
    pub free_bytes: u64,
}

/// How copies are made: a policy's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyTables {
    /// The source of the tables, such as `measured on Zen 4`.
    pub source: String,
    /// Whether they are the general rule, for a CPU that was never measured.
    pub general: bool,
    /// The bands: the shortest copies of a locality first.
    pub bands: Vec<PolicyBand>,
}

/// One line of a policy's table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyBand {
    /// The locality asked for, such as `auto`.
    pub locality: String,
    /// Bytes of the longest copy that is made so. `None` of the last line, which has no limit.
    pub up_to: Option<u64>,
    /// The step, in words.
    pub step: String,
}
