//! The machines of a report beside each other.

use foliocopy_measure::kit;
use foliocopy_measure::result::{Environment, Parameters, Results};
use foliocopy_measure::size::Size;
use maud::{Markup, html};

use super::panel::Machine;

/// One fact: its name, and how to tell it of a machine.
type Fact = (&'static str, fn(&Results) -> Option<String>);

const FACTS: [Fact; 24] = [
    ("CPU", |results| Some(results.environment.cpu.model_name.clone())),
    ("microarchitecture", |results| results.environment.cpu.microarchitecture.clone()),
    ("family, model, stepping", |results| {
        let cpu = &results.environment.cpu;
        Some(format!("{} {}", cpu.vendor, cpu.signature()))
    }),
    ("microcode", |results| results.environment.cpu.microcode.clone()),
    ("features", |results| Some(results.environment.cpu.features.join(" "))),
    ("masked", |results| Some(results.environment.cpu.masked.join(" "))),
    ("caches", |results| Some(caches(&results.environment))),
    ("CPUs online", |results| Some(results.environment.cpu.online_cpus.to_string())),
    ("hypervisor", |results| {
        Some(results.environment.hypervisor.clone().unwrap_or_else(|| "none seen".into()))
    }),
    ("kernel", |results| Some(results.environment.kernel.clone())),
    ("nodes", |results| Some(nodes(&results.environment))),
    ("governor", |results| results.environment.governor.clone()),
    ("transparent huge pages", |results| results.environment.transparent_hugepages.clone()),
    ("NUMA balancing", |results| {
        results.environment.numa_balancing.map(|on| if on { "on" } else { "off" }.to_owned())
    }),
    ("load average", |results| {
        results
            .environment
            .load_average
            .map(|[one, five, fifteen]| format!("{one:.2}, {five:.2}, {fifteen:.2}"))
    }),
    ("time-stamp counter", |results| {
        results.environment.tsc_hz.map(|hz| format!("{:.0} MHz", hz as f64 / 1e6))
    }),
    ("memory", |results| Some(results.parameters.memory.clone())),
    ("bytes a run", |results| {
        let parameters = &results.parameters;
        let of = |name: &str, bytes: u64| (bytes > 0).then(|| format!("{name} {}", Size(bytes)));
        let both = [of("cold", parameters.total_bytes_cold), of("hot", parameters.total_bytes_hot)];
        Some(both.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }),
    ("evicted before a cold run", |results| {
        let Parameters { evict_bytes, evict, .. } = results.parameters;
        (evict_bytes > 0).then(|| format!("{} {}", Size(evict_bytes), evict.done()))
    }),
    ("pinned to CPU", |results| results.parameters.cpu.map(|cpu| cpu.to_string())),
    ("preset", |results| results.parameters.preset.clone()),
    ("program", |results| Some(format!("{}, {}", results.program, results.command))),
    ("measured", |results| {
        Some(match results.elapsed_seconds {
            0.0 => results.started.clone(),
            seconds => format!("{}, for {seconds:.0} s", results.started),
        })
    }),
    ("complete", |results| (!results.complete).then(|| "no: the run was interrupted".into())),
];

/// The facts that a log of AMD's kit may tell.
const OF_LOGS: [&str; 6] = ["CPU", "kernel", "nodes", "evicted before a cold run", "program", "measured"];

/// What `results` tell of a fact.
fn told((name, tell): Fact, results: &Results) -> Option<String> {
    let silent = kit::is_log(results) && !OF_LOGS.contains(&name);
    tell(results).filter(|text| !silent && !text.is_empty())
}

/// The facts of `machines`, a column each. Rows in which they differ are marked.
pub(super) fn table(machines: &[Machine<'_>]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Environment" {
            table.facts {
                @if machines.len() > 1 {
                    caption { "Rows in bold differ." }
                    thead { tr { th.text scope="col" { "" } @for machine in machines { th.text scope="col" { (machine.name) } } } }
                }
                tbody {
                    @for fact @ (name, _) in FACTS {
                        @let told: Vec<_> = machines.iter().map(|machine| told(fact, machine.results)).collect();
                        @if told.iter().any(Option::is_some) {
                            tr.differs[told.iter().any(|text| *text != told[0])] {
                                th scope="row" { (name) }
                                @for text in &told { td { (text.as_deref().unwrap_or("unknown")) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn caches(environment: &Environment) -> String {
    let caches = environment.cpu.caches.iter();
    caches.map(|cache| format!("L{} {}", cache.level, Size(cache.bytes))).collect::<Vec<_>>().join(", ")
}

fn nodes(environment: &Environment) -> String {
    let told = environment.nodes.iter().map(|node| {
        let cpus = if node.cpus.is_empty() { "memory only".into() } else { format!("CPUs {}", node.cpus) };
        format!("{}: {:.1} GiB, {cpus}", node.id, node.memory_bytes as f64 / f64::from(1 << 30))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// The short name of a machine: its CPU, and the microarchitecture where it is known.
pub(super) fn cpu(results: &Results) -> String {
    let cpu = &results.environment.cpu;
    let name = match cpu.model_name.trim() {
        "" => "an unnamed CPU",
        name => name,
    };
    match &cpu.microarchitecture {
        Some(microarchitecture) => format!("{name} ({microarchitecture})"),
        None => name.to_owned(),
    }
}
