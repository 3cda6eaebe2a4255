//! Debian's systemd and perf for the guest: their programs, the libraries that they need, and systemd's targets. There are no
//! other units, so that only the units of a scenario run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::Shell;

use super::archive::Archive;
use super::initramfs::Initramfs;

/// The packages with the programs.
const PACKAGES: [&str; 2] = ["systemd", "linux-perf"];

/// The programs, by their places in the guest. Only later versions of systemd have the last one.
const PROGRAMS: [&str; 4] =
    ["lib/systemd/systemd", "bin/systemctl", "bin/perf", "lib/systemd/systemd-executor"];

/// The loader of all these programs.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

const LIBRARIES: &str = "lib/x86_64-linux-gnu";
const UNITS: &str = "lib/systemd/system";

/// The unit under test.
const SERVICE: &str = "foliocopy-livepatch.service";

/// The unpacked packages.
pub(crate) struct System {
    root: PathBuf,
}

impl System {
    /// Fetches the packages, or takes them from the cache.
    pub(crate) fn fetch(shell: &Shell, cache: &Path) -> Result<Self> {
        let root = cache.join("system");
        let complete = root.join("complete");
        if !complete.exists() {
            let archive = Archive::of_this_machine(cache)?;
            archive.refresh(shell)?;
            let mut packages: BTreeSet<String> = BTreeSet::new();
            let mut next: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
            while let Some(package) = next.pop() {
                // Of their dependencies only libraries are used here.
                let is_library = |name: &String| ["lib", "zlib"].iter().any(|start| name.starts_with(start));
                let of_package = archive.dependencies(shell, &package)?.into_iter();
                next.extend(of_package.filter(|name| is_library(name) && !packages.contains(name)));
                packages.insert(package);
            }
            eprintln!("fetching systemd and perf, with {} libraries", packages.len() - PACKAGES.len());
            archive.unpack(shell, &Vec::from_iter(packages), &root)?;
            fs::write(complete, "")?;
        }
        Ok(Self { root })
    }

    /// Packs the files that the guest needs.
    pub(crate) fn pack(&self, packing: &mut Initramfs) -> Result<()> {
        for name in PROGRAMS {
            match self.find(name) {
                Some(file) => packing.program(name, &file)?,
                None => ensure!(name.ends_with("-executor"), "the packages have no {name}"),
            }
        }
        packing.program(LOADER, &self.find(LOADER).context("there is no loader")?)?;
        packing.file(&format!("{UNITS}/{SERVICE}"), &Path::new("kmod").join(SERVICE))?;
        for unit in self.files(UNITS)?.iter().filter(|unit| unit.extension().is_some_and(|of| of == "target"))
        {
            packing.file(&format!("{UNITS}/{}", name_of(unit)), unit)?;
        }
        for folder in [LIBRARIES.to_owned(), format!("{LIBRARIES}/systemd")] {
            for library in self.files(&folder)?.iter().filter(|file| name_of(file).contains(".so")) {
                let name = format!("{LIBRARIES}/{}", name_of(library));
                match library.is_symlink() {
                    true => packing.link(&name, &name_of(&library.canonicalize()?))?,
                    false => packing.file(&name, library)?,
                }
            }
        }
        Ok(())
    }

    /// Debian moves everything below /usr.
    fn places(&self, name: &str) -> [PathBuf; 2] {
        [self.root.join("usr").join(name), self.root.join(name)]
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        self.places(name).into_iter().find(|file| file.exists())
    }

    /// The files in a folder, links to files among them.
    fn files(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for place in self.places(folder).into_iter().filter(|place| place.is_dir()) {
            for entry in fs::read_dir(place.canonicalize()?)? {
                let file = entry?.path();
                // A link may lead to a file of a package that is not here.
                if file.is_file() {
                    files.push(file);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
