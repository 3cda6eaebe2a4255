//! The method, in a paragraph: the same words wherever figures leave the program.

use foliocopy_measure::result::{Cache, Evict, Origin, Parameters, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::{Percent, Rule};
use foliocopy_measure::{gate, kit};

/// The method of `results`, and the meaning of their figures.
pub(crate) fn paragraph(results: &Results) -> String {
    let rule = Rule::of(results);
    if kit::is_log(results) {
        return format!(
            "{} Throughput is decimal GB/s and counts a copied byte once; sizes are binary. No two figures were taken within one \
             round, so nothing cancels out, and there is no speed-up: `foliocopy compare` holds several logs of one kernel \
             against several of another.",
            what_ran(results)
        );
    }
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
        kit::FOLIO => "A log of AMD's folio-bench-kit: its module timed the kernel's folio_copy() and folio_mc_copy(), each copy by \
                       itself, over one pair of folios. Before each cold copy it read 128 MiB through the caches. A \
                       sample is a run of one function."
            .to_owned(),
        kit::MOVE_PAGES => "A log of AMD's folio-bench-kit: its program moved anonymous memory between two nodes by \
                            move_pages(2), and did not look at the contents. A sample is a move of all of it."
            .to_owned(),
        gate::COMMAND => "An old and a new build copied real memory in the same rounds, in shuffled order: plain copies of the C \
                      libraries in one process, everything else by short runs of two."
            .to_owned(),
        _ => {
            let place = match results.origin {
                Origin::UserSpace => "in a process",
                Origin::Kernel => "in the kernel",
            };
            if results.origin == Origin::Kernel && results.parameters.preset.is_some() {
                let cold = match results.parameters.cache.contains(&Cache::Cold) {
                    true => format!(
                        " Before each copy both were flushed and {} were read through the caches.",
                        Size(evict_bytes)
                    ),
                    false => String::new(),
                };
                return format!(
                    "A folio was copied to another again and again in the kernel, each copy timed by itself, as a scenario of AMD's \
                     folio-bench-kit has it. Every contender ran in every round, in shuffled order.{cold}"
                );
            }
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
