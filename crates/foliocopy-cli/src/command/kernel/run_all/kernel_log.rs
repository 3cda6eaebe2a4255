//! The kernel's log of a run.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use foliocopy_measure::text::harmless;
use rustix::fs::OFlags;

/// Words of the lines that are kept. Other lines may be about the machine's owner.
const WORDS: [&str; 11] = [
    "foliocopy",
    "livepatch",
    "Lockdown",
    "BUG",
    "WARNING",
    "Oops",
    "Call Trace",
    "RIP: ",
    "mce: ",
    "Hardware Error",
    "Memory failure",
];

/// The log, from a moment on.
pub(super) struct KernelLog(Option<File>);

impl KernelLog {
    /// From now on. Who may not read the log sees nothing of it.
    pub(super) fn from_now() -> Self {
        let open = || -> std::io::Result<File> {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let mut log = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg")?;
            log.seek(SeekFrom::End(0))?;
            Ok(log)
        };
        Self(open().ok())
    }

    /// The lines since then that tell how it went.
    pub(super) fn until_now(self) -> Vec<String> {
        let Some(mut log) = self.0 else { return Vec::new() };
        let (mut lines, mut record) = (Vec::new(), [0; 8192]);
        loop {
            // A record a read.
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(bytes) => lines.extend(line(&String::from_utf8_lossy(&record[..bytes]))),
                // Older ones were overwritten, or a signal came.
                Err(error) if [ErrorKind::BrokenPipe, ErrorKind::Interrupted].contains(&error.kind()) => {}
                Err(_) => break,
            }
        }
        lines
    }
}

/// The text of a record, `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT` and more lines, if it is to be kept.
fn line(record: &str) -> Option<String> {
    let (_, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    WORDS.iter().any(|word| text.contains(word)).then(|| harmless(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tells_how_it_went_is_kept() {
        let kept = line("6,339,5140900,-;foliocopy: selected rep_movsb\n SUBSYSTEM=x\n");
        assert_eq!(kept.as_deref(), Some("foliocopy: selected rep_movsb"));
        assert_eq!(line("4,340,5140901,-;usb 1-1: SerialNumber: 1234\n"), None);
        assert_eq!(line("no record"), None);
    }
}
