//! Programs of others for the guest: Debian's with their libraries, and the kernel's own tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use foliocopy_vm::machine::Programs;
use xshell::Shell;

use super::archive::Archive;
use super::initramfs::Initramfs;
use super::selftests;

/// The loader of all these programs.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

const LIBRARIES: &str = "lib/x86_64-linux-gnu";
const UNITS: &str = "lib/systemd/system";

/// The unit under test.
const SERVICE: &str = "foliocopy-livepatch.service";

/// Packs a set of programs.
pub(crate) fn pack(shell: &Shell, cache: &Path, programs: Programs, packing: &mut Initramfs) -> Result<()> {
    match programs {
        Programs::Ours => Ok(()),
        Programs::System => {
            let system = Packages::fetch(shell, cache, "system", &["systemd", "linux-perf"])?;
            system.pack(packing, &["lib/systemd/systemd", "bin/systemctl", "bin/perf"])?;
            system.pack_units(packing)
        }
        Programs::Stress => {
            let stress = Packages::fetch(shell, cache, "stress", &["stress-ng", "numactl"])?;
            stress.pack(packing, &["bin/stress-ng", "bin/migratepages"])?;
            selftests::pack(shell, packing)
        }
    }
}

/// The unpacked packages of Debian's and of their libraries.
struct Packages {
    root: PathBuf,
}

impl Packages {
    /// Fetches the packages into a folder of the cache, or takes them from there.
    fn fetch(shell: &Shell, cache: &Path, folder: &str, names: &[&str]) -> Result<Self> {
        let root = cache.join(folder);
        let complete = root.join("complete");
        if !complete.exists() {
            let archive = Archive::of_this_machine(cache)?;
            archive.refresh(shell)?;
            // Of their dependencies only libraries are used here.
            let is_library = |name: &String| ["lib", "zlib"].iter().any(|start| name.starts_with(start));
            let mut packages = BTreeSet::new();
            let mut next: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
            while !next.is_empty() {
                let of_these = archive.dependencies(shell, &next)?.into_iter();
                packages.append(&mut next);
                next.extend(of_these.filter(|name| is_library(name) && !packages.contains(name)));
            }
            eprintln!("fetching {}, with {} libraries", names.join(" and "), packages.len() - names.len());
            archive.unpack(shell, &Vec::from_iter(packages), &root)?;
            fs::write(complete, "")?;
        }
        Ok(Self { root })
    }

    /// Packs programs, by their places in the guest, and all libraries.
    fn pack(&self, packing: &mut Initramfs, programs: &[&str]) -> Result<()> {
        for name in programs.iter().chain([&LOADER]) {
            let file = self.find(name).with_context(|| format!("the packages have no {name}"))?;
            packing.program(name, &file)?;
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

    /// Packs systemd's targets and our unit. There are no other units, so that only the units of a scenario run.
    fn pack_units(&self, packing: &mut Initramfs) -> Result<()> {
        // Only later versions of systemd have it.
        const EXECUTOR: &str = "lib/systemd/systemd-executor";
        if let Some(file) = self.find(EXECUTOR) {
            packing.program(EXECUTOR, &file)?;
        }
        packing.file(&format!("{UNITS}/{SERVICE}"), &Path::new("kmod").join(SERVICE))?;
        for unit in self.files(UNITS)?.iter().filter(|unit| unit.extension().is_some_and(|of| of == "target"))
        {
            packing.file(&format!("{UNITS}/{}", name_of(unit)), unit)?;
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
