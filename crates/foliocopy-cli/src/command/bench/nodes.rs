//! `--nodes`: between which NUMA nodes to copy.

use std::str::FromStr;

use anyhow::{Result, bail};
use foliocopy_measure::topology::Topology;

/// One item of `--nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeChoice {
    /// Every pair of nodes with memory.
    All,
    /// From the first to the second.
    Pair(u32, u32),
}

impl FromStr for NodeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let pair = text.split_once(':').and_then(|(src, dst)| Some((src.parse().ok()?, dst.parse().ok()?)));
        pair.map(|(src, dst)| Self::Pair(src, dst)).ok_or_else(|| {
            format!("`{text}` is no pair of nodes: write SOURCE:DESTINATION, such as 0:1, or all")
        })
    }
}

/// The pairs that `choices` mean on this machine, each once.
pub(crate) fn pairs(choices: &[NodeChoice], topology: &Topology) -> Result<Vec<(u32, u32)>> {
    let nodes = topology.usable_nodes();
    let mut pairs = Vec::new();
    for choice in choices {
        match *choice {
            NodeChoice::All => {
                pairs.extend(nodes.iter().flat_map(|src| nodes.iter().map(move |dst| (*src, *dst))));
            }
            NodeChoice::Pair(src, dst) => {
                for node in [src, dst] {
                    if !nodes.contains(&node) {
                        let known = nodes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                        bail!(
                            "node {node} does not exist, has no memory, or is not for this process (cpuset): nodes with memory are {known}"
                        );
                    }
                }
                pairs.push((src, dst));
            }
        }
    }
    let mut seen = Vec::new();
    pairs.retain(|pair| {
        !seen.contains(pair) && {
            seen.push(*pair);
            true
        }
    });
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliocopy_measure::result::Node;

    fn machine_with_cxl() -> Topology {
        let node = |id, cpus: &str, memory_bytes| Node { id, cpus: cpus.into(), memory_bytes, free_bytes: 0 };
        Topology { nodes: vec![node(0, "0", 1), node(1, "1", 0), node(2, "", 1)], ..Topology::default() }
    }

    #[test]
    fn all_are_all_pairs_of_nodes_with_memory() {
        let pairs = pairs(&[NodeChoice::All, NodeChoice::Pair(0, 2)], &machine_with_cxl()).unwrap();
        assert_eq!(pairs, [(0, 0), (0, 2), (2, 0), (2, 2)]);
    }

    #[test]
    fn a_node_that_is_not_there_is_refused_with_those_that_are() {
        for pair in [(0, 1), (7, 0)] {
            let error = pairs(&[NodeChoice::Pair(pair.0, pair.1)], &machine_with_cxl()).unwrap_err();
            assert!(error.to_string().ends_with("nodes with memory are 0, 2"), "{error}");
        }
    }

    #[test]
    fn pairs_are_read() {
        assert_eq!("1:0".parse(), Ok(NodeChoice::Pair(1, 0)));
        assert_eq!("all".parse(), Ok(NodeChoice::All));
        for text in ["", "0", "0:", "a:b", "-1:0", "0:1:2"] {
            assert!(text.parse::<NodeChoice>().unwrap_err().contains("SOURCE:DESTINATION"), "{text}");
        }
    }
}
