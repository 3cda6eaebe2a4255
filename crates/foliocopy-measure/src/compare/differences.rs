//! Finds differences between the machines and the parameters of two measurements.

use std::collections::BTreeMap;
use std::fmt;

use crate::kit;
use crate::result::{Environment, Results};
use crate::size::Size;

/// A difference between two measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The name of the field, such as `microcode`.
    pub what: &'static str,
    /// The value in the old measurement.
    pub old: String,
    /// The value in the new one.
    pub new: String,
    /// Whether a comparison across it has to be forced, since it answers no question.
    pub forbids: bool,
}

/// Such as `microcode: 0xa0011d5, then 0xa0011de`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &'_ str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
        write!(f, "{}: {}, then {}", self.what, shown(&self.old), shown(&self.new))
    }
}

/// The differences between the CPUs, the parameters and the environments of two measurements.
///
/// Another CPU, other parameters or an emulator forbid a comparison: the ratio would be that of two questions. Other
/// microcode, kernels and governors are told and allowed, since comparisons are made for them. A log of AMD's kit leaves the CPU
/// and most parameters open: they are allowed too, since its cells have what matters.
pub fn differences(old: &Results, new: &Results) -> Vec<Difference> {
    let mut found = Vec::new();
    let all_told = !kit::is_log(old) && !kit::is_log(new);
    let mut note = |forbids: bool, what: &'static str, tell: &dyn Fn(&Results) -> String| {
        let (old, new) = (tell(old), tell(new));
        if old != new {
            found.push(Difference { what, old, new, forbids });
        }
    };
    note(all_told, "CPU", &|results| {
        let cpu = &results.environment.cpu;
        match kit::is_log(results) {
            true => cpu.model_name.clone(),
            false => format!("{} ({} {})", cpu.model_name, cpu.vendor, cpu.signature()),
        }
    });
    note(true, "emulated CPU", &|results| results.environment.emulated.to_string());
    note(true, "masked features", &|results| results.environment.cpu.masked.join(" "));
    note(true, "command", &|results| {
        let same_question = match results.command.as_str() {
            kit::FOLIO => "kernel bench",
            kit::MOVE_PAGES => "migrate",
            command => command,
        };
        same_question.to_owned()
    });
    note(true, "place", &|results| format!("{:?}", results.origin));
    if !all_told {
        note(false, "kernel", &|results| results.environment.kernel.clone());
        note(false, "program", &|results| results.program.clone());
        return found;
    }
    note(true, "bytes of a cold run", &|results| Size(results.parameters.total_bytes_cold).to_string());
    note(true, "bytes of a hot run", &|results| Size(results.parameters.total_bytes_hot).to_string());
    note(true, "bytes evicted", &|results| Size(results.parameters.evict_bytes).to_string());
    note(true, "eviction", &|results| results.parameters.evict.to_string());
    note(true, "memory", &|results| results.parameters.memory.clone());
    note(true, "other parameters", &|results| listed(&results.parameters.other));
    note(false, "baseline", &|results| results.parameters.baseline.clone());
    note(false, "microcode", &|results| results.environment.cpu.microcode.clone().unwrap_or_default());
    note(false, "features", &|results| results.environment.cpu.features.join(" "));
    note(false, "CPUs online", &|results| results.environment.cpu.online_cpus.to_string());
    note(false, "caches", &|results| caches(&results.environment));
    note(false, "kernel", &|results| results.environment.kernel.clone());
    note(false, "hypervisor", &|results| results.environment.hypervisor.clone().unwrap_or_default());
    note(false, "governor", &|results| results.environment.governor.clone().unwrap_or_default());
    note(false, "transparent huge pages", &|results| {
        results.environment.transparent_hugepages.clone().unwrap_or_default()
    });
    note(false, "NUMA balancing", &|results| match results.environment.numa_balancing {
        Some(true) => "on".into(),
        Some(false) => "off".into(),
        None => String::new(),
    });
    note(false, "nodes", &|results| nodes(&results.environment));
    note(false, "program", &|results| results.program.clone());
    note(false, "pinned to CPU", &|results| {
        results.parameters.cpu.map(|cpu| cpu.to_string()).unwrap_or_default()
    });
    note(false, "complete", &|results| results.complete.to_string());
    for contender in &new.parameters.contenders {
        let before = old.parameters.contenders.iter().find(|before| before.name == contender.name);
        if let Some(before) = before.filter(|before| *before != contender) {
            let tell = |contender: &crate::result::Contender| {
                let from = contender.loaded.as_deref().unwrap_or(&contender.description);
                format!("{} is {from}", contender.name)
            };
            found.push(Difference {
                what: "contender",
                old: tell(before),
                new: tell(contender),
                forbids: false,
            });
        }
    }
    found
}

fn listed(other: &BTreeMap<String, String>) -> String {
    other.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn caches(environment: &Environment) -> String {
    let caches = environment.cpu.caches.iter();
    caches.map(|cache| format!("L{} {}", cache.level, Size(cache.bytes))).collect::<Vec<_>>().join(", ")
}

fn nodes(environment: &Environment) -> String {
    let told = environment.nodes.iter().map(|node| {
        let cpus = if node.cpus.is_empty() { "memory only" } else { "with CPUs" };
        format!("{} {cpus}", node.id)
    });
    told.collect::<Vec<_>>().join(", ")
}
