//! The page, section by section.

use foliocopy_measure::kit;
use foliocopy_measure::result::Results;
use foliocopy_measure::verdict::{Percent, Verdict};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::environment;
use super::figures::Figures;
use super::method;
use super::panel::{Machine, is_roofline};
use super::tables;
use crate::conclusion;

/// The report of `machines` (at least one) as one HTML document that refers to nothing outside itself.
pub(crate) fn page(machines: &[Machine<'_>]) -> String {
    let figures = Figures::new(machines);
    let title = title(machines);
    let nodes = figures.nodes();
    let (latencies, loads) = (figures.latencies(), figures.loads());
    let rated = machines.iter().any(|machine| machine.results.tests() > 0);
    let style = [include_str!("tokens.css"), include_str!("page.css"), include_str!("chart.css")].concat();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(crate::PROGRAM);
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body {
                header.top {
                    h1 { (title) }
                    (subtitle(machines))
                    nav aria-label="Sections" { ul {
                        @if !figures.is_empty() {
                            li { a href="#throughput" { "Throughput" } }
                            @if nodes.is_some() { li { a href="#nodes" { "Nodes" } } }
                            @if latencies.is_some() { li { a href="#latency" { "Latency" } } }
                            @if loads.is_some() { li { a href="#load" { "Under load" } } }
                            @if rated { li { a href="#speed-up" { "Speed-up" } } }
                            li { a href="#samples" { "Samples" } }
                            li { a href="#tables" { "Tables" } }
                        }
                        li { a href="#environment" { "Environment" } }
                        li { a href="#method" { "Method" } }
                    } }
                }
                main {
                    div.cards { @for machine in machines { (card(machine, machines.len() > 1)) } }
                    (warnings(machines))
                    @if !figures.is_empty() {
                        section id="throughput" aria-labelledby="throughput-heading" {
                            h2 id="throughput-heading" { "Throughput against size" }
                            (figures.throughputs())
                            @if figures.left_out() > 0 {
                                p { (figures.left_out()) " more situations were measured: they are in the tables." }
                            }
                        }
                        @if let Some(nodes) = nodes {
                            section id="nodes" aria-labelledby="nodes-heading" {
                                h2 id="nodes-heading" { "From node to node" }
                                (nodes)
                            }
                        }
                        @if let Some(latencies) = latencies {
                            section id="latency" aria-labelledby="latency-heading" {
                                h2 id="latency-heading" { "Times of single copies" }
                                p.soft { "How long a copy takes that so many of all do not exceed: the median at the left, one in a thousand at 99.9 %. The first copy after each eviction is not among them, and stands in the table." }
                                (latencies)
                            }
                        }
                        @if let Some(loads) = loads {
                            section id="load" aria-labelledby="load-heading" {
                                h2 id="load-heading" { "Under load" }
                                p.soft { "Copies while other threads read memory. A point is a number of such threads; it stands at what they read while the copies were timed." }
                                (loads)
                            }
                        }
                        @if rated {
                            section id="speed-up" aria-labelledby="speed-up-heading" {
                                h2 id="speed-up-heading" { "Speed-up" }
                                p.soft { "How many times as fast as the baseline. A solid bar is faster or slower by the verdict's rule, for all cells together; a pale one is not shown to be." }
                                (figures.speed_ups())
                            }
                        }
                        section id="samples" aria-labelledby="samples-heading" {
                            h2 id="samples-heading" { "Distribution of the samples" }
                            p.soft { "Two clouds in a row mean that the machine had two speeds: then trust the ratio, which is taken within a round, and not the mean." }
                            (figures.distributions())
                        }
                        section id="tables" aria-labelledby="tables-heading" {
                            h2 id="tables-heading" { "Tables" }
                            @for machine in machines {
                                @for panel in figures.panels_of(machine).take(if machine.results.tests() > 0 { 4 } else { 0 }) {
                                    h3 { (figures.heading(panel)) }
                                    (tables::speed_up(panel))
                                }
                                @if !machine.results.environment.emulated {
                                    details.bulk {
                                        summary { "All " (machine.results.cells.len()) " cells" @if machines.len() > 1 { " of " (machine.name) } }
                                        (tables::cells(machine.results))
                                    }
                                }
                            }
                        }
                    }
                    section id="environment" aria-labelledby="environment-heading" {
                        h2 id="environment-heading" { "Environment" }
                        (environment::table(machines))
                    }
                    section id="method" aria-labelledby="method-heading" {
                        h2 id="method-heading" { "Method" }
                        @for paragraph in methods(machines) { p { (code(&paragraph)) } }
                    }
                }
                footer { p { "Made by " code { "foliocopy report" } " from " (machines.len()) @if machines.len() == 1 { " run" } @else { " runs" } ". The page holds all it shows and fetches nothing." } }
            }
        }
    }
    .into_string()
}

