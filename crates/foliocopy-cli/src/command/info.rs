//! `foliocopy info`: what this machine is, what it can run, and what is chosen on it.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use foliocopy::{Cpu, Policy, Primitive, Registers};
use foliocopy_measure::environment;
use foliocopy_measure::result::{Environment, PolicyChoice};
use serde::Serialize;

use crate::exit::Exit;
use crate::header;
use crate::printer;
use crate::profile::Standing;

/// What `foliocopy info` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that is told.
#[derive(Serialize)]
struct Info {
    program: &'static str,
    environment: Environment,
    primitives: Vec<PrimitiveInfo>,
    /// What would be chosen in a kernel, where vector registers belong to the process.
    kernel_policy: Vec<PolicyChoice>,
    /// The profile that counts, or would if it were named.
    profile: Option<Standing>,
}

/// A primitive on this CPU.
#[derive(Serialize)]
struct PrimitiveInfo {
    name: &'static str,
    available: bool,
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
            missing: primitive.missing(cpu).names().collect(),
            kernel: primitive.is_kernel(),
            non_temporal: primitive.is_non_temporal(),
            machine_check_safe: primitive.is_machine_check_safe(),
        }
    }

    fn availability(&self) -> String {
        match (self.available, &self.missing[..]) {
            (true, _) => "available".to_owned(),
            (false, []) => "not on this architecture".to_owned(),
            (false, missing) => format!("this CPU lacks {}", missing.join(", ")),
        }
    }
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let policy = Policy::host()?;
    let environment = environment::detect()?;
    let built_in = Policy::new(*policy.cpu(), Registers::Vector);
    let profile = Standing::at_hand(&built_in, environment.cpu.microcode.as_deref());
    let info = Info {
        program: crate::PROGRAM,
        environment,
        primitives: Primitive::ALL
            .iter()
            .map(|primitive| PrimitiveInfo::new(*primitive, policy.cpu()))
            .collect(),
        kernel_policy: environment::choices(&Policy::new(*policy.cpu(), Registers::GeneralPurpose)),
        profile,
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
    let _ = writeln!(
        text,
        "\nWhat copy_pages chooses in a process:\n{}",
        header::choices(&info.environment.policy)
    );
    let _ = writeln!(text, "What it chooses in a kernel:\n{}", header::choices(&info.kernel_policy));
    text += &match &info.profile {
        Some(profile) => profile.to_string(),
        None => "There is no profile of this CPU: `foliocopy tune` measures one.\n".to_owned(),
    };
    text
}

fn primitives(primitives: &[PrimitiveInfo]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["primitive", "here", "registers", "destination", "machine-check-safe"]);
    for primitive in primitives {
        table.add_row([
            primitive.name.to_owned(),
            primitive.availability(),
            if primitive.kernel { "general-purpose" } else { "vector" }.to_owned(),
            if primitive.non_temporal { "past the cache" } else { "through the cache" }.to_owned(),
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
        assert_eq!(PrimitiveInfo::new(Primitive::Avx512Nt, &cpu).availability(), "this CPU lacks avx512f");
        assert_eq!(PrimitiveInfo::new(Primitive::Portable, &cpu).availability(), "available");
    }
}
