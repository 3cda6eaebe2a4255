//! The matrix of nodes: the speed of a copy from each node to each node.

use maud::html;

use super::chart::{Chart, TOP, WIDTH, at};

const LEFT: f64 = 70.0;
const HEADER: f64 = 22.0;

/// One pair of nodes.
pub(super) struct Pair {
    pub(super) src: u32,
    pub(super) dst: u32,
    /// GB/s of the contender that the chart is about.
    pub(super) gbps: f64,
    /// Its speed-up over the baseline, where it has one.
    pub(super) ratio: Option<f64>,
    /// How far the nodes are apart by the machine's own table, where 10 is the node itself.
    pub(super) distance: Option<u32>,
}

impl Pair {
    /// What stands under the throughput, such as `1.31× · d 21`.
    fn beneath(&self) -> String {
        let ratio = self.ratio.map(|ratio| format!("{ratio:.2}×"));
        let distance = self.distance.map(|distance| format!("d {distance}"));
        ratio.into_iter().chain(distance).collect::<Vec<_>>().join(" · ")
    }
}

/// What the figures of a cell are, in the order in which they stand there.
fn subtitle(pairs: &[Pair]) -> String {
    let mut parts = vec!["GB/s"];
    if pairs.iter().any(|pair| pair.ratio.is_some()) {
        parts.push("speed-up over the baseline");
    }
    if pairs.iter().any(|pair| pair.distance.is_some()) {
        parts.push("distance");
    }
    format!("{}; source in rows", parts.join(", "))
}

/// Draws `pairs`: a row a source node, a column a destination node.
pub(super) fn draw(title: String, pairs: &[Pair]) -> Chart {
    let (sources, destinations) = (nodes(pairs, |pair| pair.src), nodes(pairs, |pair| pair.dst));
    let maximum = pairs.iter().map(|pair| pair.gbps).fold(f64::MIN_POSITIVE, f64::max);
    let width = ((WIDTH - LEFT - 12.0) / destinations.len().max(1) as f64).min(96.0);
    let height = width.clamp(34.0, 48.0);
    let top = TOP + HEADER;
    let bottom = top + height * sources.len() as f64;
    let body = html! {
        @for (column, node) in destinations.iter().enumerate() {
            text.middle x=(at(LEFT + width * (column as f64 + 0.5))) y=(top - 7.0) { "to " (node) }
        }
        @for (row, src) in sources.iter().enumerate() {
            @let y = top + height * row as f64;
            text.end x=(LEFT - 8.0) y=(at(y + height / 2.0 + 4.0)) { "node " (src) }
            @for (column, dst) in destinations.iter().enumerate() {
                @let x = LEFT + width * column as f64;
                @if let Some(pair) = pairs.iter().find(|pair| pair.src == *src && pair.dst == *dst) {
                    // Up to 0.25 the text keeps its contrast on the tint, light and dark.
                    rect.cell x=(at(x)) y=(at(y)) width=(at(width)) height=(at(height)) rx="5"
                        fill-opacity=(format!("{:.2}", 0.03 + 0.22 * pair.gbps / maximum)) {
                        title { "node " (src) " to node " (dst) ": " (format!("{:.2}", pair.gbps)) " GB/s" }
                    }
                    text.strong.middle x=(at(x + width / 2.0)) y=(at(y + height / 2.0 - 1.0)) { (format!("{:.1}", pair.gbps)) }
                    text.middle x=(at(x + width / 2.0)) y=(at(y + height / 2.0 + 13.0)) { (pair.beneath()) }
                } @else {
                    rect.cell.none x=(at(x)) y=(at(y)) width=(at(width)) height=(at(height)) rx="5" {}
                    text.middle x=(at(x + width / 2.0)) y=(at(y + height / 2.0 + 4.0)) { "–" }
                }
            }
        }
    };
    Chart { title, subtitle: subtitle(pairs), description: describe(pairs), height: bottom + 12.0, body }
}

fn nodes(pairs: &[Pair], side: fn(&Pair) -> u32) -> Vec<u32> {
    let mut nodes: Vec<u32> = pairs.iter().map(side).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn describe(pairs: &[Pair]) -> String {
    let mut text = String::from("Throughput between NUMA nodes.");
    for pair in pairs {
        text.push_str(&format!(" From {} to {}: {:.1} GB/s", pair.src, pair.dst, pair.gbps));
        if let Some(ratio) = pair.ratio {
            text.push_str(&format!(", {ratio:.2} times the baseline"));
        }
        if let Some(distance) = pair.distance {
            text.push_str(&format!(", distance {distance}"));
        }
        text.push('.');
    }
    text
}
