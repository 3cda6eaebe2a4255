//! Lines of contenders: throughput against folio size, times of copies, copies under load.

use maud::{Markup, html};

use super::chart::{Chart, TOP, WIDTH, at, name_column, shortened, spread};
use super::scale::{Linear, Log};
use super::style::Styles;

const HEIGHT: f64 = 300.0;
const LEFT: f64 = 42.0;
/// Where an axis has units beside its numbers.
const LEFT_WITH_UNITS: f64 = 58.0;
const BOTTOM: f64 = HEIGHT - 42.0;
const LABEL_GAP: f64 = 13.0;

/// More lines than this can't be told apart; the table under the chart has them all.
pub(super) const MOST_LINES: usize = 14;

/// One contender's points, from left to right.
pub(super) struct Line {
    pub(super) contender: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// What one axis shows.
pub(super) enum Axis {
    /// From zero to this, at least.
    Linear(f64),
    /// Between the values of the points, with a tick at each of these that has room, the most important first.
    Log(Vec<f64>),
}

/// A quantity along an axis.
pub(super) struct Quantity<'a> {
    pub(super) name: &'a str,
    /// A value in words, for ticks and for points. Linear axes write their own ticks.
    pub(super) text: &'a dyn Fn(f64) -> String,
    pub(super) axis: Axis,
}

/// What is drawn, but for its lines.
pub(super) struct Plot<'a> {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) across: Quantity<'a>,
    pub(super) up: Quantity<'a>,
}

/// An axis in the chart's units.
enum Scale {
    Linear(Linear),
    Log(Log, Vec<(f64, f64)>),
}

impl Scale {
    /// `room` is what a logarithmic axis leaves beyond its values at each end, as a factor.
    fn new(
        axis: &Axis,
        (start, end): (f64, f64),
        (gap, room): (f64, f64),
        values: impl Iterator<Item = f64>,
    ) -> Self {
        match axis {
            Axis::Linear(least) => Self::Linear(Linear::new(start, end, values.fold(*least, f64::max), 5.0)),
            Axis::Log(candidates) => {
                let (low, high) = values
                    .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
                // Without a point there is nothing to place.
                let (low, high) = if low <= high && low > 0.0 { (low, high) } else { (1.0, 1.0) };
                let log = Log::new(start, end, low / room, high * room);
                let ticks = log.ticks(candidates, gap);
                Self::Log(log, ticks)
            }
        }
    }

    fn place(&self, value: f64) -> f64 {
        match self {
            Self::Linear(linear) => linear.place(value),
            Self::Log(log, _) => log.place(value),
        }
    }

    fn ticks(&self, quantity: &Quantity<'_>) -> Vec<(f64, String)> {
        match self {
            Self::Linear(linear) => linear.ticks(),
            Self::Log(_, ticks) => {
                ticks.iter().map(|(place, value)| (*place, (quantity.text)(*value))).collect()
            }
        }
    }
}

/// Draws `lines`.
pub(super) fn draw(plot: Plot<'_>, lines: &[Line], styles: &Styles) -> Chart {
    let Plot { title, subtitle, across, up } = plot;
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let left = if matches!(up.axis, Axis::Log(_)) { LEFT_WITH_UNITS } else { LEFT };
    let right = WIDTH - 8.0 - name_column(lines.iter().map(|line| line.contender.as_str()));
    let horizontal =
        Scale::new(&across.axis, (left + 8.0, right - 8.0), (34.0, 1.0), points().map(|(x, _)| x));
    let vertical = Scale::new(&up.axis, (BOTTOM, TOP + 6.0), (22.0, 1.15), points().map(|(_, y)| y));

    let shown = &lines[..lines.len().min(MOST_LINES)];
    let hidden = lines.len() - shown.len();
    let end = |line: &Line| line.points.last().map_or(BOTTOM, |(_, y)| vertical.place(*y));
    let ends: Vec<f64> = shown.iter().map(end).collect();
    let labels = spread(&ends, LABEL_GAP, TOP + 6.0, BOTTOM);
    let body = html! {
        @for (y, text) in vertical.ticks(&up) {
            line.grid x1=(left) x2=(at(right)) y1=(at(y)) y2=(at(y)) {}
            text.end x=(left - 6.0) y=(at(y + 3.8)) { (text) }
        }
        line.axis x1=(left) x2=(at(right)) y1=(BOTTOM) y2=(BOTTOM) {}
        @for (x, text) in horizontal.ticks(&across) {
            line.axis x1=(at(x)) x2=(at(x)) y1=(BOTTOM) y2=(BOTTOM + 4.0) {}
            text.middle x=(at(x)) y=(BOTTOM + 16.0) { (text) }
        }
        text.middle x=(at((left + right) / 2.0)) y=(HEIGHT - 8.0) { (across.name) }
        // The last drawn lies on top: what the reader came for is first in the list.
        @for ((line, end), label) in shown.iter().zip(&ends).zip(&labels).rev() {
            (contender(line, (*end, *label, right), (&horizontal, &across), (&vertical, &up), styles))
        }
        @if hidden > 0 { text.end x=(WIDTH - 8.0) y=(HEIGHT - 8.0) { (hidden) " more in the table" } }
    };
    Chart { title, subtitle, description: describe(&across, &up, lines), height: HEIGHT, body }
}

fn contender(
    line: &Line,
    (end, label, right): (f64, f64, f64),
    (horizontal, across): (&Scale, &Quantity<'_>),
    (vertical, up): (&Scale, &Quantity<'_>),
    styles: &Styles,
) -> Markup {
    let style = styles.of(&line.contender);
    let places: Vec<(f64, f64)> =
        line.points.iter().map(|(x, y)| (horizontal.place(*x), vertical.place(*y))).collect();
    let path = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    let last = places.last().map_or(right, |(x, _)| *x);
    html! {
        g class=(style.class) {
            polyline.line.dashed[style.dashed].ours[style.class == "ours"] points=(path) {}
            @for ((x, y), (across_value, up_value)) in places.iter().zip(&line.points) {
                path.mark.hollow[style.dashed] d=(style.marker.path(*x, *y)) {
                    title { (line.contender) ", " ((across.text)(*across_value)) ": " ((up.text)(*up_value)) }
                }
            }
            line.leader x1=(at(last + 5.0)) x2=(at(right + 4.0)) y1=(at(end)) y2=(at(label)) {}
            text.name x=(at(right + 7.0)) y=(at(label + 3.8)) { (shortened(&line.contender)) }
        }
    }
}

fn describe(across: &Quantity<'_>, up: &Quantity<'_>, lines: &[Line]) -> String {
    let mut text = format!("A line chart of {} against {}.", up.name, across.name);
    for line in lines {
        let (Some((first, low)), Some((last, high))) = (line.points.first(), line.points.last()) else {
            continue;
        };
        text.push_str(&format!(
            " {}: {} at {}, {} at {}.",
            line.contender,
            (up.text)(*low),
            (across.text)(*first),
            (up.text)(*high),
            (across.text)(*last)
        ));
    }
    text
}
