//! A stock Debian kernel with what it takes to build a module for it, unpacked into a folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::archive::Archive;

/// The flavour that is booted: built for virtual machines, with every driver the guest needs built in.
const FLAVOUR: &str = "-cloud-amd64";

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// Its release, as `uname -r` says it.
    pub(crate) release: String,
    root: PathBuf,
}

impl Kernel {
    /// Fetches the newest kernel of a series (`6.12`), or takes it from the cache.
    pub(crate) fn fetch(shell: &Shell, archive: &Archive, series: &str, cache: &Path) -> Result<Self> {
        archive.refresh(shell)?;
        let release = newest(&archive.names(shell, &format!("linux-headers-{series}."))?)
            .with_context(|| format!("the archive offers no kernel {series} ({FLAVOUR})"))?;
        let kernel = Self { root: cache.join("kernels").join(&release), release };
        let complete = kernel.root.join("complete");
        if complete.exists() {
            return Ok(kernel);
        }
        eprintln!("fetching Linux {}", kernel.release);
        if kernel.root.exists() {
            fs::remove_dir_all(&kernel.root)?;
        }
        fs::create_dir_all(&kernel.root)?;
        archive.unpack(shell, &kernel.packages(shell, archive)?, &kernel.root)?;
        kernel.relocate()?;
        kernel.compiler(shell)?;
        fs::write(complete, "")?;
        Ok(kernel)
    }

    /// The kernel's image, headers and build tools; pahole (without it the build deletes the module) and its
    /// libraries.
    fn packages(&self, shell: &Shell, archive: &Archive) -> Result<Vec<String>> {
        let headers = format!("linux-headers-{}", self.release);
        let image = format!("linux-image-{}", self.release);
        let of_headers = archive.dependencies(shell, &headers)?;
        let of_pahole = archive.dependencies(shell, "pahole")?;
        let mut packages: Vec<String> = of_headers
            .into_iter()
            .filter(|name| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-"))
            .chain(of_pahole.into_iter().filter(|name| name.starts_with("lib") && name != "libc6"))
            .chain([headers, image, "pahole".to_owned()])
            .collect();
        packages.sort_unstable();
        packages.dedup();
        Ok(packages)
    }

    /// The headers' Makefile names the folder that their package installs to: name the one they were unpacked to.
    fn relocate(&self) -> Result<()> {
        let makefile = self.headers().join("Makefile");
        let text = fs::read_to_string(&makefile)?;
        let relocated =
            text.replace("include /usr/src/", &format!("include {}/usr/src/", self.root.display()));
        ensure!(relocated != text, "{} is not as expected: no `include /usr/src/`", makefile.display());
        Ok(fs::write(makefile, relocated)?)
    }

    /// Checks that the compiler is there that the headers ask for.
    fn compiler(&self, shell: &Shell) -> Result<()> {
        let variables = fs::read_to_string(self.headers().join(".kernelvariables"))?;
        let compiler = variables
            .lines()
            .filter(|line| line.starts_with("CC ="))
            .find_map(|line| line.split_whitespace().find_map(|word| word.rsplit_once(")gcc")))
            .map(|(_, version)| format!("gcc{version}"))
            .context("the kernel's headers do not say which compiler built it")?;
        cmd!(shell, "{compiler} --version").quiet().ignore_stdout().run().with_context(|| {
            format!("building modules for Linux {} needs {compiler}: install it", self.release)
        })
    }

    /// The image that QEMU boots.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// What `make -C` builds a module against.
    pub(crate) fn headers(&self) -> PathBuf {
        self.root.join("usr/src").join(format!("linux-headers-{}", self.release))
    }

    /// The variables under which the unpacked build tools find each other.
    pub(crate) fn build_environment(&self) -> Result<[(&'static str, OsString); 2]> {
        let mut path = OsString::from(self.root.join("usr/bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").context("PATH is not set")?);
        Ok([("PATH", path), ("LD_LIBRARY_PATH", self.root.join("usr/lib/x86_64-linux-gnu").into())])
    }
}

/// The newest release among the names of header packages.
fn newest(packages: &[String]) -> Option<String> {
    packages
        .iter()
        .filter_map(|package| package.strip_prefix("linux-headers-"))
        .filter(|release| release.ends_with(FLAVOUR))
        .max_by_key(|release| version(release))
        .map(str::to_owned)
}

/// `6.12.117+deb12-cloud-amd64` as `[6, 12, 117, 12]`: every number, in order.
fn version(release: &str) -> Vec<u64> {
    let numbers = release.strip_suffix(FLAVOUR).unwrap_or(release);
    numbers.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_found_by_number_and_flavour() {
        let packages = [
            "linux-headers-6.12.9+deb12-cloud-amd64",
            "linux-headers-6.12.117+deb12-cloud-amd64",
            "linux-headers-6.12.118+deb12-rt-amd64",
            "linux-headers-6.12.115+deb12-cloud-amd64",
            "linux-headers-6.12.117+deb12-common",
        ]
        .map(str::to_owned);
        assert_eq!(newest(&packages).as_deref(), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest(&[]), None);
    }
}
