//! The machine and the parameters, in the lines above a table.

use std::fmt::Write;

use foliocopy::{Locality, PAGE_SIZE};
use foliocopy_measure::result::{Environment, Parameters, PolicyBand, PolicyTables};
use foliocopy_measure::size::Size;

use crate::wrap::{COLUMNS, paragraph, wrap};

/// The environment as lines of `name: value`.
pub(crate) fn environment(environment: &Environment) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        wrap(&mut text, &format!("{:<12}", format!("{name}:")), &value, COLUMNS);
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
    if let Some(name) = cpu.microarchitecture.as_ref().filter(|name| !text.contains(*name)) {
        let _ = write!(text, ", {name}");
    }
    let _ = match cpu.is_aarch64() {
        true => write!(text, " ({})", cpu.signature()),
        false => write!(text, " (family {:#x} model {:#x} stepping {})", cpu.family, cpu.model, cpu.stepping),
    };
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

/// The contenders, and how they were run.
pub(crate) fn parameters(parameters: &Parameters) -> String {
    let mut text = String::from("contenders:\n");
    let width = parameters.contenders.iter().map(|contender| contender.name.len()).max().unwrap_or(0);
    for contender in &parameters.contenders {
        wrap(&mut text, &format!("  {:<width$}  ", contender.name), &contender.description, COLUMNS);
    }
    let cpu = parameters.cpu.map_or("any CPU".to_owned(), |cpu| format!("CPU {cpu}"));
    let how = format!(
        "{} memory, on {cpu}, {} {} through the caches before each cold run, seed {}",
        parameters.memory,
        Size(parameters.evict_bytes),
        parameters.evict.done(),
        parameters.seed
    );
    text + &paragraph(&how)
}

/// A policy's tables, a line a band, of all localities or of one.
pub(crate) fn tables(tables: &PolicyTables, only: Option<Locality>) -> String {
    let mut text = String::new();
    let of_locality = |band: &&PolicyBand| only.is_none_or(|only| band.locality == only.name());
    let bands: Vec<&PolicyBand> = tables.bands.iter().filter(of_locality).collect();
    for table in bands.chunk_by(|one, other| one.locality == other.locality) {
        let mut from = PAGE_SIZE as u64;
        // Bands that copy alike are one to a reader.
        let alike = table.chunk_by(|one, other| one.step == other.step);
        for (index, band) in alike.filter_map(<[_]>::last).enumerate() {
            let locality = if index == 0 { &*band.locality } else { "" };
            let sizes = match band.up_to {
                Some(up_to) if up_to == from => Size(from).to_string(),
                Some(up_to) => format!("{} to {}", Size(from), Size(up_to)),
                None if index == 0 => "all".to_owned(),
                None => format!("{} and up", Size(from)),
            };
            wrap(&mut text, &format!("  {locality:<12} {sizes:<14} "), &band.step, COLUMNS);
            from = band.up_to.map_or(from, |up_to| up_to + PAGE_SIZE as u64);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy_measure::result::{CacheLevel, CpuIdentity, Node};

    #[test]
    fn a_table_says_from_where_to_where_each_band_goes() {
        let band = |locality: &str, up_to, step: &str| PolicyBand {
            locality: locality.into(),
            up_to,
            step: step.into(),
        };
        let all = PolicyTables {
            bands: vec![
                band("temporal", Some(4096), "rep_movsb"),
                band("temporal", None, "rep_movsb"),
                band("auto", Some(4096), "avx2"),
                band("auto", Some(61440), "rep_movsb"),
                band("auto", None, "avx2_nt"),
            ],
            ..PolicyTables::default()
        };
        let auto = "  auto         4K             avx2\n               8K to 60K      rep_movsb\n               64K and up     avx2_nt\n";
        assert_eq!(tables(&all, Some(Locality::Auto)), auto);
        assert_eq!(tables(&all, None), format!("  temporal     all            rep_movsb\n{auto}"));
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
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "AMD EPYC 7713, Zen 3 (family 0x19 model 0x1 stepping 1), microcode 0xa0011d5, 2 CPUs",
            "rep_good avx2 (masked: erms) (the kernel: without fsrm)",
            "L3 32M",
            "node 2: no CPUs, 8192 MiB, 4096 MiB free",
            "governor performance, THP unknown, numa_balancing off, load 0.50, TSC not usable",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let emulated =
            Environment { emulated: true, hypervisor: Some("QEMU TCG".into()), ..Environment::default() };
        assert!(environment(&emulated).contains("QEMU TCG (emulated CPU)"));
    }
}
