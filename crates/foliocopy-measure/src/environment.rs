//! Detects the machine and the environment of a measurement.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use foliocopy::{
    Caches, CopyError, Cpu, Features, Locality, Microarchitecture, Policy, Source, Vendor, copy_pages,
};

use crate::cgroup;
use crate::latency::TimeStampCounter;
use crate::result::{CpuIdentity, Environment, PolicyBand, PolicyTables};
use crate::text::{harmless, shown};
use crate::topology::Topology;

/// The vendor of QEMU's emulator in CPUID leaf 0x4000_0000 (target/i386/cpu.c).
const EMULATOR: &str = "TCGTCGTCGTCG";

/// This machine, as [`Policy::host`] sees its CPU.
///
/// # Errors
///
/// [`CopyError::Environment`] where copies are refused: an environment variable or a profile can't be followed, and
/// `FOLIOCOPY_STRICT=1` is set.
pub fn detect() -> Result<Environment, CopyError> {
    // No page: nothing is copied, and every reason to refuse a copy is told.
    copy_pages(&mut [], &[])?;
    let (policy, report) = (Policy::host(), Policy::host_report());
    let topology = Topology::detect();
    let hypervisor = hypervisor();
    Ok(Environment {
        cpu: cpu(policy.cpu(), &topology),
        kernel: kernel(),
        emulated: hypervisor.as_deref() == Some(EMULATOR),
        hypervisor: hypervisor.map(|vendor| hypervisor_name(&vendor).to_owned()),
        nodes: topology.nodes,
        node_distances: topology.distances,
        governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        transparent_hugepages: text("/sys/kernel/mm/transparent_hugepage/enabled")
            .and_then(|modes| chosen(&modes).map(str::to_owned)),
        // 1 is balancing, 2 is tiering: both move pages (Documentation/admin-guide/sysctl/kernel.rst).
        numa_balancing: text("/proc/sys/kernel/numa_balancing").map(|mode| mode != "0"),
        load_average: text("/proc/loadavg").and_then(|text| load_average(&text)),
        cpu_quota: cgroup::cpu_quota(Path::new("/")),
        unmounted: ["/proc/self", "/sys/devices"]
            .iter()
            .filter(|folder| !Path::new(folder).exists())
            .filter_map(|folder| Some(Path::new(folder).parent()?.display().to_string()))
            .collect(),
        tsc_hz: TimeStampCounter::detect().hertz(),
        tables: tables(policy),
        profile: report.profile.map(shown),
        left_aside: report
            .problems
            .iter()
            .map(|problem| harmless(&problem.to_string()).into_owned())
            .collect(),
    })
}

fn cpu(cpu: &Cpu, topology: &Topology) -> CpuIdentity {
    let cpuinfo = cpuinfo();
    let field = |name: &str| cpuinfo_field(cpuinfo, name).map(|value| harmless(value).into_owned());
    let detected = Cpu::detect().features();
    let masked = detected.without(cpu.features());
    let kernel = kernel_features(cpuinfo).unwrap_or(detected.intersection(KERNEL_FEATURES));
    CpuIdentity {
        vendor: field("vendor_id").unwrap_or_else(|| cpu.vendor().name().to_owned()),
        model_name: field("model name").unwrap_or_else(|| match cpu.microarchitecture() {
            _ if !cpu.is_aarch64() => String::new(),
            Microarchitecture::Unknown => format!("{} CPU", cpu.vendor().name()),
            known => format!("{} {}", cpu.vendor().name(), known.name()),
        }),
        family: cpu.family(),
        model: cpu.model(),
        stepping: cpu.stepping(),
        microarchitecture: match cpu.microarchitecture() {
            Microarchitecture::Unknown => None,
            known => Some(known.name().to_owned()),
        },
        microcode: field("microcode"),
        features: names(cpu.features()),
        masked: names(masked),
        kernel_lacks: names(detected.intersection(KERNEL_FEATURES).without(kernel)),
        kernel_adds: names(kernel.without(detected)),
        online_cpus: topology.online_cpus.len() as u32,
        caches: topology.caches.clone(),
    }
}

