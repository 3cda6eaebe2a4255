//! Steps as contenders: their names, and the steps of these names.

use std::str::FromStr;

use foliocopy::{Primitive, Step};

/// The name of a step: `avx2_nt@4096`, `first:avx2:rep_movsb@16384`, `glance:rep_movsb:avx2_nt@0`.
pub fn step_name(step: Step) -> String {
    match step {
        Step::Copy { by, distance } => format!("{by}@{distance}"),
        Step::TimeFirstPage { first, rest, burst } => format!("first:{first}:{rest}@{burst}"),
        Step::Glance { near, far, distance } => format!("glance:{near}:{far}@{distance}"),
    }
}

/// A step that was read from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepName(pub Step);

/// The text is no name of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoStep;

impl FromStr for StepName {
    type Err = NoStep;

    fn from_str(text: &str) -> Result<Self, NoStep> {
        let (ways, distance) = text.split_once('@').ok_or(NoStep)?;
        let distance: u32 = distance.parse().map_err(|_| NoStep)?;
        let primitive = |name: &str| name.parse::<Primitive>().map_err(|_| NoStep);
        let parts: Vec<&str> = ways.split(':').collect();
        Ok(Self(match parts[..] {
            [by] => Step::Copy { by: primitive(by)?, distance },
            ["first", first, rest] => {
                Step::TimeFirstPage { first: primitive(first)?, rest: primitive(rest)?, burst: distance }
            }
            ["glance", near, far] => Step::Glance { near: primitive(near)?, far: primitive(far)?, distance },
            _ => return Err(NoStep),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Primitive::{Avx2, Avx2Nt, RepMovsb};

    #[test]
    fn every_step_reads_back_by_its_name() {
        for step in [
            Step::copy(RepMovsb),
            Step::Copy { by: Avx2Nt, distance: 4096 },
            Step::TimeFirstPage { first: Avx2, rest: RepMovsb, burst: 16384 },
            Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 0 },
        ] {
            assert_eq!(step_name(step).parse(), Ok(StepName(step)));
        }
        for other in ["avx2", "avx2@", "avx2@x", "peek:avx2:avx2_nt@0", "glance:avx2@0", "@0", "avx9@0"] {
            assert_eq!(other.parse::<StepName>(), Err(NoStep), "{other}");
        }
    }
}
