//! The cells of one chart: of one machine, and different in folio size and contender alone.

use foliocopy_measure::result::{Cache, Cell, Results};
use foliocopy_measure::size::Size;
use std::collections::{BTreeMap, HashMap};

/// Results with the name they have in this report.
pub(crate) struct Machine<'a> {
    /// Unique among the machines of the report.
    pub(crate) name: String,
    pub(crate) results: &'a Results,
}

/// One situation with all its folio sizes.
pub(super) struct Panel<'a> {
    pub(super) machine: &'a Machine<'a>,
    pub(super) cache: Option<Cache>,
    pub(super) nodes: Option<(u32, u32)>,
    pub(super) dimensions: BTreeMap<String, String>,
    pub(super) cells: Vec<&'a Cell>,
}

impl<'a> Panel<'a> {
    /// The panels of `machine` in the order in which they first appear.
    pub(super) fn all(machine: &'a Machine<'a>) -> Vec<Self> {
        let mut places: HashMap<_, usize> = HashMap::new();
        let mut panels: Vec<Self> = Vec::new();
        for cell in &machine.results.cells {
            let nodes = cell.src_node.zip(cell.dst_node);
            let mut dimensions = cell.dimensions.clone();
            if is_roofline(machine.results) {
                // The sizes of its working sets tell the levels apart.
                dimensions.remove("level");
            }
            let place = *places.entry((cell.cache, nodes, dimensions.clone())).or_insert(panels.len());
            match panels.get_mut(place) {
                Some(panel) => panel.cells.push(cell),
                None => {
                    panels.push(Self { machine, cache: cell.cache, nodes, dimensions, cells: vec![cell] })
                }
            }
        }
        panels
    }

    /// Whether `other` differs by its machine and its nodes alone.
    pub(super) fn is_like(&self, other: &Panel<'_>) -> bool {
        self.cache == other.cache && self.dimensions == other.dimensions
    }

    /// Such as `cold, node 0 to 1, then=read`; the nodes only where `with_nodes`.
    pub(super) fn heading(&self, with_nodes: bool) -> String {
        let mut parts = Vec::new();
        parts.extend(self.cache.map(|cache| format!("cache {cache}")));
        if with_nodes {
            parts.extend(self.nodes.map(|(src, dst)| format!("node {src} to {dst}")));
        }
        parts.extend(self.dimensions.iter().map(|(name, value)| format!("{name} {value}")));
        if parts.is_empty() { "all runs".into() } else { parts.join(", ") }
    }

    /// The contenders. `foliocopy` comes first, since readers look for it.
    pub(super) fn contenders(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !names.contains(&cell.contender.as_str()) {
                names.push(&cell.contender);
            }
        }
        names.sort_by_key(|name| !name.starts_with("foliocopy"));
        names
    }

    /// The folio sizes, smallest first.
    pub(super) fn sizes(&self) -> Vec<u64> {
        let mut sizes: Vec<u64> = self.cells.iter().map(|cell| cell.folio_bytes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    pub(super) fn cell(&self, contender: &str, folio_bytes: u64) -> Option<&'a Cell> {
        self.cells.iter().copied().find(|cell| cell.folio_bytes == folio_bytes && cell.contender == contender)
    }

    /// The highest median, for axes that several charts share.
    pub(super) fn maximum(&self) -> f64 {
        self.cells.iter().map(|cell| cell.median_gbps).fold(0.0, f64::max)
    }

    /// A name for a file: `cold-0-1-then-read`.
    pub(super) fn file_stem(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.cache.map(|cache| cache.to_string()));
        parts.extend(self.nodes.map(|(src, dst)| format!("{src}-{dst}")));
        parts.extend(self.dimensions.iter().map(|(name, value)| format!("{name}-{value}")));
        let stem = parts.join("-");
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    }
}

/// Whether these are limits, over working sets, and not copies of folios.
pub(super) fn is_roofline(results: &Results) -> bool {
    results.command == "roofline"
}

/// `64 KiB`: prose has room for the unit's full name.
pub(super) fn prose(bytes: u64) -> String {
    let short = Size(bytes).to_string();
    match short.strip_suffix(|c: char| c.is_ascii_uppercase()) {
        Some(number) => format!("{number} {}iB", &short[number.len()..]),
        None => format!("{short} bytes"),
    }
}
