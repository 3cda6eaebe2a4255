//! Rows as the source of a file in `crates/foliocopy/src/tuning`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use foliocopy::{Band, Bands, Limit, Primitive, Row, Step};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const PAGE: usize = 4 * KIB;

/// The file for the CPU called `name`, as rustfmt leaves it but for its line breaks.
pub(crate) fn source(name: &str, process: &Row, kernel: &Row) -> String {
    let mut body = String::new();
    let _ = write!(
        body,
        "pub(super) static MEASURED: Measured = Measured {{\n    name: \"measured on {name}\",\n    process: &[{}],\n    kernel: &[{}],\n}};\n",
        row(process),
        row(kernel)
    );
    let constants: Vec<&str> =
        ["KIB", "MIB", "Measured", "PAGE"].into_iter().filter(|word| uses(&body, word)).collect();
    let steps: Vec<&str> =
        ["Band", "Bands", "Limit", "Row", "Step"].into_iter().filter(|word| uses(&body, word)).collect();
    let primitives: BTreeSet<String> = [process, kernel]
        .into_iter()
        .flat_map(|row| [&row.temporal, &row.non_temporal, &row.auto])
        .flat_map(|bands| bands.as_slice())
        .flat_map(|band| band.step.primitives())
        .map(variant)
        .collect();
    format!(
        "//! {name}: see docs/tuning-notes.md, {name:?}.\n\n\
         use super::{{{}}};\n\
         use crate::primitive::Primitive::{{{}}};\n\
         use crate::step::{{{}}};\n\n{body}",
        constants.join(", "),
        primitives.into_iter().collect::<Vec<_>>().join(", "),
        steps.join(", ")
    )
}

/// Whether the text has the word.
fn uses(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_alphanumeric()).any(|found| found == word)
}

fn row(row: &Row) -> String {
    format!(
        "Row {{\n        temporal: {},\n        non_temporal: {},\n        auto: {},\n    }}",
        bands(&row.temporal),
        bands(&row.non_temporal),
        bands(&row.auto)
    )
}

fn bands(bands: &Bands) -> String {
    match bands.as_slice() {
        [only] => format!("Bands::always({})", step(only.step)),
        several => {
            let lines: Vec<String> =
                several.iter().map(|one| format!("            {},\n", band(one))).collect();
            format!("Bands::of(&[\n{}        ])", lines.concat())
        }
    }
}

fn band(band: &Band) -> String {
    match band.up_to {
        Limit::Bytes(bytes) => format!("Band::up_to({}, {})", length(bytes), step(band.step)),
        Limit::LastLevelCache => {
            format!("Band {{ up_to: Limit::LastLevelCache, step: {} }}", step(band.step))
        }
        Limit::Unlimited => format!("Band::rest({})", step(band.step)),
    }
}

/// Such as `256 * KIB - PAGE`.
fn length(bytes: usize) -> String {
    let whole = |bytes: usize| match bytes {
        MIB => "MIB".to_owned(),
        bytes if bytes.is_multiple_of(MIB) => format!("{} * MIB", bytes / MIB),
        bytes => format!("{} * KIB", bytes / KIB),
    };
    let next = bytes + PAGE;
    if next.is_power_of_two() && next > 2 * PAGE { format!("{} - PAGE", whole(next)) } else { whole(bytes) }
}

fn step(step: Step) -> String {
    match step {
        Step::Copy { by, distance: 0 } => format!("Step::copy({})", variant(by)),
        Step::Copy { by, distance } => format!("Step::Copy {{ by: {}, distance: {distance} }}", variant(by)),
        Step::TimeFirstPage { first, rest, burst } => format!(
            "Step::TimeFirstPage {{ first: {}, rest: {}, burst: {burst} }}",
            variant(first),
            variant(rest)
        ),
        Step::Glance { near, far, distance } => {
            format!("Step::Glance {{ near: {}, far: {}, distance: {distance} }}", variant(near), variant(far))
        }
    }
}

fn variant(primitive: Primitive) -> String {
    format!("{primitive:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Primitive::{Avx2, Avx2Nt, Movnti, RepMovsb};

    #[test]
    fn a_row_reads_like_source() {
        let process = Row {
            temporal: Bands::of(&[Band::up_to(16 * KIB, Step::copy(Avx2)), Band::rest(Step::copy(RepMovsb))]),
            non_temporal: Bands::always(Step::copy(Avx2Nt)),
            auto: Bands::of(&[
                Band::up_to(MIB - PAGE, Step::copy(RepMovsb)),
                Band::rest(Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 4096 }),
            ]),
        };
        let text = source("Zen 9", &process, &Row::always(Movnti));
        for expected in [
            "use super::{KIB, MIB, Measured, PAGE};\n",
            "use crate::primitive::Primitive::{Avx2, Avx2Nt, Movnti, RepMovsb};\n",
            "use crate::step::{Band, Bands, Row, Step};\n",
            "            Band::up_to(16 * KIB, Step::copy(Avx2)),\n            Band::rest(Step::copy(RepMovsb)),\n        ]),\n",
            "Band::up_to(MIB - PAGE, Step::copy(RepMovsb)),\n",
            "Band::rest(Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 4096 }),\n",
            "        auto: Bands::always(Step::copy(Movnti)),\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn lengths_are_written_as_people_do() {
        let lengths = [4 * KIB, 8 * KIB, 28 * KIB, 64 * KIB, 252 * KIB, 2 * MIB - PAGE, MIB];
        assert_eq!(
            lengths.map(length),
            [
                "4 * KIB",
                "8 * KIB",
                "32 * KIB - PAGE",
                "64 * KIB",
                "256 * KIB - PAGE",
                "2 * MIB - PAGE",
                "MIB"
            ]
        );
    }
}
