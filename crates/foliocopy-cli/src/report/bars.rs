//! Speed-ups with their intervals: a bar from 1.0 for every contender, grouped by folio size.
//!
//! The axis is logarithmic, so that twice as fast and half as fast are bars of one length.

use foliocopy_measure::statistics::Interval;
use maud::{Markup, html};

use super::chart::{Chart, TOP, WIDTH, at, name_column, shortened};
use super::scale::Log;
use super::style::Styles;

const RIGHT: f64 = WIDTH - 52.0;
const ROW: f64 = 17.0;
const GROUP: f64 = 21.0;
const BAR: f64 = 10.0;

/// More bars than this are a wall, not a chart; the groups between are left to the table.
const MOST_BARS: usize = 72;

/// The bars under one heading.
pub(super) struct Group {
    /// The folio size, say.
    pub(super) heading: String,
    pub(super) bars: Vec<Bar>,
}

/// One bar.
pub(super) struct Bar {
    /// The text to the left of the bar.
    pub(super) label: String,
    /// The contender whose style the bar has.
    pub(super) contender: String,
    pub(super) ratio: Interval,
    /// Whether it is faster or slower: such a bar is solid, the others are pale.
    pub(super) decided: bool,
}

const TICKS: [f64; 25] = [
    1.0, 2.0, 0.5, 4.0, 0.25, 1.5, 0.75, 3.0, 0.1, 10.0, 1.25, 0.9, 0.6, 1.1, 0.8, 1.75, 0.4, 0.7, 1.2, 1.3,
    1.4, 2.5, 0.3, 6.0, 100.0,
];

/// The lowest and the highest ratio of some bars' intervals, and 1 with some room around it.
///
/// Ratios beyond a hundredfold either way are drawn at the edge.
#[derive(Clone, Copy)]
pub(super) struct Range {
    low: f64,
    high: f64,
}

impl Range {
    pub(super) fn of(ratios: impl Iterator<Item = Interval>) -> Self {
        let start = Self { low: 0.9, high: 1.1 };
        let range = ratios.fold(start, |range, ratio| Self {
            low: range.low.min(ratio.low),
            high: range.high.max(ratio.high),
        });
        Self { low: range.low.max(0.01) / 1.04, high: range.high.min(100.0) * 1.04 }
    }
}

/// Draws `groups` on an axis of `range`; `reference` names what 1.0 is.
pub(super) fn draw(
    title: String,
    subtitle: String,
    reference: &str,
    groups: &[Group],
    range: Range,
    styles: &Styles,
) -> Chart {
    let total: usize = groups.iter().map(|group| group.bars.len()).sum();
    let shown = thin(groups, total);
    let left = 12.0 + name_column(shown.iter().flat_map(|group| &group.bars).map(|bar| bar.label.as_str()));
    let across = Log::new(left, RIGHT, range.low, range.high);

    let top = TOP + 14.0;
    let mut y = top;
    let rows = html! {
        @for group in &shown {
            text.strong x="12" y=(at({ y += GROUP; y - 6.0 })) { (group.heading) }
            @for bar in &group.bars {
                (row(bar, { y += ROW; y - ROW / 2.0 }, left, &across, styles))
            }
        }
    };
    let bottom = y + 4.0;
    let hidden = groups.len() - shown.len();
    let body = html! {
        @for (x, value) in across.ticks(&TICKS, 32.0) {
            line.grid x1=(at(x)) x2=(at(x)) y1=(top) y2=(at(bottom)) {}
            text.middle x=(at(x)) y=(top - 5.0) { (value) }
            text.middle x=(at(x)) y=(at(bottom + 14.0)) { (value) }
        }
        (rows)
        line.axis x1=(at(across.place(1.0))) x2=(at(across.place(1.0))) y1=(top) y2=(at(bottom)) {}
        text.middle x=(at((left + RIGHT) / 2.0)) y=(at(bottom + 31.0)) {
            "1 = " (reference) "; pale: may be chance"
        }
        @if hidden > 0 {
            text.middle x=(at((left + RIGHT) / 2.0)) y=(at(bottom + 46.0)) { (hidden) " more sizes are in the table" }
        }
    };
    Chart {
        title,
        subtitle,
        description: describe(&shown, reference),
        height: bottom + if hidden > 0 { 55.0 } else { 40.0 },
        body,
    }
}

/// As many groups as fit, evenly over all of them, the first and the last among them.
fn thin(groups: &[Group], total: usize) -> Vec<&Group> {
    if total <= MOST_BARS || groups.len() < 3 {
        return groups.iter().collect();
    }
    let keep = (groups.len() * MOST_BARS / total).clamp(2, groups.len());
    (0..keep).map(|index| &groups[index * (groups.len() - 1) / (keep - 1)]).collect()
}

fn row(bar: &Bar, y: f64, left: f64, across: &Log, styles: &Styles) -> Markup {
    let one = across.place(1.0);
    let (low, median, high) =
        (across.place(bar.ratio.low), across.place(bar.ratio.median), across.place(bar.ratio.high));
    html! {
        g class=(styles.of(&bar.contender).class) {
            text.name.end x=(at(left - 7.0)) y=(at(y + 3.8)) { (shortened(&bar.label)) }
            rect.bar.undecided[!bar.decided] x=(at(median.min(one))) y=(at(y - BAR / 2.0))
                width=(at((median - one).abs())) height=(BAR) {
                title { (bar.label) ": " (interval(&bar.ratio)) }
            }
            path.whisker d={ "M" (at(low)) " " (at(y)) "H" (at(high))
                "M" (at(low)) " " (at(y - 3.0)) "v6M" (at(high)) " " (at(y - 3.0)) "v6" } {}
        }
        text.strong x=(RIGHT + 8.0) y=(at(y + 3.8)) { (format!("{:.2}×", bar.ratio.median)) }
    }
}

/// `1.34 (1.30 to 1.39)`.
pub(super) fn interval(ratio: &Interval) -> String {
    format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.low, ratio.high)
}

fn describe(groups: &[&Group], reference: &str) -> String {
    let mut text = format!("Bars of the speed-up over {reference} with intervals.");
    for group in groups {
        text.push_str(&format!(" {}:", group.heading));
        for bar in &group.bars {
            text.push_str(&format!(" {} {},", bar.label, interval(&bar.ratio)));
        }
        text.pop();
        text.push('.');
    }
    text
}
