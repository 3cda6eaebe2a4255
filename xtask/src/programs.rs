//! The tests that cargo builds, several programs at a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshell::Cmd;

use crate::test;

/// How many programs run at a time. Many wait for something.
const AT_ONCE: usize = 3;

/// Builds and runs all tests of `test`, which makes a command of `cargo test`, and those of documentation. Lines that say what
/// was not tested go to the notes.
pub(crate) fn run<'a>(test: impl Fn() -> Cmd<'a>, notes: &mut Vec<String>) -> Result<()> {
    let built = test().args(["--no-run", "--message-format=json-render-diagnostics"]).read()?;
    let programs: Vec<_> = built.lines().filter_map(Program::of_message).collect();
    ensure!(!programs.is_empty(), "cargo built no tests");
    let failed = run_at_once(programs, notes)?;
    let documented = test().args(["--doc", "--no-fail-fast"]).run();
    ensure!(failed.is_empty(), "these test programs failed: {}", failed.join(", "));
    Ok(documented?)
}

/// Runs the programs. Returns the names of those that failed.
fn run_at_once(programs: Vec<Program>, notes: &mut Vec<String>) -> Result<Vec<String>> {
    let left = Mutex::new(programs.into_iter());
    let next = || left.lock().ok()?.next();
    let notes = Mutex::new(notes);
    let work = || -> Result<Vec<String>> {
        let mut failed = Vec::new();
        while let Some(program) = next() {
            if !program.passes(&notes)? {
                failed.push(program.name());
            }
        }
        Ok(failed)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let failed = workers.into_iter().map(|worker| worker.join().expect("a worker doesn't panic"));
        Ok(failed.collect::<Result<Vec<_>>>()?.concat())
    })
}

/// A test program that cargo built.
struct Program {
    file: PathBuf,
    /// The folder of its package, in which cargo would run the program.
    folder: PathBuf,
}

impl Program {
    /// The program in a message of cargo, if there is one.
    fn of_message(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let is_test = message["profile"]["test"] == Value::Bool(true);
        let file = message["executable"].as_str().filter(|_| is_test)?;
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
        Some(Self { file: file.into(), folder: folder.into() })
    }

    fn name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Runs its tests, and shows the output if one fails. Returns whether they passed.
    fn passes(&self, notes: &Mutex<&mut Vec<String>>) -> Result<bool> {
        let mut command = Command::new(&self.file);
        let output = command
            .args(["--quiet", "--show-output"])
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .output()
            .with_context(|| format!("can't run {}", self.file.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let mut notes = notes.lock().expect("a worker doesn't panic");
        said.lines().for_each(|line| _ = test::note(&mut notes, line));
        let name = self.name();
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
        let program = |file: &str| Program { file: file.into(), folder: "/".into() };
        let programs = ["/bin/true", "/bin/false", "/bin/true"].map(program);
        assert_eq!(run_at_once(programs.into(), &mut Vec::new()).unwrap(), ["false"]);
    }
}
