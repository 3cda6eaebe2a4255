//! Settings of the kernel, changed for as long as this process lives.
//!
//! A second process holds what the settings were. It learns of each change before the change is made, and puts
//! everything back when its pipe closes: because the measurement is over, or because its process is gone, by whatever
//! signal. Signals of the terminal don't reach it.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The process that holds them, started when something is changed first.
#[derive(Debug)]
pub struct Guard {
    command: PathBuf,
    arguments: Vec<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    changes: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Guard {
    /// A guard whose process is `command` with `arguments`, which must come to call [`serve`].
    pub fn new(command: PathBuf, arguments: &[&str]) -> Self {
        Self {
            command,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            running: None,
        }
    }

    /// Writes `value` to `file`, to be put back later.
    pub fn write(&mut self, file: &Path, value: &str) -> io::Result<()> {
        let before = fs::read_to_string(file)?;
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.command, &self.arguments)?),
        };
        running.note(&Change {
            file: file.to_owned(),
            before: chosen(&before).to_owned(),
            after: value.to_owned(),
        })?;
        fs::write(file, value)
    }

    /// Puts everything back. The error names the settings that could not be.
    pub fn restore(&mut self) -> io::Result<()> {
        match self.running.take() {
            Some(mut running) => running.end(),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            eprintln!("{error}");
        }
    }
}

impl Running {
    fn start(command: &Path, arguments: &[String]) -> io::Result<Self> {
        let mut process = Command::new(command)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not in the terminal's foreground: Ctrl-C is for the measurement alone.
            .process_group(0)
            .spawn()?;
        let changes = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Ok(Self { process, changes, answers })
    }

    /// Tells of a change, and waits until it is noted.
    fn note(&mut self, change: &Change) -> io::Result<()> {
        let changes = self.changes.as_mut().expect("open until the end");
        writeln!(changes, "{}", change.line())?;
        changes.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim_end() {
            NOTED => Ok(()),
            _ => Err(io::Error::other("the process that would put the kernel's settings back has died")),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        drop(self.changes.take());
        let mut complaints = String::new();
        io::Read::read_to_string(&mut self.answers, &mut complaints)?;
        let status = self.process.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(match complaints.trim_end() {
            "" => format!("the process that should put the kernel's settings back ended with {status}"),
            complaints => complaints.to_owned(),
        }))
    }
}

/// The guard's answer to a change.
const NOTED: &str = "noted";

/// One setting.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    file: PathBuf,
    before: String,
    after: String,
}

impl Change {
    fn line(&self) -> String {
        format!("{}\t{}\t{}", self.file.display(), self.before, self.after)
    }

    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let change = Self {
            file: fields.next()?.into(),
            before: fields.next()?.to_owned(),
            after: fields.next()?.to_owned(),
        };
        fields.next().is_none().then_some(change)
    }

    /// Puts the setting back, unless another process has changed it since.
    fn undo(&self) -> io::Result<()> {
        if chosen(&fs::read_to_string(&self.file)?) != self.after {
            return Ok(());
        }
        fs::write(&self.file, &self.before)
    }
}

/// The value of a setting: in brackets where the file shows all there are, as in `always [madvise] never`.
fn chosen(text: &str) -> &str {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen);
    bracketed.unwrap_or(text).trim()
}

/// What the guard's process does: notes changes from `changes`, and undoes them, the last first, when no more come.
///
/// # Errors
///
/// Where something could not be put back; `answers` then has a line for each.
pub fn serve(changes: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut noted = Vec::new();
    for line in changes.lines().map_while(Result::ok) {
        let Some(change) = Change::read(&line) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{line}` is no change of a setting"),
            ));
        };
        noted.push(change);
        // The other end may be gone already: every setting that is noted is put back all the same.
        let _ = writeln!(answers, "{NOTED}").and_then(|()| answers.flush());
    }
    let mut failed = false;
    for change in noted.iter().rev() {
        if let Err(error) = change.undo() {
            failed = true;
            let _ =
                writeln!(answers, "can't put {} back to `{}`: {error}", change.file.display(), change.before);
        }
    }
    if failed { Err(io::Error::other("not everything could be put back")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn served(changes: &str) -> (io::Result<()>, String) {
        let mut answers = Vec::new();
        let outcome = serve(changes.as_bytes(), &mut answers);
        (outcome, String::from_utf8(answers).unwrap())
    }

    #[test]
    fn changes_are_undone_from_the_last_to_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let setting = file(&directory, "enabled", "never");
        let line = |before, after: &str| format!("{}\t{before}\t{after}\n", setting.display());
        let changes = line("always", "madvise") + &line("madvise", "never");
        let (outcome, answers) = served(&changes);
        outcome.unwrap();
        assert_eq!(answers, "noted\nnoted\n");
        assert_eq!(fs::read_to_string(&setting).unwrap(), "always");
    }

    #[test]
    fn what_somebody_else_set_since_stays() {
        let directory = tempfile::tempdir().unwrap();
        let setting = file(&directory, "enabled", "always [inherit] madvise never");
        served(&format!("{}\tnever\tmadvise\n", setting.display())).0.unwrap();
        assert_eq!(fs::read_to_string(&setting).unwrap(), "always [inherit] madvise never");
    }

    #[test]
    fn what_cannot_be_put_back_is_named() {
        let (outcome, answers) = served("/nonexistent/enabled\tnever\tmadvise\n");
        assert!(outcome.is_err());
        assert!(answers.contains("can't put /nonexistent/enabled back to `never`"), "{answers}");
        assert!(served("nonsense\n").0.unwrap_err().to_string().contains("`nonsense`"));
    }

    #[test]
    fn the_chosen_value_is_in_brackets_or_alone() {
        assert_eq!(chosen("always inherit [madvise] never\n"), "madvise");
        assert_eq!(chosen("foliocopy\n"), "foliocopy");
    }
}
