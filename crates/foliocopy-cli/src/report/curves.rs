//! The charts of lines: throughput against folio size, the times of copies, and copies under load.

use foliocopy_measure::result::{Cell, Latency};
use foliocopy_measure::size::Size;
use maud::{Markup, html};

use super::chart::Chart;
use super::lines::{self, Axis, Line, Plot, Quantity};
use super::panel::prose;
use super::style::Styles;
use super::tables::scrolling;
use crate::latency::Time;
use crate::load::{self, Curve};

/// Times at which an axis may have ticks, in ns: powers of ten first.
fn round_times() -> Vec<f64> {
    let of_decades = |digits: f64| (0..10).map(move |decade| digits * 10f64.powi(decade));
    [1.0, 3.0, 2.0, 5.0, 1.5, 7.0, 4.0, 6.0, 8.0].into_iter().flat_map(of_decades).collect()
}

/// The parts of the copies that a chart of times shows.
const PARTS: [f64; 10] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999];

fn gbps(value: f64) -> String {
    format!("{value:.1} GB/s")
}

fn time(ns: f64) -> String {
    Time(ns as u64).to_string().replace(".00 ", " ").replace(".0 ", " ")
}

/// `99.9 %` of one in a thousand, which stands at 1000.
fn part(rarity: f64) -> String {
    let percent = 100.0 * (1.0 - 1.0 / rarity);
    format!("{} %", (percent * 1e3).round() / 1e3)
}

/// Throughput against what `size` names. `maximum` is the highest throughput that charts beside this one must show as well.
pub(super) fn throughput(title: String, size: &str, lines: &[Line], maximum: f64, styles: &Styles) -> Chart {
    let mut sizes: Vec<u64> =
        lines.iter().flat_map(|line| &line.points).map(|(bytes, _)| *bytes as u64).collect();
    sizes.sort_unstable();
    sizes.dedup();
    // The ends first, then every second power of two of the bytes, then the rest, as far as there is room.
    let ends = sizes.last().into_iter().chain(sizes.first());
    let even = sizes.iter().filter(|bytes| bytes.trailing_zeros() % 2 == 0);
    let ticks = ends.chain(even).chain(&sizes).map(|bytes| *bytes as f64).collect();
    let plot = Plot {
        title,
        subtitle: "GB/s, median of the rounds; higher is better".into(),
        across: Quantity {
            name: size,
            text: &|bytes| Size(bytes as u64).to_string(),
            axis: Axis::Log(ticks),
        },
        up: Quantity { name: "throughput in GB/s", text: &gbps, axis: Axis::Linear(maximum) },
    };
    lines::draw(plot, lines, styles)
}

/// The times of the copies of `cells`, from the median to the rarest that there are copies enough for. `None` where no times
/// were kept.
pub(super) fn times(title: String, cells: &[&Cell], styles: &Styles) -> Option<Chart> {
    let timed = cells.iter().filter_map(|cell| Some((cell, cell.latency.as_ref()?)));
    let lines: Vec<Line> = timed
        .map(|(cell, latency)| Line { contender: cell.contender.clone(), points: quantiles(latency) })
        .filter(|line| !line.points.is_empty())
        .collect();
    (!lines.is_empty()).then(|| {
        let plot = Plot {
            title,
            subtitle: "time of a copy that so many did not exceed; lower is better".into(),
            across: Quantity {
                name: "part of the copies",
                text: &part,
                axis: Axis::Log([0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].map(rarity).to_vec()),
            },
            up: Quantity { name: "time of a copy", text: &time, axis: Axis::Log(round_times()) },
        };
        lines::draw(plot, &lines, styles)
    })
}

/// Of how many copies one takes longer than this part of them.
fn rarity(part: f64) -> f64 {
    1.0 / (1.0 - part)
}

fn quantiles(latency: &Latency) -> Vec<(f64, f64)> {
    let quantile = |part: f64| Some((rarity(part), latency.quantile(part)?.max(1) as f64));
    PARTS.into_iter().filter_map(quantile).collect()
}

/// The figures of [`times`].
pub(super) fn times_table(cells: &[&Cell]) -> Markup {
    let shown = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), |ns| Time(ns).to_string());
    scrolling(
        "Times of copies",
        html! {
            table {
                caption { "Times of a copy. The first after each eviction is not among the others." }
                thead { tr {
                    th scope="col" { "folio" }
                    th.text scope="col" { "contender" }
                    @for name in ["copies", "p50", "p99", "p99.9", "longest", "first after an eviction"] {
                        th scope="col" { (name) }
                    }
                } }
                tbody { @for cell in cells { @if let Some(latency) = &cell.latency { tr {
                    th scope="row" { (Size(cell.folio_bytes)) }
                    td.text { (cell.contender) }
                    td { (latency.count()) }
                    td { (Time(latency.p50_ns)) }
                    td { (shown(latency.p99_ns)) }
                    td { (shown(latency.p99_9_ns)) }
                    td { (Time(latency.max_ns)) }
                    td { (shown(latency.first_median_ns())) }
                } } } }
            }
        },
    )
}

/// Throughput of copies, and where it was kept their median time, against what other threads read meanwhile.
pub(super) fn under_load(heading: &str, curve: &Curve<'_>, styles: &Styles) -> Vec<Chart> {
    let folios = prose(curve.situation.folio_bytes);
    let throughput = Plot {
        title: format!("Throughput at {folios} under load, {heading}"),
        subtitle: "GB/s of the copies; higher is better".into(),
        across: across_load(),
        up: Quantity { name: "throughput in GB/s", text: &gbps, axis: Axis::Linear(0.0) },
    };
    let of_times = Plot {
        title: format!("Time at {folios} under load, {heading}"),
        subtitle: "median time of a copy; lower is better".into(),
        across: across_load(),
        up: Quantity { name: "time of a copy", text: &time, axis: Axis::Log(round_times()) },
    };
    let speeds = lines_of(curve, |cell| Some(cell.median_gbps));
    let times = lines_of(curve, |cell| Some(cell.latency.as_ref()?.p50_ns.max(1) as f64));
    let mut charts = vec![lines::draw(throughput, &speeds, styles)];
    if !times.is_empty() {
        charts.push(lines::draw(of_times, &times, styles));
    }
    charts
}

fn across_load() -> Quantity<'static> {
    Quantity { name: "load: GB/s that other threads read meanwhile", text: &gbps, axis: Axis::Linear(0.0) }
}

/// A line a contender: what the load came to, and what `figure` says of the cell.
fn lines_of(curve: &Curve<'_>, figure: impl Fn(&Cell) -> Option<f64>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for cell in curve.points.iter().flat_map(|(_, cells)| cells) {
        let (Some(load), Some(figure)) = (load::gbps(cell), figure(cell)) else { continue };
        match lines.iter_mut().find(|line| line.contender == cell.contender) {
            Some(line) => line.points.push((load, figure)),
            None => {
                lines.push(Line { contender: cell.contender.clone(), points: vec![(load, figure)] });
            }
        }
    }
    lines.sort_by_key(|line| !line.contender.starts_with("foliocopy"));
    lines
}