/// The CPU of results, as far as a policy asks: it explains, and copies nothing.
pub fn described(identity: &CpuIdentity) -> Cpu {
    let vendor = match identity.vendor.as_str() {
        "GenuineIntel" => Vendor::Intel,
        "AuthenticAMD" => Vendor::Amd,
        "HygonGenuine" => Vendor::Hygon,
        "CentaurHauls" => Vendor::Centaur,
        "  Shanghai  " | "Shanghai" => Vendor::Zhaoxin,
        name => *Vendor::ALL.iter().find(|vendor| vendor.name() == name).unwrap_or(&Vendor::Other),
    };
    let features = identity.features.iter().filter_map(|name| name.parse().ok());
    let cache = |level| {
        let of_level = identity.caches.iter().filter(|cache| cache.level == level);
        of_level.map(|cache| cache.bytes as usize).max().unwrap_or(0)
    };
    Cpu::foreign(
        vendor,
        [identity.family, identity.model, identity.stepping],
        features.fold(Features::NONE, Features::union),
        Caches { l1d: cache(1), l2: cache(2), l3: cache(3) },
    )
}

/// The CPU of results as the kernel saw it: [`described`], less the features that the kernel does without.
pub fn described_kernel(identity: &CpuIdentity) -> Cpu {
    let lacks = identity.kernel_lacks.iter().filter_map(|name| name.parse().ok());
    described(identity).without(lacks.fold(Features::NONE, Features::union))
}

/// Features by which Linux decides how it copies, and foliocopy in a kernel.
const KERNEL_FEATURES: Features =
    Features::ERMS.union(Features::FSRM).union(Features::REP_GOOD).union(Features::MOVDIR64B);

/// `cpu` as the running kernel sees it, which may have been told to do without some of it (`clearcpuid=`), or find that
/// its firmware switched something off. Where /proc/cpuinfo does not tell, as CPUID has it.
pub fn as_the_kernel_sees(cpu: &Cpu) -> Cpu {
    match kernel_features(cpuinfo()) {
        Some(features) => cpu.without(KERNEL_FEATURES.without(features)),
        None => *cpu,
    }
}

/// Those of [`KERNEL_FEATURES`] that /proc/cpuinfo shows. `None` where it shows no flags.
fn kernel_features(cpuinfo: &str) -> Option<Features> {
    let flags = cpuinfo_field(cpuinfo, "flags")?;
    let shown = |feature: &Features| {
        let mut names = feature.names();
        names.all(|name| flags.split_ascii_whitespace().any(|flag| flag == name))
    };
    let each = [Features::ERMS, Features::FSRM, Features::REP_GOOD, Features::MOVDIR64B];
    Some(each.into_iter().filter(shown).fold(Features::NONE, Features::union))
}

/// /proc/cpuinfo, read once: a large machine takes its time for it. On aarch64 it adds nothing to what [`Cpu`] knows.
fn cpuinfo() -> &'static str {
    static CPUINFO: LazyLock<String> = LazyLock::new(|| match cfg!(target_arch = "x86_64") {
        true => fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
        false => String::new(),
    });
    &CPUINFO
}

/// Name, release and version of the kernel, by uname(2).
fn kernel() -> String {
    // SAFETY: arrays of characters, for which zero is a value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: writes the struct it is given.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return String::new();
    }
    let field = |field: &[libc::c_char]| {
        let bytes: Vec<u8> =
            field.iter().take_while(|byte| **byte != 0).map(|byte| byte.to_ne_bytes()[0]).collect();
        harmless(&String::from_utf8_lossy(&bytes)).into_owned()
    };
    [&name.sysname[..], &name.release, &name.version].map(field).join(" ")
}

fn names(features: Features) -> Vec<String> {
    features.names().map(str::to_owned).collect()
}

/// The value of the first line `name : value` of /proc/cpuinfo.
fn cpuinfo_field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// The policy's tables.
pub fn tables(policy: &Policy) -> PolicyTables {
    let bands = |locality: &Locality| {
        let name = locality.name();
        policy.bands(*locality).map(move |(up_to, step)| PolicyBand {
            locality: name.to_owned(),
            up_to: (up_to != usize::MAX).then_some(up_to as u64),
            step: step.to_string(),
        })
    };
    PolicyTables {
        source: policy.source().text().to_owned(),
        general: policy.source() == Source::GENERAL,
        bands: Locality::ALL.iter().flat_map(bands).collect(),
    }
}

/// The one in brackets, as in `always [madvise] never`.
fn chosen(modes: &str) -> Option<&str> {
    Some(modes.split_once('[')?.1.split_once(']')?.0)
}

fn load_average(text: &str) -> Option<[f64; 3]> {
    let mut averages = text.split_ascii_whitespace().map_while(|word| word.parse().ok());
    Some([averages.next()?, averages.next()?, averages.next()?])
}

/// The vendor in CPUID leaf 0x4000_0000; `None` on bare metal.
#[cfg(target_arch = "x86_64")]
fn hypervisor() -> Option<String> {
    use std::arch::x86_64::__cpuid;

    if !Cpu::detect().has(Features::HYPERVISOR) {
        return None;
    }
    let leaf = __cpuid(0x4000_0000);
    let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx].into_iter().flat_map(u32::to_le_bytes).collect();
    Some(harmless(String::from_utf8_lossy(&bytes).trim_matches(['\0', ' '])).into_owned())
}

