//! The method, in a paragraph: the same words wherever figures leave the program.

use foliocopy_measure::result::{Evict, Origin, Parameters, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::{Percent, Rule};

/// The method of `results`, and the meaning of their figures.
pub(crate) fn paragraph(results: &Results) -> String {
    let rule = Rule::of(results);
    format!(
        "{} A speed-up is the median over the rounds of the ratio to `{}` within the round, so that what slows the \
         whole machine cancels out; its interval is the sign test's. A cell is faster or slower only where the interval at \
         99 % for all cells together (Bonferroni) lies wholly beyond {}, the smallest difference that counts, and undecided \
         where it is too wide to tell. Throughput is decimal GB/s and counts a copied byte once; folio sizes are \
         binary. Absolute figures of a shared machine drift by a factor of two within minutes: compare ratios, not \
         machines' GB/s.",
        what_ran(results),
        results.parameters.baseline,
        Percent(rule.minimal_effect)
    )
}

fn what_ran(results: &Results) -> String {
    let Parameters { evict_bytes, evict, .. } = results.parameters;
    match results.command.as_str() {
        "roofline" => "Plain loops read, wrote and copied buffers that fit into each cache and into none. Every loop ran \
                       in every round, in shuffled order; the copy limit is the fastest copying loop, chosen in one half of the rounds and taken \
                       from the other."
            .to_owned(),
        "migrate" => "Anonymous memory was moved from node to node by move_pages(2), and its contents were verified. \
                      Every method ran in every round, in shuffled order."
            .to_owned(),
        "against" => "An old and a new build copied real memory in the same rounds, in shuffled order: plain copies of the C \
                      libraries in one process, everything else by short runs of two."
            .to_owned(),
        _ => {
            let place = match results.origin {
                Origin::UserSpace => "in a process",
                Origin::Kernel => "in the kernel",
            };
            let cold = match (evict_bytes, evict) {
                (0, _) => String::new(),
                (bytes, Evict::Read) => format!(" Before each cold run {} were read through the caches.", Size(bytes)),
                (bytes, Evict::Write) => format!(
                    " Before each cold run {} were written through the caches, which left them full of dirty lines.",
                    Size(bytes)
                ),
            };
            format!(
                "Real memory was copied {place}. Every contender ran in every round, in shuffled order, over folios \
                 in shuffled order.{cold}"
            )
        }
    }
}
