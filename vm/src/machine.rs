//! The machine a scenario boots.

/// Whose instructions a [`Machine`] runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// A PC.
    X86_64,
    /// QEMU's board `virt`.
    Aarch64,
}

/// A computer with two CPUs and three NUMA nodes of 1 GiB: CPU 0 on node 0, CPU 1 on node 1, and node 2 with memory
/// only, as a CXL expander looks to Linux.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Its architecture.
    pub architecture: Architecture,
    /// QEMU's `-cpu`: what CPUID says, and by that which way to copy the policy picks.
    pub cpu: &'static str,
    /// What is added to the kernel's command line.
    pub kernel_arguments: &'static str,
    /// Whether it has Debian's systemd and perf.
    pub system: bool,
}

/// How many NUMA nodes a [`Machine`] has.
pub const NODES: usize = 3;

/// The node without CPUs.
pub const MEMORY_ONLY_NODE: usize = 2;

impl Machine {
    /// An Intel CPU with ERMS. The vendor counts: QEMU's `mce` command injects what the guest's vendor would raise.
    pub const ERMS: Self = Self {
        architecture: Architecture::X86_64,
        cpu: "Haswell,vendor=GenuineIntel,+erms",
        kernel_arguments: "",
        system: false,
    };

    /// All that the emulator has of aarch64, less what makes it slow: pointers are signed by an algorithm of its own.
    pub const AARCH64: Self =
        Self { architecture: Architecture::Aarch64, cpu: "max,pauth-impdef=on", ..Self::ERMS };

    /// The same machine with systemd and perf.
    pub const fn with_system(self) -> Self {
        Self { system: true, ..self }
    }

    /// The same machine with more on the kernel's command line.
    pub const fn with(self, kernel_arguments: &'static str) -> Self {
        Self { kernel_arguments, ..self }
    }
}
