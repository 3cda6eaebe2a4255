//! The switches of multi-size transparent huge pages
//! (Documentation/admin-guide/mm/transhuge.rst, "Multi-size THP").

use std::fs;
use std::path::{Path, PathBuf};

use super::MigrateError;
use super::guard::Guard;
use crate::memory::base_page;
use crate::size::Size;

/// The smallest folio that transparent huge pages make, four base pages; below it are base pages.
pub fn smallest_thp() -> u64 {
    4 * base_page() as u64
}

/// The folder of the switches.
const ROOT: &str = "/sys/kernel/mm/transparent_hugepage";

/// All of them on this machine.
#[derive(Debug)]
pub(super) struct Switches {
    root: PathBuf,
}

impl Switches {
    pub(super) fn of_this_machine() -> Self {
        Self { root: ROOT.into() }
    }

    /// Makes sure that memory which asks for huge pages gets folios of `folio_bytes` and no larger ones. Smaller ones
    /// the kernel takes only where it finds none of that size.
    pub(super) fn only(&mut self, folio_bytes: u64, guard: &mut Guard) -> Result<(), MigrateError> {
        if folio_bytes < smallest_thp() {
            return Ok(());
        }
        let switches = self.all();
        if !switches.iter().any(|(size, _)| *size == folio_bytes) {
            let sizes: Vec<String> = switches.iter().map(|(size, _)| Size(*size).to_string()).collect();
            return Err(MigrateError::Switch(match sizes.is_empty() {
                true => format!(
                    "this kernel has no multi-size huge pages ({ROOT}/hugepages-*): they came with Linux 6.8"
                ),
                false => format!(
                    "this kernel makes no folios of {}: it makes {}, and {}",
                    Size(folio_bytes),
                    sizes.join(", "),
                    Size(base_page() as u64)
                ),
            }));
        }
        for (size, file) in switches {
            let wanted = match size {
                size if size == folio_bytes => "madvise",
                size if size > folio_bytes => "never",
                _ => continue,
            };
            let text = fs::read_to_string(&file)
                .map_err(MigrateError::system(format!("can't read {}", file.display())))?;
            if effective(&text, &self.root).is_some_and(|now| serves(now, wanted)) {
                continue;
            }
            guard.write(&file, wanted).map_err(|_| {
                MigrateError::Switch(format!(
                    "for folios of {} {} must be `{wanted}`, and only root may set it",
                    Size(folio_bytes),
                    file.display()
                ))
            })?;
        }
        Ok(())
    }

    /// Sizes and their switches, ascending.
    fn all(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut all: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let kibibytes: u64 =
                    name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
                let switch = entry.path().join("enabled");
                // Sizes of shared memory alone have no such file.
                switch.exists().then_some((kibibytes << 10, switch))
            })
            .collect();
        all.sort_unstable();
        all
    }
}

/// The meaning of a switch. It may refer to the global one.
fn effective(text: &str, root: &Path) -> Option<Mode> {
    let mode = |text: &str| match text.split_once('[')?.1.split_once(']')?.0 {
        "always" => Some(Mode::Always),
        "madvise" => Some(Mode::Madvise),
        "never" => Some(Mode::Never),
        _ => None,
    };
    if text.contains("[inherit]") {
        mode(&fs::read_to_string(root.join("enabled")).ok()?)
    } else {
        mode(text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Always,
    Madvise,
    Never,
}

/// Whether a switch can stay as it is: our memory asks for huge pages by madvise(2).
fn serves(now: Mode, wanted: &str) -> bool {
    match wanted {
        "never" => now == Mode::Never,
        _ => now != Mode::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of so many base pages.
    fn pages(count: u64) -> u64 {
        count * base_page() as u64
    }

    /// A kernel's folder, with the switches in this state. Sizes are in base pages.
    fn kernel(global: &str, sizes: &[(u64, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let show = |chosen: &str| {
            let all = ["always", "inherit", "madvise", "never"];
            all.map(|mode| if mode == chosen { format!("[{mode}]") } else { mode.to_owned() }).join(" ")
        };
        fs::write(root.path().join("enabled"), show(global)).unwrap();
        for (size, mode) in sizes {
            let folder = root.path().join(format!("hugepages-{}kB", pages(*size) >> 10));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("enabled"), show(mode)).unwrap();
        }
        root
    }

    /// A guard that notes nothing: `cat` answers each change with the change.
    fn no_guard() -> Guard {
        Guard::new("/bin/false".into(), &[])
    }

    #[test]
    fn what_serves_already_is_left_alone() {
        let root = kernel("madvise", &[(4, "always"), (16, "inherit"), (512, "never")]);
        let mut switches = Switches { root: root.path().into() };
        switches.only(pages(16), &mut no_guard()).unwrap();
        switches.only(pages(4), &mut no_guard()).unwrap_err();
        switches.only(pages(1), &mut no_guard()).unwrap();
    }

    #[test]
    fn a_larger_size_must_be_off_and_the_asked_one_on() {
        for (sizes, culprit) in
            [([(16, "madvise"), (512, "inherit")], 512), ([(16, "never"), (512, "never")], 16)]
        {
            let root = kernel("always", &sizes);
            let mut switches = Switches { root: root.path().into() };
            let error = switches.only(pages(16), &mut no_guard()).unwrap_err().to_string();
            let culprit = format!("{}kB", pages(culprit) >> 10);
            assert!(error.contains(&culprit) && error.contains("only root"), "{error}");
        }
    }

    #[test]
    fn a_size_that_the_kernel_does_not_make_is_refused_with_those_it_makes() {
        let root = kernel("always", &[(16, "never"), (512, "inherit")]);
        let mut switches = Switches { root: root.path().into() };
        let error = switches.only(pages(8), &mut no_guard()).unwrap_err().to_string();
        let [asked, smaller, larger, base] = [8, 16, 512, 1].map(|count| Size(pages(count)));
        let expected = format!("no folios of {asked}: it makes {smaller}, {larger}, and {base}");
        assert!(error.contains(&expected), "{error}");
        let mut none = Switches { root: "/nonexistent".into() };
        assert!(none.only(pages(512), &mut no_guard()).unwrap_err().to_string().contains("Linux 6.8"));
    }
}