/// What firmware says of the machine, for CPUs without CPUID. No CPU that anybody made has the implementer 0, which QEMU's
/// emulator gives its own.
#[cfg(not(target_arch = "x86_64"))]
fn hypervisor() -> Option<String> {
    let firmware = |field: &str| text(Path::new("/sys/class/dmi/id").join(field));
    match firmware("product_name").as_deref() {
        _ if Cpu::detect().family() == 0 => Some(EMULATOR.to_owned()),
        Some("QEMU Virtual Machine") => Some(EMULATOR.to_owned()),
        Some("KVM Virtual Machine") => Some("KVMKVMKVM".to_owned()),
        _ => firmware("sys_vendor").filter(|vendor| vendor == "QEMU"),
    }
}

/// Vendors by the names that people know.
fn hypervisor_name(vendor: &str) -> &str {
    match vendor {
        "KVMKVMKVM" => "KVM",
        "Microsoft Hv" => "Hyper-V",
        "VMwareVMware" => "VMware",
        "XenVMMXenVMM" => "Xen",
        "bhyve bhyve" => "bhyve",
        "VBoxVBoxVBox" => "VirtualBox",
        EMULATOR => "QEMU TCG",
        "" => "unknown",
        other => other,
    }
}

fn text(file: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(harmless(text.trim()).into_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy::Registers;

    #[test]
    fn this_machine_is_known() {
        let environment = detect().unwrap();
        assert!(environment.kernel.starts_with("Linux "), "{}", environment.kernel);
        assert!(!environment.cpu.vendor.is_empty());
        assert!(environment.cpu.online_cpus > 0);
        let unlimited = environment.tables.bands.iter().filter(|band| band.up_to.is_none());
        assert_eq!(unlimited.count(), Locality::ALL.len());
        assert!(!environment.tables.source.is_empty());
        assert!(environment.load_average.is_some());
    }

    /// What is written of a CPU tells how a policy copies on it.
    #[test]
    fn a_cpu_that_was_written_down_is_copied_on_as_it_was() {
        let environment = detect().unwrap();
        let host = *Policy::host().cpu();
        for (described, here, registers) in [
            (described(&environment.cpu), host, Registers::Vector),
            (described_kernel(&environment.cpu), as_the_kernel_sees(&host), Registers::GeneralPurpose),
        ] {
            let [described, here] = [described, here].map(|cpu| tables(&Policy::new(cpu, registers)));
            assert_eq!(described, here);
        }
        let identity = CpuIdentity { kernel_lacks: vec!["erms".into()], ..environment.cpu };
        assert!(!described_kernel(&identity).has(Features::ERMS));
    }

    #[test]
    fn files_of_the_kernel_are_understood() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen(""), None);
        assert_eq!(load_average("0.50 1.25 2.00 1/100 4242"), Some([0.5, 1.25, 2.0]));
        assert_eq!(load_average("0.50"), None);
        let cpuinfo = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7713\nmicrocode\t: 0xa0011d5\n";
        assert_eq!(cpuinfo_field(cpuinfo, "model name"), Some("AMD EPYC 7713"));
        assert_eq!(cpuinfo_field(cpuinfo, "microcode"), Some("0xa0011d5"));
        assert_eq!(cpuinfo_field(cpuinfo, "flags"), None);
    }

    #[test]
    fn what_the_kernel_does_without_is_not_its_cpu() {
        let cpuinfo = |flags: &str| format!("processor\t: 0\nflags\t\t: fpu {flags} sse2\n");
        let features = |flags: &str| kernel_features(&cpuinfo(flags)).unwrap();
        assert_eq!(features("erms fsrm rep_good movdir64b"), KERNEL_FEATURES);
        assert_eq!(features("fsrm rep_good"), Features::FSRM.union(Features::REP_GOOD));
        assert_eq!(features("ermsx"), Features::NONE);
        assert_eq!(kernel_features("processor\t: 0\n"), None);
        let cpu = Policy::host().cpu().without(Features::ERMS);
        assert!(!as_the_kernel_sees(&cpu).has(Features::ERMS), "the mask counts too");
    }

    #[test]
    fn an_emulator_is_named() {
        assert_eq!(hypervisor_name(EMULATOR), "QEMU TCG");
        assert_eq!(hypervisor_name("KVMKVMKVM"), "KVM");
        assert_eq!(hypervisor_name("SomethingNew"), "SomethingNew");
    }
}
