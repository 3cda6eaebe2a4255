//! A file that a command will write: proved writable before the work starts, complete or absent afterwards.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

/// Where output goes.
pub(crate) struct OutputFile {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    /// `-`.
    StandardOutput,
    /// Written beside its final place and renamed when whole.
    Regular { force: bool },
    /// A device or pipe that exists already, such as /dev/null.
    Special(std::fs::File),
}

impl OutputFile {
    /// Prepares to write to `path`, `-` being standard output. A file that exists is refused without `force`.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self> {
        let kind = if path == Path::new("-") {
            Kind::StandardOutput
        } else {
            match path.metadata() {
                Ok(metadata) if metadata.is_dir() => {
                    bail!("`{}` is a directory: name a file in it", path.display())
                }
                Ok(metadata) if metadata.is_file() && !force => {
                    bail!("`{}` exists: name another file, or add --force to overwrite it", path.display())
                }
                Ok(metadata) if !metadata.is_file() => Kind::Special(
                    std::fs::OpenOptions::new().write(true).open(path).with_context(|| cannot_write(path))?,
                ),
                _ => {
                    // The proof goes at once: nothing is left of a run that is killed.
                    temporary_beside(path)?;
                    Kind::Regular { force }
                }
            }
        };
        Ok(Self { path: path.to_owned(), kind })
    }

    /// Writes the whole content and puts it in place.
    pub(crate) fn write(self, content: &[u8]) -> Result<()> {
        match self.kind {
            Kind::StandardOutput => {
                let mut output = io::stdout().lock();
                let written = output.write_all(content).and_then(|()| output.flush());
                written.context("can't write to standard output")?;
            }
            Kind::Special(mut file) => file.write_all(content).with_context(|| cannot_write(&self.path))?,
            Kind::Regular { force } => {
                let mut temporary = temporary_beside(&self.path)?;
                temporary.write_all(content).with_context(|| cannot_write(&self.path))?;
                let persisted = if force {
                    temporary.persist(&self.path)
                } else {
                    temporary.persist_noclobber(&self.path)
                };
                persisted.map_err(|error| error.error).with_context(|| cannot_write(&self.path))?;
            }
        }
        Ok(())
    }
}

/// Refuses two outputs to one file.
pub(crate) fn each_its_own<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let mut seen: Vec<&Path> = Vec::new();
    for path in paths {
        ensure!(
            !seen.iter().any(|other| is_same(path, other)),
            "two outputs go to `{}`: give each its own file",
            path.display()
        );
        seen.push(path);
    }
    Ok(())
}

/// Whether two paths name one place, however they are written.
pub(crate) fn is_same(path: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    path == other || matches!((place(path), place(other)), (Ok(one), Ok(two)) if one == two)
}

fn temporary_beside(path: &Path) -> Result<NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new()
        .prefix(".foliocopy-")
        // As any new file: what the umask leaves.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|error| io::Error::new(error.kind(), strip_path(&error)))
        .with_context(|| cannot_write(path))
}

/// The temporary file's name would only confuse.
fn strip_path(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" at path ").next().unwrap_or(&text).to_owned()
}

fn cannot_write(path: &Path) -> String {
    format!("can't write `{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nothing_appears_until_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.json");
        let output = OutputFile::create(&path, false).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        output.write(b"{}").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_file_is_kept_unless_forced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.json");
        fs::write(&path, "old").unwrap();
        let error = OutputFile::create(&path, false).err().unwrap().to_string();
        assert!(error.contains("--force"), "{error}");
        OutputFile::create(&path, true).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.json");
        let output = OutputFile::create(&path, false).unwrap();
        fs::write(&path, "somebody's").unwrap();
        assert!(output.write(b"ours").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    }

    #[test]
    fn what_cannot_be_written_is_known_at_once() {
        let error = |path: &str| format!("{:#}", OutputFile::create(Path::new(path), false).err().unwrap());
        let missing = error("/nonexistent/out.json");
        assert!(missing.starts_with("can't write `/nonexistent/out.json`: No such file"), "{missing}");
        assert!(error("/").contains("is a directory"));
    }

    #[test]
    fn devices_are_written_as_they_are() {
        OutputFile::create(Path::new("/dev/null"), false).unwrap().write(b"gone").unwrap();
    }
}
