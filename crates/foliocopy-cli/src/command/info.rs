//! `foliocopy info`: this machine, its primitives, and how foliocopy copies on it.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use foliocopy::{Cpu, Policy, Primitive, Registers};
use foliocopy_measure::environment;
use foliocopy_measure::result::{Environment, PolicyTables};
use foliocopy_measure::warning::UNMEASURED_ADVICE;
use serde::Serialize;

use crate::exit::Exit;
use crate::header;
use crate::mask::MaskArg;
use crate::printer;
use crate::profile::Standing;
use crate::wrap::paragraph;

/// Arguments of `foliocopy info`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mask: MaskArg,
}

/// All that is told.
#[derive(Serialize)]
struct Info {
    program: &'static str,
    environment: Environment,
    primitives: Vec<PrimitiveInfo>,
    /// How the kernel module copies, where vector registers belong to the process. There is none for aarch64.
    kernel_tables: Option<PolicyTables>,
    /// The profile in use.
    profile: Option<Standing>,
    /// Advice for a CPU that was never measured.
    advice: Option<&'static str>,
}

/// A primitive on this CPU.
#[derive(Serialize)]
struct PrimitiveInfo {
    name: &'static str,
    available: bool,
    /// Whether it is one of this architecture.
    #[serde(skip)]
    built: bool,
    /// Features that it needs and this CPU lacks or the mask hides.
    missing: Vec<&'static str>,
    kernel: bool,
    non_temporal: bool,
    machine_check_safe: bool,
}

impl PrimitiveInfo {
    fn new(primitive: Primitive, cpu: &Cpu) -> Self {
        Self {
            name: primitive.name(),
            available: primitive.is_available(cpu),
            built: primitive.is_built(),
            missing: primitive.missing(cpu).names().collect(),
            kernel: primitive.is_kernel(),
            non_temporal: primitive.is_non_temporal(),
            machine_check_safe: primitive.is_machine_check_safe(),
        }
    }

    fn availability(&self) -> String {
        match &self.missing[..] {
            _ if self.available => "available".to_owned(),
            _ if !self.built => "not on this architecture".to_owned(),
            missing => format!("this CPU lacks {}", missing.join(", ")),
        }
    }
}

/// The state of this architecture.
const AARCH64: &str = "\
On aarch64 everything was tested under emulation. Nothing was measured: no machine has been at hand.
To change that, send the file of `foliocopy survey`. The kernel module is for x86-64 alone.
";

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    args.mask.apply(None);
    let environment = environment::detect()?;
    let (policy, report) = (Policy::host(), Policy::host_report());
    let microcode = environment.cpu.microcode.as_deref();
    let profile = report.profile.and_then(|file| Standing::of(file, policy, microcode));
    let kernel_cpu = environment::as_the_kernel_sees(policy.cpu());
    let kernel_tables = (!cfg!(target_arch = "aarch64"))
        .then(|| environment::tables(&Policy::new(kernel_cpu, Registers::GeneralPurpose)));
    let unmeasured =
        environment.tables.general || kernel_tables.as_ref().is_some_and(|tables| tables.general);
    let info = Info {
        program: crate::PROGRAM,
        environment,
        primitives: Primitive::ALL
            .iter()
            .map(|primitive| PrimitiveInfo::new(*primitive, policy.cpu()))
            .collect(),
        kernel_tables,
        profile,
        advice: unmeasured.then_some(UNMEASURED_ADVICE),
    };
    let text = if args.json { serde_json::to_string_pretty(&info)? + "\n" } else { text(&info) };
    printer::print(text)?;
    Ok(Exit::Good.into())
}

fn text(info: &Info) -> String {
    let mut text = header::environment(&info.environment);
    let distances = &info.environment.node_distances;
    if distances.len() > 1 {
        for (node, row) in info.environment.nodes.iter().zip(distances) {
            let row: Vec<String> = row.iter().map(u32::to_string).collect();
            let _ = writeln!(text, "distances from node {}: {}", node.id, row.join(" "));
        }
    }
    let _ = writeln!(text, "\n{}", primitives(&info.primitives).trim_fmt());
    let places =
        [("in a process", Some(&info.environment.tables)), ("in a kernel", info.kernel_tables.as_ref())];
    for (place, tables) in places.into_iter().filter_map(|(place, tables)| Some((place, tables?))) {
        let _ = write!(
            text,
            "\nHow pages are copied {place} ({}):\n{}",
            tables.source,
            header::tables(tables, None)
        );
    }
    let _ = match &info.profile {
        Some(profile) => write!(text, "\n{profile}"),
        None => writeln!(text, "\nNo profile is in use: `foliocopy tune` measures one."),
    };
    for problem in &info.environment.left_aside {
        text += &paragraph(&format!("Left aside: {problem}"));
    }
    if let Some(advice) = info.advice {
        text += &paragraph(&format!("No measured table fits this CPU. {advice}"));
    }
    if cfg!(target_arch = "aarch64") {
        text += &paragraph(AARCH64);
    }
    text
}

fn primitives(primitives: &[PrimitiveInfo]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["primitive", "here", "registers", "destination", "mc-safe"]);
    for primitive in primitives {
        table.add_row([
            primitive.name.to_owned(),
            primitive.availability(),
            if primitive.kernel { "general" } else { "vector" }.to_owned(),
            if primitive.non_temporal { "past the cache" } else { "in the cache" }.to_owned(),
            if primitive.machine_check_safe { "yes" } else { "no" }.to_owned(),
        ]);
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cpu_lacks_is_named() {
        let cpu = Cpu::UNKNOWN;
        let (lacking, reason) = match cfg!(target_arch = "aarch64") {
            true => (Primitive::Mops, "this CPU lacks mops"),
            false => (Primitive::Avx512Nt, "this CPU lacks avx512f"),
        };
        assert_eq!(PrimitiveInfo::new(lacking, &cpu).availability(), reason);
        assert_eq!(PrimitiveInfo::new(Primitive::Portable, &cpu).availability(), "available");
    }
}
