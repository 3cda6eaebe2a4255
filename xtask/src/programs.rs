//! Test programs, several at a time.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::Cmd;

use crate::{lanes, test};

/// How many programs run at a time. Many wait for something.
const AT_ONCE: usize = 3;

/// Builds and runs the test programs of a command of `cargo test`. Lines that say what was not tested go to the notes.
pub(crate) fn run(test: Cmd<'_>, notes: &mut Vec<String>) -> Result<()> {
    let built = test.args(["--no-run", "--message-format=json-render-diagnostics"]).read()?;
    let programs: Vec<_> = built.lines().filter_map(Program::of_message).collect();
    ensure!(!programs.is_empty(), "cargo built no tests");
    run_at_once(programs, notes)
}

/// Runs the programs. The error names those that failed.
pub(crate) fn run_at_once(programs: Vec<Program>, notes: &mut Vec<String>) -> Result<()> {
    let notes = Mutex::new(notes);
    let failed: Vec<String> = lanes::work(AT_ONCE, programs, |program| {
        let name = program.name.clone();
        Ok((!program.passes(&notes)?).then_some(name))
    })
    .into_iter()
    .filter_map(Result::transpose)
    .collect::<Result<_>>()?;
    ensure!(failed.is_empty(), "these test programs failed: {}", failed.join(", "));
    Ok(())
}

/// A test program.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) command: Command,
}

impl Program {
    /// The program in a message of cargo, if there is one.
    fn of_message(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let is_test = message["profile"]["test"] == Value::Bool(true);
        let file = message["executable"].as_str().filter(|_| is_test)?;
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
        let mut command = Command::new(file);
        // As cargo would run it.
        command.args(["--quiet", "--show-output"]).current_dir(folder).env("CARGO_MANIFEST_DIR", folder);
        Some(Self { name: Path::new(file).file_name()?.to_string_lossy().into_owned(), command })
    }

    /// Runs it, and shows its output if it fails. Returns whether it passed.
    fn passes(self, notes: &Mutex<&mut Vec<String>>) -> Result<bool> {
        let Self { name, mut command } = self;
        let output = command.output().with_context(|| format!("can't run {name}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let mut notes = notes.lock().expect("a worker doesn't panic");
        said.lines().for_each(|line| _ = test::note(&mut notes, line));
        match output.status.success() {
            true => eprintln!("{name}: {}", said.lines().rfind(|line| !line.is_empty()).unwrap_or_default()),
            false => {
                eprintln!("{name}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr))
            }
        }
        Ok(output.status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_that_fail_are_named() {
        let program = |name: &str| Program { name: name.to_owned(), command: Command::new(name) };
        let programs = ["true", "false", "true"].map(program);
        let error = run_at_once(programs.into(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "these test programs failed: false");
    }
}
