//! A stock Debian kernel, and the headers and tools to build a module for it, in a folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::archive::Archive;
use super::chroot::{self, Chroot};
use crate::lanes;
use crate::need::Missing;

/// The flavour of kernel: built for virtual machines, with every driver that the guest needs built in.
const FLAVOUR: &str = "-cloud-amd64";

/// In place of a series: whichever is the newest.
pub(crate) const NEWEST: &str = "newest";

/// The folder of kernels and of the archive's lists.
pub(crate) const CACHE: &str = ".cache/vm";

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// Its release, as in `uname -r`.
    pub(crate) release: String,
    root: PathBuf,
    tools: Tools,
}

/// The tools that build its modules.
enum Tools {
    /// This machine's compiler.
    OfThisMachine,
    /// The tools of the kernel's suite, in a root of their own, in which the kernel is unpacked too.
    Chroot(Chroot),
    /// This machine's compiler, which built the kernel too.
    Source,
}

impl Kernel {
    /// A kernel that was built from source, in this folder.
    pub(crate) fn built(release: String, output: PathBuf) -> Self {
        Self { release, root: output, tools: Tools::Source }
    }

    /// Fetches the newest kernel of a series (`6.12`), or takes it from the cache. It comes from the suites that this machine
    /// installs from, or else from [`chroot::BACKPORTS`], as [`NEWEST`] does.
    pub(crate) fn fetch(shell: &Shell, series: &str, cache: &Path) -> Result<Self> {
        let archive = Archive::of_this_machine(cache)?;
        if series != NEWEST
            && let Some(release) = newest_offered(shell, &archive, series)?
        {
            let root = cache.join("kernels").join(&release);
            return Self { root, release, tools: Tools::OfThisMachine }.unpacked(shell, &archive);
        }
        let archive = Archive::of_suites(shell, cache, &[chroot::SUITE, chroot::BACKPORTS])?;
        let release = newest_offered(shell, &archive, series)?.with_context(|| {
            let suite = chroot::SUITE;
            format!(
                "neither this machine's archive nor {suite}-backports offers a kernel {series} ({FLAVOUR})"
            )
        })?;
        let mirror = Archive::of_this_machine(cache)?.mirror(shell)?;
        let chroot = Chroot::bootstrapped(shell, cache, &mirror)?;
        Self { root: chroot.root.clone(), release, tools: Tools::Chroot(chroot) }.unpacked(shell, &archive)
    }

    /// Fetches the image of the newest aarch64 kernel with pages of 16 KiB from [`chroot::BACKPORTS`], or takes it from the
    /// cache. Returns its release and the image.
    pub(crate) fn fetch_aarch64(shell: &Shell, cache: &Path) -> Result<(String, PathBuf)> {
        const BINARY: &str = "linux-binary-";
        let archive = Archive::of_suites(shell, cache, &[chroot::SUITE, chroot::BACKPORTS])?
            .of_architecture("arm64")?;
        archive.refresh(shell)?;
        let names = archive.names(shell, BINARY)?;
        // Names of unsigned packages have a word before the release.
        let releases = names.iter().filter_map(|package| package.strip_prefix(BINARY));
        let releases = releases.filter(|release| release.starts_with(|first: char| first.is_ascii_digit()));
        let release = newest(releases, "-arm64-16k").with_context(|| {
            format!("{} offers no kernel for arm64 with pages of 16 KiB", chroot::BACKPORTS)
        })?;
        let root = cache.join("kernels").join(&release);
        let image = root.join("usr/lib/modules").join(&release).join("vmlinuz");
        if !image.exists() {
            eprintln!("fetching Linux {release}");
            fs::create_dir_all(&root)?;
            archive.unpack(shell, &[format!("{BINARY}{release}")], &root)?;
        }
        Ok((release, image))
    }

    /// The newest release of a series that the suites of this machine offer.
    pub(crate) fn newest_release(shell: &Shell, series: &str) -> Result<String> {
        let cache = shell.current_dir().join(CACHE);
        let release = newest_offered(shell, &Archive::of_this_machine(&cache)?, series)?;
        let missing =
            || Missing(format!("needs a kernel {series} ({FLAVOUR}) in the suites of this machine's apt"));
        Ok(release.ok_or_else(missing)?)
    }

    fn unpacked(self, shell: &Shell, archive: &Archive) -> Result<Self> {
        let complete = self.root.join(format!("complete-{}", self.release));
        if complete.exists() {
            return Ok(self);
        }
        eprintln!("fetching Linux {}", self.release);
        fs::create_dir_all(&self.root)?;
        archive.unpack(shell, &self.packages(shell, archive)?, &self.root)?;
        if let Tools::OfThisMachine = self.tools {
            self.relocate()?;
            self.compiler(shell)?;
        }
        fs::write(complete, "")?;
        Ok(self)
    }

    /// The kernel's image, headers and build tools; and pahole with its libraries, without which the build deletes the module.
    fn packages(&self, shell: &Shell, archive: &Archive) -> Result<Vec<String>> {
        let headers = format!("linux-headers-{}", self.release);
        let image = format!("linux-image-{}", self.release);
        // Since 7.x the image is in a package of its own, on which linux-image depends.
        let binary = format!("linux-binary-{}", self.release);
        let image = if archive.names(shell, &binary)?.contains(&binary) { binary } else { image };
        let of_headers = archive.dependencies(shell, [&headers])?;
        let of_pahole = archive.dependencies(shell, ["pahole"])?;
        let mut packages: Vec<String> = of_headers
            .into_iter()
            .filter(|name| {
                ["linux-headers-", "linux-kbuild-", "linux-base-"].iter().any(|start| name.starts_with(start))
            })
            .chain(of_pahole.into_iter().filter(|name| name.starts_with("lib") && name != "libc6"))
            .chain([headers, image, "pahole".to_owned()])
            .collect();
        packages.sort_unstable();
        packages.dedup();
        Ok(packages)
    }

