//! Chooses the charts of a report, and their contents.

use foliocopy_measure::result::Cell;
use foliocopy_measure::size::Size;
use foliocopy_measure::verdict::{Rule, Standing};
use maud::{Markup, html};

use super::bars::{self, Bar, Group, Range};
use super::chart::Chart;
use super::curves;
use super::lines::Line;
use super::matrix::{self, Pair};
use super::panel::{Machine, Panel, is_roofline, prose};
use super::strips::{self, Strip};
use super::style::Styles;
use super::tables;
use crate::{load, table};

/// The panels of a report, and the styles of their contenders.
pub(super) struct Figures<'a> {
    machines: &'a [Machine<'a>],
    panels: Vec<Panel<'a>>,
    styles: Styles,
    /// Whether headings must name the nodes, since the panels differ in them.
    with_nodes: bool,
}

/// Panels that are drawn; a report of a hundred node pairs has the rest in its tables and its matrix.
const MOST_PANELS: usize = 24;

impl<'a> Figures<'a> {
    /// Sorts the cells of `machines`. Emulated ones are left out: an emulator has no speed.
    pub(super) fn new(machines: &'a [Machine<'a>]) -> Self {
        let panels: Vec<Panel<'a>> = machines
            .iter()
            .filter(|machine| !machine.results.environment.emulated)
            .flat_map(Panel::all)
            .collect();
        let styles = Styles::new(
            panels.iter().flat_map(|panel| panel.cells.iter().map(|cell| cell.contender.as_str())),
        );
        let with_nodes = panels.iter().any(|panel| panel.nodes != panels[0].nodes);
        Self { machines, panels, styles, with_nodes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.panels.is_empty()
    }

    fn drawn(&self) -> &[Panel<'a>] {
        &self.panels[..self.panels.len().min(MOST_PANELS)]
    }

    /// Panels that the page leaves to the tables.
    pub(super) fn left_out(&self) -> usize {
        self.panels.len() - self.drawn().len()
    }

    /// The panels of `machine`.
    pub(super) fn panels_of(&self, machine: &Machine<'_>) -> impl Iterator<Item = &Panel<'a>> {
        self.panels.iter().filter(move |panel| panel.machine.name == machine.name)
    }

    /// The words that tell a panel from the others, after the name of the quantity.
    pub(super) fn heading(&self, panel: &Panel<'_>) -> String {
        let heading = panel.heading(self.with_nodes);
        if self.machines.len() > 1 { format!("{heading}, {}", panel.machine.name) } else { heading }
    }

    fn throughput(&self, panel: &Panel<'_>) -> Chart {
        let lines: Vec<Line> = panel
            .contenders()
            .into_iter()
            .map(|contender| Line { contender: contender.to_owned(), points: points(panel, contender) })
            .collect();
        // The machines beside each other, on one scale for each state of the cache.
        let alike = self
            .panels
            .iter()
            .filter(|other| other.cache == panel.cache && other.dimensions == panel.dimensions);
        let maximum = alike.map(Panel::maximum).fold(0.0, f64::max);
        let across = if is_roofline(panel.machine.results) { "working set" } else { "folio size" };
        let title = format!("Throughput, {}", self.heading(panel));
        curves::throughput(title, across, &lines, maximum, &self.styles)
    }

    fn speed_up(&self, panel: &Panel<'_>) -> Option<Chart> {
        let baseline = panel.machine.results.parameters.baseline.as_str();
        let rule = Rule::of(panel.machine.results);
        let groups: Vec<Group> = panel
            .sizes()
            .into_iter()
            .map(|bytes| {
                let cells =
                    panel.contenders().into_iter().filter_map(|contender| panel.cell(contender, bytes));
                Group {
                    heading: prose(bytes),
                    bars: cells.filter_map(|cell| bar(cell, baseline, rule)).collect(),
                }
            })
            .filter(|group| !group.bars.is_empty())
            .collect();
        (!groups.is_empty()).then(|| {
            let title = format!("Speed-up, {}", self.heading(panel));
            // One axis for all panels of a machine: a small gain beside a large one must look small.
            let cells = self.panels_of(panel.machine).flat_map(|panel| &panel.cells);
            let range = Range::of(cells.filter_map(|cell| Some(cell.ratio_to_baseline?.corrected())));
            let subtitle = "paired median ratio, 99 % interval (all cells); right is better".into();
            bars::draw(title, subtitle, baseline, &groups, range, &self.styles)
        })
    }

    /// The first panel of each kind.
    fn kinds<'b>(panels: impl Iterator<Item = &'b Panel<'a>>) -> Vec<&'b Panel<'a>>
    where
        'a: 'b,
    {
        let mut kinds: Vec<&Panel<'a>> = Vec::new();
        for panel in panels {
            if !kinds.iter().any(|kind| kind.is_like(panel)) {
                kinds.push(panel);
            }
        }
        kinds
    }

    /// The machines beside each other: `foliocopy` against the baseline of each.
    fn side_by_side(&self) -> Vec<Chart> {
        if self.machines.len() < 2 {
            return Vec::new();
        }
        let charts: Vec<(&Panel<'_>, Vec<Group>)> = Self::kinds(self.panels.iter())
            .into_iter()
            .map(|kind| (kind, self.machine_groups(kind)))
            .filter(|(_, groups)| !groups.is_empty())
            .collect();
        let bars = charts.iter().flat_map(|(_, groups)| groups).flat_map(|group| &group.bars);
        let range = Range::of(bars.map(|bar| bar.ratio));
        let draw = |(kind, groups): &(&Panel<'_>, Vec<Group>)| {
            let title = format!("foliocopy side by side, {}", kind.heading(false));
            let subtitle = "speed-up, each over its own baseline; right is better".into();
            bars::draw(title, subtitle, "its own baseline", groups, range, &self.styles)
        };
        charts.iter().map(draw).collect()
    }

    /// A group a folio size with a bar a machine, of the panels like `kind`. The first pair of nodes stands for
    /// its machine: nodes of different machines have nothing in common.
    fn machine_groups(&self, kind: &Panel<'_>) -> Vec<Group> {
        let first = |machine| self.panels_of(machine).find(|panel| panel.is_like(kind));
        let panels: Vec<&Panel<'_>> = self.machines.iter().filter_map(first).collect();
        let mut sizes: Vec<u64> = panels.iter().flat_map(|panel| panel.sizes()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let group = |bytes| {
            let bars = panels.iter().filter_map(|panel| {
                let baseline = &panel.machine.results.parameters.baseline;
                let bar = bar(panel.cell("foliocopy", bytes)?, baseline, Rule::of(panel.machine.results))?;
                Some(Bar { label: panel.machine.name.clone(), ..bar })
            });
            Group { heading: prose(bytes), bars: bars.collect() }
        };
        sizes.into_iter().map(group).filter(|group| !group.bars.is_empty()).collect()
    }

    fn distribution(&self, panel: &Panel<'_>, bytes: u64) -> Chart {
        let strips: Vec<Strip> = panel
            .contenders()
            .into_iter()
            .filter_map(|contender| panel.cell(contender, bytes))
            .map(|cell| Strip { contender: cell.contender.clone(), samples: cell.samples_gbps.clone() })
            .collect();
        strips::draw(format!("Samples at {}, {}", prose(bytes), self.heading(panel)), &strips, &self.styles)
    }

    /// The times of the copies of one folio size; `None` where they were not kept.
    fn times(&self, panel: &Panel<'_>, bytes: u64) -> Option<Chart> {
        let cells = panel.contenders().into_iter().filter_map(|contender| panel.cell(contender, bytes));
        let title = format!("Times at {}, {}", prose(bytes), self.heading(panel));
        curves::times(title, &cells.collect::<Vec<_>>(), &self.styles)
    }

    /// The charts of what was measured under load, of `machine`: those of each situation's largest folio, and the others.
    fn under_load(&self, machine: &Machine<'_>) -> (Vec<Chart>, Vec<Chart>) {
        let (mut largest, mut others) = (Vec::new(), Vec::new());
        if machine.results.environment.emulated {
            return (largest, others);
        }
        let dimensions = load::dimensions(machine.results);
        let curves = load::curves(machine.results, &dimensions);
        for curve in &curves {
            let alike = curves.iter().filter(|other| other.situation.kind() == curve.situation.kind());
            let is_largest =
                alike.map(|other| other.situation.folio_bytes).max() == Some(curve.situation.folio_bytes);
            let mut heading = table::situation(machine.results, &curve.situation);
            if self.machines.len() > 1 {
                heading = format!("{heading}, {}", machine.name);
            }
            let charts = curves::under_load(&heading, curve, &self.styles);
            if is_largest { &mut largest } else { &mut others }.extend(charts);
        }
        (largest, others)
    }

    /// The node matrices of `machine`: one for each kind of panel, of its first contender at its largest folio.
    fn matrices(&self, machine: &Machine<'_>) -> Vec<Chart> {
        let with_nodes = || self.panels_of(machine).filter(|panel| panel.nodes.is_some());
        let matrix = |kind: &Panel<'_>| {
            let (contender, bytes) = (*kind.contenders().first()?, *kind.sizes().last()?);
            let pairs: Vec<Pair> = with_nodes()
                .filter(|panel| panel.is_like(kind))
                .filter_map(|panel| {
                    let (cell, (src, dst)) = (panel.cell(contender, bytes)?, panel.nodes?);
                    let rated = cell.contender != machine.results.parameters.baseline;
                    let ratio = cell.ratio_to_baseline.filter(|_| rated).map(|ratio| ratio.interval.median);
                    let distance = machine.results.environment.distance(src, dst);
                    Some(Pair { src, dst, gbps: cell.median_gbps, ratio, distance })
                })
                .collect();
            let mut title = format!("{contender}, {} folios, {}", prose(bytes), kind.heading(false));
            if self.machines.len() > 1 {
                title = format!("{title}, {}", machine.name);
            }
            (pairs.len() > 1).then(|| matrix::draw(title, &pairs))
        };
        Self::kinds(with_nodes()).into_iter().filter_map(matrix).collect()
    }

    /// The section of throughput charts.
    pub(super) fn throughputs(&self) -> Markup {
        self.section(|index, panel| {
            Some(html! {
                figure {
                    (self.throughput(panel).inline(&format!("throughput-{index}")))
                    details { summary { "These figures as a table" } (tables::throughput(panel)) }
                }
            })
        })
    }

    /// The section of speed-ups.
    pub(super) fn speed_ups(&self) -> Markup {
        let machines = self.side_by_side();
        html! {
            @if !machines.is_empty() {
                div.charts {
                    @for (index, chart) in machines.iter().enumerate() {
                        figure { (chart.inline(&format!("machines-{index}"))) }
                    }
                }
            }
            (self.section(|index, panel| {
                let chart = self.speed_up(panel)?;
                Some(html! {
                    figure {
                        (chart.inline(&format!("speed-up-{index}")))
                        details { summary { "These figures as a table" } (tables::speed_up(panel)) }
                    }
                })
            }))
        }
    }

    /// A figure a panel: those of each machine's first pair of nodes in sight, the others behind a click.
    fn section(&self, figure: impl Fn(usize, &Panel<'a>) -> Option<Markup>) -> Markup {
        let first = |panel: &Panel<'_>| {
            self.panels_of(panel.machine).next().is_some_and(|first| first.nodes == panel.nodes)
        };
        let (shown, folded): (Vec<_>, Vec<_>) =
            self.drawn().iter().enumerate().partition(|(_, panel)| first(panel));
        html! {
            div.charts { @for (index, panel) in shown { @if let Some(figure) = figure(index, panel) { (figure) } } }
            @if !folded.is_empty() {
                details {
                    summary { "The other pairs of nodes" }
                    div.charts { @for (index, panel) in folded { @if let Some(figure) = figure(index, panel) { (figure) } } }
                }
            }
        }
    }

    /// The section of node matrices; `None` where no machine measured more than one pair.
    pub(super) fn nodes(&self) -> Option<Markup> {
        let charts: Vec<Chart> = self.machines.iter().flat_map(|machine| self.matrices(machine)).collect();
        (!charts.is_empty()).then(|| {
            html! {
                div.charts {
                    @for (index, chart) in charts.iter().enumerate() {
                        figure { (chart.inline(&format!("nodes-{index}"))) }
                    }
                }
            }
        })
    }

    /// The section of the times of copies: the largest folio in sight, the other sizes behind a click. `None` where none were kept.
    pub(super) fn latencies(&self) -> Option<Markup> {
        let kept = self.panels.iter().flat_map(|panel| &panel.cells).any(|cell| cell.latency.is_some());
        kept.then(|| {
            self.section(|index, panel| {
                let sizes = panel.sizes();
                let (largest, others) = sizes.split_last()?;
                let chart = self.times(panel, *largest)?;
                Some(html! {
                    figure {
                        (chart.inline(&format!("times-{index}")))
                        details { summary { "These figures as a table" } (curves::times_table(&panel.cells)) }
                        @if !others.is_empty() {
                            details.bulk {
                                summary { "The other folio sizes" }
                                @for bytes in others.iter().rev() {
                                    @if let Some(chart) = self.times(panel, *bytes) {
                                        (chart.inline(&format!("times-{index}-{bytes}")))
                                    }
                                }
                            }
                        }
                    }
                })
            })
        })
    }

    /// The section of copies under load; `None` where nothing was loaded.
    pub(super) fn loads(&self) -> Option<Markup> {
        let (mut largest, mut others) = (Vec::new(), Vec::new());
        for machine in self.machines {
            let (shown, folded) = self.under_load(machine);
            largest.extend(shown);
            others.extend(folded);
        }
        let figures = |name: &str, charts: &[Chart]| {
            html! {
                div.charts {
                    @for (index, chart) in charts.iter().enumerate() {
                        figure { (chart.inline(&format!("{name}-{index}"))) }
                    }
                }
            }
        };
        (!largest.is_empty()).then(|| {
            html! {
                (figures("load", &largest))
                @if !others.is_empty() {
                    details { summary { "The other folio sizes" } (figures("load-other", &others)) }
                }
            }
        })
    }

    /// The section of distributions: the largest folio in sight, the other sizes behind a click.
    pub(super) fn distributions(&self) -> Markup {
        self.section(|index, panel| {
            let sizes = panel.sizes();
            let (largest, others) = sizes.split_last()?;
            Some(html! {
                figure {
                    (self.distribution(panel, *largest).inline(&format!("samples-{index}")))
                    @if !others.is_empty() {
                        details.bulk {
                            summary { "The other folio sizes" }
                            @for bytes in others.iter().rev() {
                                (self.distribution(panel, *bytes).inline(&format!("samples-{index}-{bytes}")))
                            }
                        }
                    }
                }
            })
        })
    }
}

/// The charts of `machines` as files: the name of each and its text.
pub(crate) fn files(machines: &[Machine<'_>]) -> Vec<(String, String)> {
    let figures = Figures::new(machines);
    let mut files = Vec::new();
    let mut add = |stem: String, chart: Chart| files.push((format!("{stem}.svg"), chart.file(&stem)));
    for (index, chart) in figures.side_by_side().into_iter().enumerate() {
        add(format!("machines-{}", index + 1), chart);
    }
    for panel in figures.drawn() {
        let number = machines.iter().position(|machine| machine.name == panel.machine.name).unwrap_or(0) + 1;
        let stem = match (machines.len(), panel.file_stem()) {
            (1, stem) => stem,
            (_, stem) => format!("{number}-{stem}"),
        };
        add(format!("throughput-{stem}"), figures.throughput(panel));
        if let Some(chart) = figures.speed_up(panel) {
            add(format!("speedup-{stem}"), chart);
        }
        if let Some(largest) = panel.sizes().last() {
            add(format!("samples-{stem}-{}", Size(*largest)), figures.distribution(panel, *largest));
            if let Some(chart) = figures.times(panel, *largest) {
                add(format!("times-{stem}-{}", Size(*largest)), chart);
            }
        }
    }
    for machine in machines {
        for (index, chart) in figures.matrices(machine).into_iter().enumerate() {
            add(format!("nodes-{}", index + 1), chart);
        }
        for (index, chart) in figures.under_load(machine).0.into_iter().enumerate() {
            add(format!("load-{}", index + 1), chart);
        }
    }
    files
}

fn points(panel: &Panel<'_>, contender: &str) -> Vec<(f64, f64)> {
    let cells = panel.sizes().into_iter().filter_map(|bytes| panel.cell(contender, bytes));
    cells.map(|cell| (cell.folio_bytes as f64, cell.median_gbps)).collect()
}

fn bar(cell: &Cell, baseline: &str, rule: Rule) -> Option<Bar> {
    let ratio = cell.ratio_to_baseline.filter(|_| cell.contender != baseline)?;
    let decided = matches!(rule.standing_of(cell), Some(Standing::Faster | Standing::Slower));
    Some(Bar {
        label: cell.contender.clone(),
        contender: cell.contender.clone(),
        ratio: ratio.corrected(),
        decided,
    })
}
