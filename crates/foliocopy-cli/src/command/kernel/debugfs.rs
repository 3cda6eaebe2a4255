//! The module's files in debugfs, or the reason why they are missing.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use foliocopy_measure::kernel::DEBUGFS;
use foliocopy_measure::text::harmless;
use serde::Serialize;

use super::module;

/// The module whose files they are.
pub(super) const ENGINE: &str = "foliocopy";

/// The folder with the module's files.
pub(super) fn folder() -> Result<PathBuf> {
    if !module::is_loaded(ENGINE) {
        bail!("{ENGINE}.ko is not loaded: `foliocopy kernel load` does that, as root");
    }
    require_root("the module's files are for root")?;
    let folder = Path::new(DEBUGFS);
    if !folder.is_dir() {
        bail!("{DEBUGFS} is not there: mount debugfs (`mount -t debugfs none /sys/kernel/debug`)");
    }
    Ok(folder.to_owned())
}

/// Refuses to go on without root's rights. `what` names the work.
pub(super) fn require_root(what: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{what}: run this as root");
    }
    Ok(())
}

/// The module's counters.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Counters {
    errors: u64,
    /// The frame of the last error.
    last_bad_pfn: Option<String>,
    copies: Vec<Copies>,
}

/// The copies on one path by one primitive.
#[derive(Debug, PartialEq, Serialize)]
struct Copies {
    /// `plain` or `machine-check-safe`.
    path: String,
    primitive: String,
    folios: u64,
    pages: u64,
    bytes: u64,
}

impl Counters {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let text = fs::read_to_string(folder.join("counters")).context("can't read the module's counters")?;
        Self::parse(&text)
            .with_context(|| format!("the module's counters can't be read: {}", harmless(&text)))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut counters = Self { errors: 0, last_bad_pfn: None, copies: Vec::new() };
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["errors", errors] => counters.errors = errors.parse().ok()?,
                ["last_bad_pfn", pfn] => counters.last_bad_pfn = Some(harmless(pfn).into_owned()),
                [path, primitive, "folios", folios, "pages", pages, "bytes", bytes] => {
                    counters.copies.push(Copies {
                        path: harmless(path).into_owned(),
                        primitive: harmless(primitive).into_owned(),
                        folios: folios.parse().ok()?,
                        pages: pages.parse().ok()?,
                        bytes: bytes.parse().ok()?,
                    });
                }
                _ => return None,
            }
        }
        Some(counters)
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "errors {}", self.errors)?;
        if let Some(pfn) = &self.last_bad_pfn {
            writeln!(f, "last_bad_pfn {pfn}")?;
        }
        for Copies { path, primitive, folios, pages, bytes } in &self.copies {
            writeln!(f, "{path} {primitive} folios {folios} pages {pages} bytes {bytes}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_shown_as_the_module_writes_them() {
        let text = "errors 1\nlast_bad_pfn 0x1f\nplain movq folios 3 pages 6 bytes 24576\n";
        let counters = Counters::parse(text).unwrap();
        assert_eq!(counters.to_string(), text);
        assert_eq!(counters.copies[0].bytes, 24576);
        assert_eq!(Counters::parse("plain movq folios many pages 6 bytes 24576\n"), None);
        assert_eq!(Counters::parse("something else\n"), None);
    }
}