fn title(machines: &[Machine<'_>]) -> String {
    let mut cpus: Vec<String> = machines.iter().map(|machine| environment::cpu(machine.results)).collect();
    cpus.dedup();
    match (machines.len(), &cpus[..]) {
        (1, [cpu]) => format!("Page copies on {cpu}"),
        // They may be one machine at several times, or several machines that are alike.
        (runs, [cpu]) => format!("Page copies on {cpu}, {runs} runs"),
        (machines, _) => format!("Page copies on {machines} machines"),
    }
}

fn subtitle(machines: &[Machine<'_>]) -> Markup {
    let cells: usize = machines.iter().map(|machine| machine.results.cells.len()).sum();
    html! {
        p.soft {
            @if let [machine] = machines {
                "Measured " (machine.results.started) " by " (machine.results.program) ": "
            }
            (cells) " cells"
            @if let [machine] = machines {
                @if let Some(hypervisor) = &machine.results.environment.hypervisor { ", under " (hypervisor) }
            }
            "."
        }
    }
}

fn card(machine: &Machine<'_>, named: bool) -> Markup {
    let results = machine.results;
    let verdicts = Verdict::all(results);
    html! {
        section.card {
            h2 {
                @if named { (machine.name) }
                @else if kit::is_log(results) { "A log of AMD's folio-bench-kit" }
                @else if is_roofline(results) { "Limits" }
                @else if let [verdict] = &verdicts[..] { (verdict.contender) " against " (verdict.baseline) }
                @else { "Against " (results.parameters.baseline) }
            }
            @if results.environment.emulated {
                p { "This CPU is emulated: what its copies take says nothing about any machine, so no speed is shown. The " (results.cells.len()) " cells were measured and checked." }
            } @else if !verdicts.is_empty() {
                @for verdict in &verdicts { (judged(results, verdict, verdicts.len() > 1)) }
                @if named { p.soft { "On " (environment::cpu(results)) "." } }
                @if conclusion::is_of_copies(results) { (tables::choices(results)) }
            } @else if is_roofline(results) {
                p { "These are the limits of this machine's memory, and the primitives against the fastest copy." }
            } @else if kit::is_log(results) {
                p { "It has the throughput of " (results.environment.kernel) ", and no baseline in the same rounds: the charts have what it has." }
            } @else {
                p { "foliocopy itself was not measured against a baseline here: the charts have what was." }
            }
        }
    }
}

/// A verdict in figures and in words, and what to do.
fn judged(results: &Results, verdict: &Verdict<'_>, named: bool) -> Markup {
    let effect = Percent(verdict.rule.minimal_effect);
    html! {
        @if named { h3 { (verdict.contender) } }
        dl.tiles {
            @for (kind, mean) in &verdict.geometric_means {
                div {
                    dt { "geometric mean" @if !kind.is_empty() { ", " (kind) } }
                    dd { (format!("{:.2}×", mean.median)) small { (format!("{:.2} to {:.2}", mean.low, mean.high)) } }
                }
            }
            div {
                dt { "faster / slower" }
                dd { (verdict.faster.len()) " / " (verdict.slower.len()) small { "of " (verdict.cells) " cells" } }
            }
        }
        @if verdict.is_open() {
            p { strong { "There were too few rounds to tell whether it is slower than " (verdict.baseline) " by more than " (effect) "." } }
        } @else if verdict.is_good() {
            p.good { strong { "No cell is " @if !verdict.undecided.is_empty() { "shown to be " } "slower than " (verdict.baseline) " by more than " (effect) "." } }
        } @else {
            p.bad { strong { "Slower than " (verdict.baseline) " by more than " (effect) " in " (verdict.slower.len()) " of " (verdict.cells) " cells:" } " "
                @for (index, cell) in verdict.slower.iter().take(12).enumerate() { @if index > 0 { ", " } (cell.situation()) }
                @if verdict.slower.len() > 12 { " and " (verdict.slower.len() - 12) " more" }
                "."
            }
        }
        p { (code(&conclusion::advice(results, verdict))) }
        @if !verdict.is_open() && !verdict.undecided.is_empty() {
            details {
                summary { (verdict.undecided.len()) " cells are undecided" }
                ul { @for line in verdict.open_questions() { li { (line) } } }
            }
        }
    }
}

fn warnings(machines: &[Machine<'_>]) -> Markup {
    html! {
        @for machine in machines {
            @let results = machine.results;
            @if !results.warnings.is_empty() || !results.complete {
                section.card.note {
                    h2 { "Doubtful" @if machines.len() > 1 { ": " (machine.name) } }
                    ul {
                        @if !results.complete { li { "The run was interrupted: these are the figures that it had until then." } }
                        @for warning in &results.warnings { li { (code(warning)) } }
                    }
                }
            }
        }
    }
}

/// The paragraphs that differ: machines measured the same way share one.
fn methods(machines: &[Machine<'_>]) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    for machine in machines {
        let paragraph = method::paragraph(machine.results);
        if !paragraphs.contains(&paragraph) {
            paragraphs.push(paragraph);
        }
    }
    paragraphs
}

/// Prose in which `backticks` are code.
fn code(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
