//! The steps that a table can have.

use foliocopy::{Cpu, Locality, Policy, Primitive, Registers, Step};

/// The prefetch distances that are tried, in bytes.
const DISTANCES: [u32; 6] = [0, 512, 1024, 2048, 4096, 8192];

/// The bursts that are tried after a slow first page, in bytes.
const BURSTS: [u32; 2] = [0, 16 << 10];

/// Copies by every primitive that the CPU has, at every distance; at few of them, where `brief`.
pub(super) fn copies(cpu: &Cpu, brief: bool) -> Vec<Step> {
    let is_tried = |by: Primitive, distance: u32| {
        by.prefetches(distance) && !(brief && by.is_non_temporal() && ![0, 1024, 4096].contains(&distance))
    };
    let available = Primitive::ALL.iter().copied().filter(|by| by.is_available(cpu));
    // Where foliocopy has loops of its own, the compiler's says nothing new.
    let ours = available.filter(|by| {
        *by != Primitive::Portable || !(Primitive::Movq.is_built() || Primitive::LdpStp.is_built())
    });
    let of = |by| DISTANCES.into_iter().filter(move |distance| is_tried(by, *distance));
    ours.flat_map(|by| of(by).map(move |distance| Step::Copy { by, distance })).collect()
}

/// First pages by each vector loop, and the rest by one of `rests`.
pub(super) fn first_pages(cpu: &Cpu, rests: &[Primitive]) -> Vec<Step> {
    let vectors = Primitive::ALL.iter().copied().filter(|by| {
        by.is_available(cpu) && !by.is_kernel() && !by.is_non_temporal() && *by != Primitive::Portable
    });
    vectors
        .flat_map(|first| rests.iter().map(move |rest| (first, *rest)))
        .filter(|(first, rest)| first != rest)
        .flat_map(|(first, rest)| BURSTS.map(|burst| Step::TimeFirstPage { first, rest, burst }))
        .collect()
}

/// Probes that choose between one of `nears` and one of `fars`.
pub(super) fn probes(nears: &[Primitive], fars: &[Step]) -> Vec<Step> {
    let pairs = nears.iter().flat_map(|near| fars.iter().map(move |far| (*near, *far)));
    pairs
        .filter_map(|(near, far)| match far {
            Step::Copy { by: far, distance } => Some(Step::Glance { near, far, distance }),
            _ => None,
        })
        .collect()
}

/// The built-in steps for such a length: of the CPU's row and of the general rule, in a process and, where there is a
/// module, in a kernel.
pub(super) fn built_in(cpu: &Cpu, kernel: &Cpu, bytes: u64) -> Vec<Step> {
    let module = (!kernel.is_aarch64()).then_some((kernel, Registers::GeneralPurpose));
    let policies = [(cpu, Registers::Vector)].into_iter().chain(module).flat_map(|(cpu, registers)| {
        [*cpu, cpu.without(foliocopy::Features::ROW)].map(|cpu| Policy::new(cpu, registers))
    });
    let mut steps = Vec::new();
    for policy in policies {
        for locality in Locality::ALL {
            push(&mut steps, policy.step(*locality, bytes as usize));
        }
    }
    steps
}

/// Adds a step that is not there yet.
pub(super) fn push(steps: &mut Vec<Step>, step: Step) {
    if !steps.contains(&step) {
        steps.push(step);
    }
}

/// Whether code with these registers may use the step.
pub(super) fn allows(registers: Registers, step: Step) -> bool {
    let [one, other] = step.primitives();
    registers == Registers::Vector || one.is_kernel() && other.is_kernel()
}

/// Whether it copies through the cache alone.
pub(super) fn is_through(step: Step) -> bool {
    !step.primitives().iter().any(|by| by.is_non_temporal())
}

/// Whether it is a copy past the cache, without a probe.
pub(super) fn is_past(step: Step) -> bool {
    matches!(step, Step::Copy { by, .. } if by.is_non_temporal())
}
