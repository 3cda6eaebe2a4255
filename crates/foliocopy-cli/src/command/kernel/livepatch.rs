//! The kernel's livepatches: ours, and those of others.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use foliocopy_measure::text::harmless;
use serde::Serialize;

use super::debugfs::ENGINE;
use crate::exit::Exit;

/// The module that patches.
pub(super) const LIVEPATCH: &str = "foliocopy_livepatch";

/// Where the kernel shows livepatches.
pub(super) const LIVEPATCHES: &str = "/sys/kernel/livepatch";

/// The functions that ours replaces.
pub(super) const FUNCTIONS: [&str; 2] = ["folio_copy", "folio_mc_copy"];

/// How many tasks are named.
const NAMED: usize = 5;

/// Whose functions the kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Off,
    TurningOn,
    On,
    TurningOff,
}

impl State {
    /// As the kernel has it now.
    pub(super) fn detect() -> Result<Self> {
        let patch = Path::new(LIVEPATCHES).join(LIVEPATCH);
        let read = |name: &str| match fs::read_to_string(patch.join(name)) {
            Ok(text) => Ok(Some(text.trim() == "1")),
            // It vanishes as a whole, at any moment of its last transition.
            Err(_) if !patch.exists() => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", patch.join(name).display())),
        };
        Ok(match (read("enabled")?, read("transition")?) {
            (None, _) | (_, None) => Self::Off,
            (Some(true), Some(false)) => Self::On,
            (Some(true), Some(true)) => Self::TurningOn,
            (Some(false), _) => Self::TurningOff,
        })
    }

    /// The exit code of a status.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::On => Exit::Good,
            Self::Off => Exit::Absent,
            Self::TurningOn | Self::TurningOff => Exit::Between,
        }
    }
}

/// Refuses where the kernel's own functions are not what their names call.
pub(super) fn require_own_functions() -> Result<()> {
    let ours = parameter(LIVEPATCH, "method").as_deref() != Some("stock");
    ensure!(
        State::detect()? == State::Off || !ours,
        "the kernel is patched, so its folio_copy() is foliocopy's: `foliocopy kernel patch off` first, or \
         `foliocopy kernel patch method stock`"
    );
    Ok(())
}

/// A task that has not switched yet.
#[derive(Serialize)]
pub(super) struct Task {
    id: u32,
    name: String,
}

/// Tasks whose patch state is not the one aimed at (`/proc/PID/patch_state`: 0 unpatched, 1 patched, -1 where no
/// transition runs).
pub(super) fn tasks_behind() -> Vec<Task> {
    let aim = match State::detect() {
        Ok(State::TurningOn) => "1",
        Ok(State::TurningOff) => "0",
        _ => return Vec::new(),
    };
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut behind = Vec::new();
    for process in entries("/proc".into()).filter(|entry| number(entry).is_some()) {
        for thread in entries(process.path().join("task")) {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let patch_state = read("patch_state");
            if let Some(id) = number(&thread)
                && !["", "-1", aim].contains(&patch_state.trim())
            {
                behind.push(Task { id, name: harmless(read("comm").trim()).into_owned() });
            }
        }
    }
    behind
}

/// The first of them by name, and how many there are.
pub(super) fn describe(tasks: &[Task]) -> String {
    let named: Vec<String> =
        tasks.iter().take(NAMED).map(|task| format!("{} ({})", task.name, task.id)).collect();
    match tasks.len() {
        0 => "tasks that are just switching".to_owned(),
        1 => format!("1 task: {}", named[0]),
        count if count > NAMED => format!("{count} tasks, such as {}", named.join(", ")),
        count => format!("{count} tasks: {}", named.join(", ")),
    }
}

/// A livepatch of somebody else.
#[derive(Serialize)]
pub(super) struct Other {
    pub(super) name: String,
    /// The functions that ours replaces too.
    pub(super) functions: Vec<&'static str>,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.functions.is_empty() {
            true => Ok(()),
            false => write!(f, " (replaces {} too)", self.functions()),
        }
    }
}

impl Other {
    /// In words.
    pub(super) fn functions(&self) -> String {
        self.functions.join("() and ") + "()"
    }
}

/// The livepatches that are not ours.
pub(super) fn others() -> Vec<Other> {
    let entries = fs::read_dir(LIVEPATCHES).into_iter().flatten().flatten();
    let mut others: Vec<Other> = entries
        .filter(|entry| entry.file_name() != LIVEPATCH)
        .map(|entry| {
            // Documentation/ABI/testing/sysfs-kernel-livepatch: PATCH/OBJECT/FUNCTION,NUMBER.
            let replaces = |function: &&str| entry.path().join(format!("vmlinux/{function},1")).exists();
            Other {
                name: harmless(&entry.file_name().to_string_lossy()).into_owned(),
                functions: FUNCTIONS.into_iter().filter(replaces).collect(),
            }
        })
        .collect();
    others.sort_by(|one, other| one.name.cmp(&other.name));
    others
}

/// All that `kernel patch status` tells.
#[derive(Serialize)]
pub(super) struct Livepatch {
    /// Whether this kernel can be livepatched (CONFIG_LIVEPATCH).
    supported: bool,
    pub(super) state: State,
    /// Who holds a transition up.
    behind: Vec<Task>,
    /// By which the patched functions copy.
    method: Option<String>,
    nontemporal_nodes: Option<String>,
    others: Vec<Other>,
}

impl Livepatch {
    pub(super) fn detect() -> Result<Self> {
        Ok(Self {
            supported: Path::new(LIVEPATCHES).exists(),
            state: State::detect()?,
            behind: tasks_behind(),
            method: parameter(LIVEPATCH, "method"),
            nontemporal_nodes: parameter(ENGINE, "nontemporal_nodes"),
            others: others(),
        })
    }
}

fn parameter(module: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/module/{module}/parameters/{name}")).ok()?;
    Some(harmless(text.trim()).into_owned())
}

impl fmt::Display for Livepatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.supported {
            return writeln!(f, "livepatch:         this kernel has no livepatching (CONFIG_LIVEPATCH)");
        }
        let state = match self.state {
            State::Off => "off".to_owned(),
            State::On => "on".to_owned(),
            State::TurningOn => format!("turning on, behind are {}", describe(&self.behind)),
            State::TurningOff => format!("turning off, behind are {}", describe(&self.behind)),
        };
        writeln!(f, "livepatch:         {state}")?;
        for (name, value) in [("method:", &self.method), ("nontemporal nodes:", &self.nontemporal_nodes)] {
            if let Some(value) = value {
                writeln!(f, "{name:<19}{value}")?;
            }
        }
        if !self.others.is_empty() {
            let others: Vec<String> = self.others.iter().map(Other::to_string).collect();
            writeln!(f, "other livepatches: {}", others.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_tasks_are_named_and_many_counted() {
        let tasks = |count: u32| (0..count).map(|id| Task { id, name: "kworker".into() }).collect::<Vec<_>>();
        assert_eq!(describe(&tasks(1)), "1 task: kworker (0)");
        assert_eq!(describe(&tasks(2)), "2 tasks: kworker (0), kworker (1)");
        assert!(describe(&tasks(9)).starts_with("9 tasks, such as kworker (0), "));
        assert_eq!(describe(&tasks(9)).matches("kworker").count(), NAMED);
    }
}
