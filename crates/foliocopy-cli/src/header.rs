//! What was measured on, in the lines above a table.

use std::fmt::Write;

use foliocopy_measure::result::{Environment, Parameters, PolicyChoice};
use foliocopy_measure::size::Size;

/// The environment as lines of `name: value`.
pub(crate) fn environment(environment: &Environment) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{:<12}{value}", format!("{name}:"));
    };
    let cpu = &environment.cpu;
    line("CPU", cpu_name(environment));
    line("features", features(environment));
    if !cpu.caches.is_empty() {
        let caches: Vec<String> =
            cpu.caches.iter().map(|cache| format!("L{} {}", cache.level, Size(cache.bytes))).collect();
        line("caches", caches.join(", "));
    }
    line("kernel", environment.kernel.clone());
    let hypervisor = environment.hypervisor.as_deref().unwrap_or("none");
    line(
        "hypervisor",
        if environment.emulated { format!("{hypervisor} (emulated CPU)") } else { hypervisor.into() },
    );
    for node in &environment.nodes {
        let cpus = if node.cpus.is_empty() { "no CPUs".to_owned() } else { format!("CPUs {}", node.cpus) };
        let (memory, free) = (node.memory_bytes >> 20, node.free_bytes >> 20);
        line(&format!("node {}", node.id), format!("{cpus}, {memory} MiB, {free} MiB free"));
    }
    line("system", system(environment));
    text
}

/// The CPU in a line.
fn cpu_name(environment: &Environment) -> String {
    let cpu = &environment.cpu;
    let mut text = if cpu.model_name.is_empty() { cpu.vendor.clone() } else { cpu.model_name.clone() };
    if let Some(name) = &cpu.microarchitecture {
        let _ = write!(text, ", {name}");
    }
    let _ = write!(text, " (family {:#x} model {:#x} stepping {})", cpu.family, cpu.model, cpu.stepping);
    if let Some(microcode) = &cpu.microcode {
        let _ = write!(text, ", microcode {microcode}");
    }
    let _ = write!(text, ", {} CPUs", cpu.online_cpus);
    text
}

fn features(environment: &Environment) -> String {
    let mut text = environment.cpu.features.join(" ");
    if !environment.cpu.masked.is_empty() {
        let _ = write!(text, " (masked: {})", environment.cpu.masked.join(" "));
    }
    for (what, names) in [("without", &environment.cpu.kernel_lacks), ("with", &environment.cpu.kernel_adds)]
    {
        if !names.is_empty() {
            let _ = write!(text, " (the kernel: {what} {})", names.join(" "));
        }
    }
    text
}

/// The switches of the kernel that matter, and the load.
fn system(environment: &Environment) -> String {
    let unknown = "unknown".to_owned();
    let governor = environment.governor.clone().unwrap_or_else(|| unknown.clone());
    let huge_pages = environment.transparent_hugepages.clone().unwrap_or_else(|| unknown.clone());
    let balancing = match environment.numa_balancing {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    let load = environment.load_average.map_or(unknown, |[minute, ..]| format!("{minute:.2}"));
    let counter =
        environment.tsc_hz.map_or("not usable".into(), |hertz| format!("{:.2} GHz", hertz as f64 / 1e9));
    format!("governor {governor}, THP {huge_pages}, numa_balancing {balancing}, load {load}, TSC {counter}")
}

/// What the contenders are, and how they were run.
pub(crate) fn parameters(parameters: &Parameters) -> String {
    let mut text = String::from("contenders:\n");
    let width = parameters.contenders.iter().map(|contender| contender.name.len()).max().unwrap_or(0);
    for contender in &parameters.contenders {
        let _ = writeln!(text, "  {:<width$}  {}", contender.name, contender.description);
    }
    let cpu = parameters.cpu.map_or("any CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    let _ = writeln!(
        text,
        "{} memory, on {cpu}, {} evicted before each cold run, seed {}",
        parameters.memory,
        Size(parameters.evict_bytes),
        parameters.seed
    );
    text
}

/// A line for each run of sizes of a locality that are copied in the same way for the same reason.
pub(crate) fn choices(choices: &[PolicyChoice]) -> String {
    let mut text = String::new();
    for same in
        choices.chunk_by(|one, other| (&one.locality, &one.reason) == (&other.locality, &other.reason))
    {
        let (first, last) = (&same[0], &same[same.len() - 1]);
        let sizes = match same {
            [only] => Size(only.bytes).to_string(),
            _ => format!("{} to {}", Size(first.bytes), Size(last.bytes)),
        };
        let _ = writeln!(text, "  {:<12} {sizes:<12} {}", first.locality, first.reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy_measure::result::{CacheLevel, CpuIdentity, Node};

    #[test]
    fn sizes_that_are_treated_alike_share_a_line() {
        let choice = |bytes, reason: &str| PolicyChoice {
            locality: "auto".into(),
            bytes,
            primitive: "rep_movsb".into(),
            reason: reason.into(),
        };
        let all = [choice(4096, "because"), choice(16384, "because"), choice(65536, "otherwise")];
        let text = choices(&all);
        assert_eq!(text, "  auto         4K to 16K    because\n  auto         64K          otherwise\n");
        assert_eq!(choices(&all[2..]), "  auto         64K          otherwise\n");
    }

    #[test]
    fn tells_all_that_is_known_and_what_is_not() {
        let known = Environment {
            cpu: CpuIdentity {
                vendor: "AuthenticAMD".into(),
                model_name: "AMD EPYC 7713".into(),
                family: 0x19,
                model: 1,
                stepping: 1,
                microarchitecture: Some("Zen 3".into()),
                microcode: Some("0xa0011d5".into()),
                features: vec!["rep_good".into(), "avx2".into()],
                masked: vec!["erms".into()],
                kernel_lacks: vec!["fsrm".into()],
                kernel_adds: vec![],
                online_cpus: 2,
                caches: vec![CacheLevel { level: 3, bytes: 32 << 20, shared_cpus: "0-1".into() }],
            },
            kernel: "Linux 6.18.1".into(),
            hypervisor: Some("KVM".into()),
            nodes: vec![Node { id: 2, cpus: String::new(), memory_bytes: 8 << 30, free_bytes: 4 << 30 }],
            governor: Some("performance".into()),
            numa_balancing: Some(false),
            load_average: Some([0.5, 0.4, 0.3]),
            ..Environment::default()
        };
        let text = environment(&known);
        for expected in [
            "AMD EPYC 7713, Zen 3 (family 0x19 model 0x1 stepping 1), microcode 0xa0011d5, 2 CPUs",
            "rep_good avx2 (masked: erms) (the kernel: without fsrm)",
            "L3 32M",
            "node 2:     no CPUs, 8192 MiB, 4096 MiB free",
            "governor performance, THP unknown, numa_balancing off, load 0.50, TSC not usable",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let emulated =
            Environment { emulated: true, hypervisor: Some("QEMU TCG".into()), ..Environment::default() };
        assert!(environment(&emulated).contains("QEMU TCG (emulated CPU)"));
    }
}
