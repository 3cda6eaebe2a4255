//! The code that decides how a copy is made stays short enough to be read in one sitting.

use std::fs;

use anyhow::{Context, Result, ensure};
use xshell::Shell;

use crate::imports::{SOURCE, texts};

/// The modules between a request and a loop. `step` is not one of them: it only defines tables.
const PATH: [&str; 5] = ["policy", "tuning", "probe", "execute", "arch/x86_64/glance"];

/// The most lines of the path, without tests, comments and blank lines.
const MOST: usize = 900;

/// The most lines of a file of the engine.
const MOST_OF_A_FILE: usize = 500;

/// Fails where the path, or a file of the engine, has become too long.
pub(crate) fn check(shell: &Shell, _: &mut Vec<String>) -> Result<()> {
    let source = shell.current_dir().join(SOURCE);
    let mut lines = 0;
    for module in PATH {
        let texts = texts(&source, module)?;
        lines += texts.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty()).count();
    }
    println!("{} have {lines} lines", PATH.join(", "));
    ensure!(lines > MOST / 2, "the modules between a request and a loop have moved: mend PATH");
    ensure!(lines <= MOST, "{lines} lines lie between a request and a loop: {MOST} at most, so simplify");
    let mut folders = vec![source];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{} can't be read", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let lines = fs::read_to_string(&path)?.lines().count();
            ensure!(
                lines <= MOST_OF_A_FILE,
                "{} has {lines} lines: {MOST_OF_A_FILE} at most",
                path.display()
            );
        }
    }
    Ok(())
}
