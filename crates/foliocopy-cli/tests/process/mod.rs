//! Waits for a state of another process, and never for a time: on a busy machine no time is long enough.

#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// After that the process counts as hung.
const LIMIT: Duration = Duration::from_secs(300);

/// A tick of the times in `/proc/PID/stat`, by `USER_HZ`.
const TICK: Duration = Duration::from_millis(10);

const SIGINT: u32 = 2;

/// Waits until the process catches SIGINT, which would end it otherwise.
pub(crate) fn wait_until_it_catches_signals(child: &Child) {
    wait(child, "catches no signal", || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask of signals");
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << (SIGINT - 1) != 0
    });
}

/// Waits until the process and its children have used that much CPU time. By then a bench has measured something.
pub(crate) fn wait_until_it_has_worked(child: &Child, for_so_long: Duration) {
    wait(child, "does not work", || cpu_time(child.id()) >= for_so_long);
}

/// Sends these signals in a row, by the shell's own `kill`: a small system may lack the program of that name.
pub(crate) fn send(child: &Child, signals: &[&str]) {
    let kill = signals.iter().map(|signal| format!("kill -{signal} {};", child.id())).collect::<String>();
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

fn wait(child: &Child, complaint: &str, so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < LIMIT, "process {} {complaint} in {LIMIT:?}", child.id());
        thread::sleep(TICK);
    }
}

/// The CPU time of a process and of its living children.
fn cpu_time(process: u32) -> Duration {
    let Some((_, own)) = stat(process) else { return Duration::ZERO };
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let children = processes.filter(|other| stat(*other).is_some_and(|(parent, _)| parent == process));
    own + children.map(cpu_time).sum::<Duration>()
}

/// A process's parent, and its own CPU time; `None` if it is gone.
fn stat(process: u32) -> Option<(u32, Duration)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // State, parent, and so on. The name before them may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields[11].parse::<u32>().ok()? + fields[12].parse::<u32>().ok()?;
    Some((fields[1].parse().ok()?, TICK * ticks))
}
