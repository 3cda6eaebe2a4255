//! Throughput against folio size: one line a contender.

use foliocopy_measure::size::Size;
use maud::{Markup, html};

use super::chart::{Chart, TOP, WIDTH, at, name_column, shortened, spread};
use super::scale::{Linear, Log};
use super::style::Styles;

const HEIGHT: f64 = 300.0;
const LEFT: f64 = 42.0;
const BOTTOM: f64 = HEIGHT - 42.0;
const LABEL_GAP: f64 = 13.0;

/// More lines than this can't be told apart; the table under the chart has them all.
pub(super) const MOST_LINES: usize = 14;

/// One contender's throughput at each folio size, in order of size.
pub(super) struct Line {
    pub(super) contender: String,
    /// Folio size in bytes, and GB/s.
    pub(super) points: Vec<(u64, f64)>,
}

/// Draws `lines` against what `size` names. `maximum` is the highest throughput that charts beside this one must show as well.
pub(super) fn draw(title: String, size: &str, lines: &[Line], maximum: f64, styles: &Styles) -> Chart {
    let sizes = || lines.iter().flat_map(|line| line.points.iter().map(|(bytes, _)| *bytes));
    let (smallest, largest) = (sizes().min().unwrap_or(4096), sizes().max().unwrap_or(4096));
    let right = WIDTH - 8.0 - name_column(lines.iter().map(|line| line.contender.as_str()));
    let across = Log::new(LEFT + 8.0, right - 8.0, smallest as f64, largest as f64);
    let up = Linear::new(BOTTOM, TOP + 6.0, maximum, 5.0);

    let shown = &lines[..lines.len().min(MOST_LINES)];
    let hidden = lines.len() - shown.len();
    let ends: Vec<f64> =
        shown.iter().map(|line| line.points.last().map_or(BOTTOM, |(_, gbps)| up.place(*gbps))).collect();
    let labels = spread(&ends, LABEL_GAP, TOP + 6.0, BOTTOM);

    let mut ticks: Vec<u64> = sizes().collect();
    ticks.sort_unstable();
    ticks.dedup();
    // The ends first, then every second power of two of the bytes, then the rest, as far as there is room.
    let mut candidates = vec![largest as f64, smallest as f64];
    candidates
        .extend(ticks.iter().filter(|bytes| bytes.trailing_zeros() % 2 == 0).map(|bytes| *bytes as f64));
    candidates.extend(ticks.iter().map(|bytes| *bytes as f64));

    let body = html! {
        @for (y, text) in up.ticks() {
            line.grid x1=(LEFT) x2=(at(right)) y1=(at(y)) y2=(at(y)) {}
            text.end x=(LEFT - 6.0) y=(at(y + 3.8)) { (text) }
        }
        line.axis x1=(LEFT) x2=(at(right)) y1=(BOTTOM) y2=(BOTTOM) {}
        @for (x, bytes) in across.ticks(&candidates, 34.0) {
            line.axis x1=(at(x)) x2=(at(x)) y1=(BOTTOM) y2=(BOTTOM + 4.0) {}
            text.middle x=(at(x)) y=(BOTTOM + 16.0) { (Size(bytes as u64)) }
        }
        text.middle x=(at((LEFT + right) / 2.0)) y=(HEIGHT - 8.0) { (size) }
        // The last drawn lies on top: what the reader came for is first in the list.
        @for ((line, end), label) in shown.iter().zip(&ends).zip(&labels).rev() {
            (contender(line, *end, *label, right, &across, &up, styles))
        }
        @if hidden > 0 { text.end x=(WIDTH - 8.0) y=(HEIGHT - 8.0) { (hidden) " more in the table" } }
    };
    Chart {
        title,
        subtitle: "GB/s, median of the rounds; higher is better".into(),
        description: describe(size, lines),
        height: HEIGHT,
        body,
    }
}

fn contender(
    line: &Line,
    end: f64,
    label: f64,
    right: f64,
    across: &Log,
    up: &Linear,
    styles: &Styles,
) -> Markup {
    let style = styles.of(&line.contender);
    let places: Vec<(f64, f64)> =
        line.points.iter().map(|(bytes, gbps)| (across.place(*bytes as f64), up.place(*gbps))).collect();
    let path = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    let last = places.last().map_or(right, |(x, _)| *x);
    html! {
        g class=(style.class) {
            polyline.line.dashed[style.dashed].ours[style.class == "ours"] points=(path) {}
            @for ((x, y), (bytes, gbps)) in places.iter().zip(&line.points) {
                path.mark.hollow[style.dashed] d=(style.marker.path(*x, *y)) {
                    title { (line.contender) ", " (Size(*bytes)) ": " (format!("{gbps:.2}")) " GB/s" }
                }
            }
            line.leader x1=(at(last + 5.0)) x2=(at(right + 4.0)) y1=(at(end)) y2=(at(label)) {}
            text.name x=(at(right + 7.0)) y=(at(label + 3.8)) { (shortened(&line.contender)) }
        }
    }
}

fn describe(size: &str, lines: &[Line]) -> String {
    let mut text = format!("A line chart of throughput in GB/s against {size}.");
    for line in lines {
        let (Some((first, low)), Some((last, high))) = (line.points.first(), line.points.last()) else {
            continue;
        };
        text.push_str(&format!(
            " {}: {low:.1} at {}, {high:.1} at {}.",
            line.contender,
            Size(*first),
            Size(*last)
        ));
    }
    text
}
