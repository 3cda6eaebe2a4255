//! The method, in a paragraph: the same words wherever figures leave the program.

use foliocopy_measure::result::{Origin, Parameters, Results};
use foliocopy_measure::size::Size;

/// How `results` were measured and what their figures mean.
pub(crate) fn paragraph(results: &Results) -> String {
    format!(
        "{} A speed-up is the median over the rounds of the ratio to `{}` within the round, so that what slows the \
         whole machine cancels out; its interval is a percentile bootstrap at 95 %. A verdict is given only where the \
         interval, corrected for the number of cells (Bonferroni), excludes 1. Throughput is decimal GB/s and counts a \
         copied byte once; folio sizes are binary. Absolute figures of a shared machine drift by a factor of two \
         within minutes: compare ratios, not machines' GB/s.",
        what_ran(results),
        results.parameters.baseline
    )
}

fn what_ran(results: &Results) -> String {
    let Parameters { evict_bytes, .. } = results.parameters;
    match results.command.as_str() {
        "roofline" => "Plain loops read, wrote and copied buffers that fit into each cache and into none. Every loop ran \
                       in every round, in shuffled order; the copy limit of a round is its fastest copying loop."
            .to_owned(),
        "migrate" => "Anonymous memory was moved from node to node by move_pages(2), and its contents were verified. \
                      Every method ran in every round, in shuffled order."
            .to_owned(),
        _ => {
            let place = match results.origin {
                Origin::UserSpace => "in a process",
                Origin::Kernel => "in the kernel",
            };
            let cold = match evict_bytes {
                0 => String::new(),
                bytes => format!(" Before each cold run {} were streamed through the caches.", Size(bytes)),
            };
            format!(
                "Real memory was copied {place}. Every contender ran in every round, in shuffled order, over folios \
                 in shuffled order.{cold}"
            )
        }
    }
}
