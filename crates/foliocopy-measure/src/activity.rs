//! CPU time that others used between two moments, from /proc/stat.

use std::fs;

/// CPU time in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    /// All processes.
    busy: u64,
    /// Taken by the hypervisor for others.
    stolen: u64,
    /// All of it, idle included.
    total: u64,
}

/// The moment from which activity is counted.
#[derive(Debug)]
pub struct Activity {
    system: Ticks,
    own: u64,
}

/// CPU time that others used, as shares of the CPU time of all CPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Other processes.
    pub others: f64,
    /// The hypervisor gave this time to other guests.
    pub stolen: f64,
}

impl Activity {
    /// Counts from now on. `None` where /proc doesn't tell.
    pub fn start() -> Option<Self> {
        Some(Self { system: system()?, own: own()? })
    }

    /// The activity since then. `None` where /proc does not tell yet.
    pub fn shares(&self) -> Option<Shares> {
        let (system, own) = (system()?, own()?);
        shares(self.system, system, own.checked_sub(self.own)?)
    }
}

fn shares(from: Ticks, to: Ticks, own: u64) -> Option<Shares> {
    let total = to.total.checked_sub(from.total).filter(|total| *total > 0)? as f64;
    let busy = to.busy.checked_sub(from.busy)?.saturating_sub(own) as f64;
    Some(Shares { others: busy / total, stolen: to.stolen.saturating_sub(from.stolen) as f64 / total })
}

fn system() -> Option<Ticks> {
    parse_system(&fs::read_to_string("/proc/stat").ok()?)
}

/// The line of all CPUs: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)).
fn parse_system(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = fields[..] else { return None };
    let busy = user + nice + system + irq + softirq;
    Some(Ticks { busy, stolen, total: busy + idle + iowait + stolen })
}

/// utime, stime, cutime and cstime of this process and of the processes that it waited for: fields 14 to 17
/// (proc_pid_stat(5)), counted behind the command's name.
fn own() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()? + next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_is_not_others() {
        let from = parse_system("cpu  100 0 50 1000 10 0 0 20 0 0\ncpu0 1 2 3\n").unwrap();
        let to = parse_system("cpu  180 0 70 1080 10 0 0 40 0 0\n").unwrap();
        let shares = shares(from, to, 60).unwrap();
        assert!((shares.others - 0.2).abs() < 1e-12 && (shares.stolen - 0.1).abs() < 1e-12, "{shares:?}");
    }

    #[test]
    fn no_time_has_no_shares() {
        let now = parse_system("cpu  100 0 50 1000 10 0 0 20 0 0\n").unwrap();
        assert_eq!(shares(now, now, 0), None);
        assert_eq!(parse_system("intr 5\n"), None);
    }

    #[test]
    fn this_machine_tells() {
        assert!(Activity::start().is_some());
    }
}
