//! The comments at the head of a log: the kernel, the time, and the nodes where the kit could find them out.

use super::Problem;
use crate::result::Node;
use crate::text::harmless;

/// What a log says of its machine.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) kernel: Kernel,
    pub(super) machine: String,
    /// By the clock of the machine, whose zone the kit does not tell.
    pub(super) started: String,
    pub(super) nodes: Vec<Node>,
    /// As [`Environment::node_distances`](crate::result::Environment::node_distances).
    pub(super) distances: Vec<Vec<u32>>,
    /// Whether the lines to come are rows of distances.
    in_distances: bool,
}

/// The words of uname(2).
#[derive(Debug, Default)]
pub(super) struct Kernel {
    name: String,
    release: String,
    version: String,
}

impl Kernel {
    /// As `uname -srv` prints them.
    pub(super) fn text(&self) -> String {
        let name = if self.name.is_empty() { "Linux" } else { &self.name };
        let words = [name, &self.release, &self.version];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

impl Header {
    /// Takes a comment, without its sign. One that says nothing of these is left aside: the kit writes many.
    pub(super) fn take(&mut self, comment: &str) -> Result<(), Problem> {
        let comment = comment.trim();
        let text = |text: &str| harmless(text.trim()).into_owned();
        if let Some(release) = comment.strip_prefix("release=").or(comment.strip_prefix("kernel:")) {
            let release = text(release);
            if !self.kernel.release.is_empty() && self.kernel.release != release {
                return Err(format!(
                    "`release={release}` after `release={}`: a log is of one kernel, so split the file",
                    self.kernel.release
                ));
            }
            self.kernel.release = release;
        } else if let Some(name) = comment.strip_prefix("sysname=") {
            self.kernel.name = text(name);
        } else if let Some(version) = comment.strip_prefix("version=") {
            self.kernel.version = text(version);
        } else if let Some(machine) = comment.strip_prefix("machine=") {
            self.machine = text(machine);
        } else if let Some(time) = comment.strip_prefix("timestamp:") {
            self.started = time_of(time.trim()).unwrap_or_else(|| text(time));
        } else if comment == "node distances:" {
            self.in_distances = true;
            self.distances.clear();
        } else if self.in_distances {
            self.take_distances(comment);
        } else if let Some(node) = comment.strip_prefix("node") {
            self.take_node(node);
        }
        Ok(())
    }

    /// ` 0 cpus: 0 1`, ` 0 size: 1000 MB`, ` 0 free: 500 MB` of `numactl -H`; `0 cpus: 0-3` where the kit asked sysfs.
    fn take_node(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let mut words = name.split_ascii_whitespace();
        let (Some(Ok(id)), Some(what)) = (words.next().map(str::parse), words.next()) else { return };
        let place = self.nodes.iter().position(|node| node.id == id).unwrap_or_else(|| {
            self.nodes.push(Node { id, ..Node::default() });
            self.nodes.len() - 1
        });
        let node = &mut self.nodes[place];
        let mebibytes = || value.split_ascii_whitespace().next().and_then(|text| text.parse::<u64>().ok());
        match what {
            "cpus" => {
                let cpus: Vec<&str> = value.split_ascii_whitespace().collect();
                node.cpus = harmless(&cpus.join(",")).into_owned();
            }
            "size" => node.memory_bytes = mebibytes().unwrap_or(0).saturating_mul(1 << 20),
            "free" => node.free_bytes = mebibytes().unwrap_or(0).saturating_mul(1 << 20),
            _ => {}
        }
    }

    /// `node   0   1`, which is the head, or `0:  10  21`. Rows that do not cover all nodes tell nothing.
    fn take_distances(&mut self, line: &str) {
        let row = line.split_once(':').and_then(|(node, row)| {
            let node: u32 = node.trim().parse().ok()?;
            let row: Vec<u32> =
                row.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            Some((node, row))
        });
        match row {
            Some((node, row)) => {
                let expected = self.nodes.get(self.distances.len()).map(|node| node.id);
                self.distances.push(row);
                if expected == Some(node) && self.distances.len() < self.nodes.len() {
                    return;
                }
                self.in_distances = false;
                let nodes = self.nodes.len();
                if expected != Some(node) || self.distances.iter().any(|row| row.len() != nodes) {
                    self.distances.clear();
                }
            }
            None if line.starts_with("node") => {}
            None => {
                self.in_distances = false;
                self.distances.clear();
            }
        }
    }
}

/// `2026-05-01T14:00:00` of `20260501_140000`.
fn time_of(text: &str) -> Option<String> {
    let (date, time) = text.split_once('_')?;
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(date, 8) && digits(time, 6)).then(|| {
        let part = |text: &str, from: usize| text[from..from + 2].to_owned();
        format!(
            "{}-{}-{}T{}:{}:{}",
            &date[..4],
            part(date, 4),
            part(date, 6),
            part(time, 0),
            part(time, 2),
            part(time, 4)
        )
    })
}
