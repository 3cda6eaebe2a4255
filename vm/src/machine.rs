//! The machine a scenario boots.

/// A PC with two CPUs and three NUMA nodes of 1 GiB: CPU 0 on node 0, CPU 1 on node 1, and node 2 with memory
/// only, as a CXL expander looks to Linux.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// QEMU's `-cpu`: what CPUID says, and by that which way to copy the policy picks.
    pub cpu: &'static str,
    /// What is added to the kernel's command line.
    pub kernel_arguments: &'static str,
}

/// How many NUMA nodes a [`Machine`] has.
pub const NODES: usize = 3;

/// The node without CPUs.
pub const MEMORY_ONLY_NODE: usize = 2;

impl Machine {
    /// An Intel CPU with ERMS. The vendor counts: QEMU's `mce` command injects what the guest's vendor would raise.
    pub const ERMS: Self = Self { cpu: "Haswell,vendor=GenuineIntel,+erms", kernel_arguments: "" };

    /// The same machine with more on the kernel's command line.
    pub const fn with(self, kernel_arguments: &'static str) -> Self {
        Self { kernel_arguments, ..self }
    }
}
