//! The figures as tables.

use foliocopy_measure::choice;
use foliocopy_measure::result::{Cell, Results};
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::{Rule, Standing};
use maud::{Markup, html};

use super::bars::interval;
use super::panel::Panel;
use crate::conclusion;

/// Cells beyond this many are left to the JSON: a browser on a phone would give up on the page.
const MOST_ROWS: usize = 4000;

/// A table that scrolls sideways by itself on a narrow screen, with the keyboard too.
pub(super) fn scrolling(label: &str, table: Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (table) } }
}

/// Medians in GB/s: a row a folio size, a column a contender.
pub(super) fn throughput(panel: &Panel<'_>) -> Markup {
    pivot(panel, &panel.contenders(), "Median GB/s", |cell| {
        Some(html! { (format!("{:.2}", cell.median_gbps)) })
    })
}

/// Which contender to take: a row a folio size, a column a state of the cache. Nothing where nothing is decided.
pub(super) fn choices(results: &Results) -> Markup {
    let choices = choice::choices(results);
    let (columns, several) = conclusion::columns(&choices);
    if choices.iter().all(|choice| choice.cell.is_none()) {
        return html! {};
    }
    scrolling(
        &conclusion::heading(results),
        html! {
            table {
                caption { (conclusion::heading(results)) }
                thead { tr {
                    th scope="col" { "folio" }
                    @for of in &columns { th.text scope="col" { (conclusion::column_name(of, several)) } }
                } }
                tbody {
                    @for bytes in conclusion::sizes(&choices) {
                        tr {
                            th scope="row" { (Size(bytes)) }
                            @for of in &columns {
                                td.text { @match conclusion::find(&choices, of, bytes) {
                                    Some(choice) => { (conclusion::field(choice)) }
                                    None => { "–" }
                                } }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// Speed-ups with their intervals: a row a folio size, a column a contender.
pub(super) fn speed_up(panel: &Panel<'_>) -> Markup {
    let baseline = &panel.machine.results.parameters.baseline;
    let contenders: Vec<&str> = panel.contenders().into_iter().filter(|name| name != baseline).collect();
    let rule = Rule::of(panel.machine.results);
    let caption = format!(
        "Speed-up over {baseline} and its interval, at 99 % for all cells together: {}",
        rule.legend()
    );
    pivot(panel, &contenders, &caption, |cell| {
        let figure = interval(&cell.ratio_to_baseline?.corrected());
        Some(match rule.standing_of(cell)? {
            Standing::Faster => html! { span.good { (figure) " ▲" } },
            Standing::Slower => html! { span.bad { (figure) " ▼" } },
            standing @ (Standing::Even | Standing::Undecided) => html! { (figure) (standing.mark()) },
        })
    })
}

fn pivot(
    panel: &Panel<'_>,
    contenders: &[&str],
    caption: &str,
    show: impl Fn(&Cell) -> Option<Markup>,
) -> Markup {
    scrolling(
        caption,
        html! {
            table {
                caption { (caption) }
                thead { tr { th scope="col" { "folio" } @for name in contenders { th scope="col" { (name) } } } }
                tbody {
                    @for bytes in panel.sizes() {
                        tr {
                            th scope="row" { (Size(bytes)) }
                            @for name in contenders {
                                td { @if let Some(shown) = panel.cell(name, bytes).and_then(&show) { (shown) } @else { "–" } }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// Every cell of `results`.
pub(super) fn cells(results: &Results) -> Markup {
    let baseline = &results.parameters.baseline;
    let rule = Rule::of(results);
    let left_out = results.cells.len().saturating_sub(MOST_ROWS);
    html! {
        (scrolling("All cells", html! {
            table {
                caption { "All cells: GB/s" @if !baseline.is_empty() { ", and the speed-up over " (baseline) } }
                thead { tr {
                    th.text scope="col" { "situation" }
                    th.text scope="col" { "contender" }
                    th scope="col" { "median" }
                    th scope="col" { "mean ± stdev" }
                    th scope="col" { "rounds" }
                    th scope="col" { "speed-up" }
                    th scope="col" { "95 %, alone" }
                    th scope="col" { "99 %, all cells" }
                    th.text scope="col" { "verdict" }
                } }
                tbody { @for cell in results.cells.iter().take(MOST_ROWS) { (row(cell, baseline, rule)) } }
            }
        }))
        @if left_out > 0 { p { (left_out) " more cells are in the JSON file." } }
    }
}

fn row(cell: &Cell, baseline: &str, rule: Rule) -> Markup {
    let ratio = cell.ratio_to_baseline.filter(|_| cell.contender != baseline);
    html! {
        tr {
            th scope="row" { (cell.situation()) }
            td.text { (cell.contender) }
            td { (format!("{:.2}", cell.median_gbps)) }
            td { (format!("{:.2} ± {:.2}", cell.mean_gbps, cell.stdev_gbps)) }
            td { (cell.samples_gbps.len()) }
            @if let Some(ratio) = ratio {
                td { (format!("{:.2}", ratio.interval.median)) }
                td { (format!("{:.2} to {:.2}", ratio.interval.low, ratio.interval.high)) }
                td { (format!("{:.2} to {:.2}", ratio.corrected_low, ratio.corrected_high)) }
                @match rule.standing_of(cell) {
                    Some(Standing::Faster) => { td.text.good { "faster" } }
                    Some(Standing::Slower) => { td.text.bad { "slower" } }
                    Some(standing) => { td.text { (standing) } }
                    None => { td.text { "–" } }
                }
            } @else {
                td { "–" } td { "–" } td { "–" }
                td.text { @if cell.contender == baseline { "baseline" } @else { "no baseline" } }
            }
        }
    }
}
