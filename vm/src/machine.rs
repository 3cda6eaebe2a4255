//! The machine that a scenario boots.

/// The instruction set of a [`Machine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// A PC.
    X86_64,
    /// QEMU's board `virt`.
    Aarch64,
}

/// The programs of others on a [`Machine`], besides busybox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// None.
    Ours,
    /// Debian's systemd and perf.
    System,
    /// Programs that move memory and check it: Debian's stress-ng and migratepages, and the kernel's own tests.
    Stress,
}

/// A computer with three NUMA nodes of 1 GiB. Nodes 0 and 1 have the CPUs, and node 2 has only memory, as a CXL expander looks to
/// Linux.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Its architecture.
    pub architecture: Architecture,
    /// QEMU's `-cpu`, which determines CPUID, and so the policy's choice.
    pub cpu: &'static str,
    /// Additions to the kernel's command line.
    pub kernel_arguments: &'static str,
    /// The number of CPUs on node 0, and on node 1.
    pub cpus_per_node: usize,
    /// The programs of others.
    pub programs: Programs,
}

/// How many NUMA nodes a [`Machine`] has.
pub const NODES: usize = 3;

/// The node without CPUs.
pub const MEMORY_ONLY_NODE: usize = 2;

impl Machine {
    /// An Intel CPU with ERMS. The vendor matters: QEMU's `mce` command injects the errors of the guest's vendor.
    pub const ERMS: Self = Self {
        architecture: Architecture::X86_64,
        cpu: "Haswell,vendor=GenuineIntel,+erms",
        kernel_arguments: "",
        cpus_per_node: 1,
        programs: Programs::Ours,
    };

    /// All features of aarch64 in the emulator. It signs pointers by an algorithm of its own, since the architected one is
    /// slow.
    pub const AARCH64: Self =
        Self { architecture: Architecture::Aarch64, cpu: "max,pauth-impdef=on", ..Self::ERMS };

    /// This machine with these programs.
    pub const fn with_programs(self, programs: Programs) -> Self {
        Self { programs, ..self }
    }

    /// This machine with more on the kernel's command line.
    pub const fn with(self, kernel_arguments: &'static str) -> Self {
        Self { kernel_arguments, ..self }
    }
}