    /// The headers' Makefile names the folder to which their package installs. This changes it to the folder of the unpacked
    /// headers.
    fn relocate(&self) -> Result<()> {
        let makefile = self.headers().join("Makefile");
        let text = fs::read_to_string(&makefile)?;
        let relocated =
            text.replace("include /usr/src/", &format!("include {}/usr/src/", self.root.display()));
        ensure!(relocated != text, "{} is not as expected: no `include /usr/src/`", makefile.display());
        Ok(fs::write(makefile, relocated)?)
    }

    /// Checks that the compiler which the headers name is installed.
    fn compiler(&self, shell: &Shell) -> Result<()> {
        let variables = fs::read_to_string(self.headers().join(".kernelvariables"))?;
        let compiler = variables
            .lines()
            .filter(|line| line.starts_with("CC ="))
            .find_map(|line| line.split_whitespace().find_map(|word| word.rsplit_once(")gcc")))
            .map(|(_, version)| format!("gcc{version}"))
            .context("the kernel's headers do not say which compiler built it")?;
        let asked = cmd!(shell, "{compiler} --version").quiet().ignore_stdout().ignore_stderr().run();
        let missing = |_| {
            Missing(format!(
                "needs {compiler} (apt-get install {compiler}), by which Linux {} was built",
                self.release
            ))
        };
        Ok(asked.map_err(missing)?)
    }

    /// Whether this machine's own tools build its modules.
    pub(crate) fn is_built_here(&self) -> bool {
        matches!(self.tools, Tools::OfThisMachine)
    }

    /// The image that QEMU boots.
    pub(crate) fn image(&self) -> PathBuf {
        if let Tools::Source = self.tools {
            return self.root.join("arch/x86/boot/bzImage");
        }
        let boot = self.root.join("boot").join(format!("vmlinuz-{}", self.release));
        if boot.exists() {
            boot
        } else {
            self.root.join("usr/lib/modules").join(&self.release).join("vmlinuz")
        }
    }

    fn headers(&self) -> PathBuf {
        if let Tools::Source = self.tools {
            return self.root.clone();
        }
        self.root.join("usr/src").join(format!("linux-headers-{}", self.release))
    }

    /// Runs `make` in `folder`/`module` against the kernel's headers, with the symbols that another module of `folder`
    /// exports.
    pub(crate) fn make(
        &self,
        shell: &Shell,
        folder: &Path,
        module: &str,
        symbols_of: Option<&str>,
    ) -> Result<Output> {
        let symbols =
            |folder: &Path| symbols_of.map_or(PathBuf::new(), |of| folder.join(of).join("Module.symvers"));
        let _jobs = shell.push_env("MAKEFLAGS", format!("--jobs={}", lanes::cpus()));
        let output = match &self.tools {
            Tools::OfThisMachine | Tools::Source => {
                let (module, headers) = (folder.join(module), self.headers());
                let mut path = OsString::from(self.root.join("usr/bin"));
                path.push(":");
                path.push(std::env::var_os("PATH").context("PATH is not set")?);
                cmd!(shell, "make --no-print-directory -C {module} KDIR={headers}")
                    .env("PATH", path)
                    .env("LD_LIBRARY_PATH", self.root.join("usr/lib/x86_64-linux-gnu"))
                    .env("KBUILD_EXTRA_SYMBOLS", symbols(folder))
                    .quiet()
                    .ignore_status()
                    .output()?
            }
            Tools::Chroot(chroot) => {
                let headers = format!("/usr/src/linux-headers-{}", self.release);
                let inside = Path::new(chroot::BUILD);
                chroot.make(shell, folder, &inside.join(module), &headers, &symbols(inside))?
            }
        };
        Ok(output)
    }
}

/// The newest release of a series that the archive offers.
fn newest_offered(shell: &Shell, archive: &Archive, series: &str) -> Result<Option<String>> {
    const HEADERS: &str = "linux-headers-";
    archive.refresh(shell)?;
    let of_series = if series == NEWEST { HEADERS.to_owned() } else { format!("{HEADERS}{series}.") };
    let names = archive.names(shell, &of_series)?;
    Ok(newest(names.iter().filter_map(|package| package.strip_prefix(HEADERS)), FLAVOUR))
}

/// The newest release of a flavour.
fn newest<'a>(releases: impl Iterator<Item = &'a str>, flavour: &str) -> Option<String> {
    let of_flavour = releases.filter_map(|release| release.strip_suffix(flavour));
    Some(of_flavour.max_by_key(|numbers| version(numbers))?.to_owned() + flavour)
}

/// `6.12.117+deb12` as `[6, 12, 117, 12]`: every number, in order.
fn version(numbers: &str) -> Vec<u64> {
    numbers.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_found_by_number_and_flavour() {
        let packages = [
            "6.12.9+deb12-cloud-amd64",
            "6.12.117+deb12-cloud-amd64",
            "6.12.118+deb12-rt-amd64",
            "6.12.115+deb12-cloud-amd64",
            "6.12.117+deb12-common",
        ];
        assert_eq!(newest(packages.into_iter(), FLAVOUR).as_deref(), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest([].into_iter(), FLAVOUR), None);
    }
}
