//! Debian's archive, read through apt with a private state. Nothing of the machine's packages changes, and no root is needed.
//! apt checks the archive's signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::need::Missing;

/// After this time the archive's lists are fetched again.
const FRESH_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys of Debian's archive.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A set of suites of the archive.
pub(crate) struct Archive {
    /// apt's lists, cache and status.
    state: PathBuf,
    /// The options by which apt uses that state.
    options: Vec<String>,
}

impl Archive {
    /// The suites that this machine itself installs from.
    pub(crate) fn of_this_machine(cache: &Path) -> Result<Self> {
        Self::with_state(cache.join("apt"))
    }

    /// Other suites of Debian's (`trixie-backports`), from the mirror that this machine installs from.
    pub(crate) fn of_suites(shell: &Shell, cache: &Path, suites: &[&str]) -> Result<Self> {
        let mirror = Self::of_this_machine(cache)?.mirror(shell)?;
        let mut archive = Self::with_state(cache.join(format!("apt-{}", suites.join("-and-"))))?;
        let sources = archive.state.join("sources.list");
        let keyring = Path::new(KEYRING);
        let signed_by =
            if keyring.exists() { format!("[signed-by={}] ", keyring.display()) } else { String::new() };
        let lines = suites.iter().map(|suite| format!("deb {signed_by}{mirror} {suite} main\n"));
        fs::write(&sources, lines.collect::<String>())?;
        let only = [format!("Dir::Etc::sourcelist={}", sources.display()), "Dir::Etc::sourceparts=-".into()];
        archive.options.extend(only.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        Ok(archive)
    }

    /// The mirror from which this machine gets Debian.
    pub(crate) fn mirror(&self, shell: &Shell) -> Result<String> {
        self.refresh(shell)?;
        let options = &self.options;
        let targets = cmd!(shell, "apt-get {options...} indextargets --format '$(ORIGIN)/$(LABEL) $(SITE)'");
        let targets = targets.quiet().read()?;
        // Security updates have their own label and mirror.
        let mirror = targets.lines().find_map(|target| target.strip_prefix("Debian/Debian "));
        let missing = || Missing("needs a source of apt's that is Debian's".into());
        Ok(mirror.ok_or_else(missing)?.to_owned())
    }

    /// The suites for another architecture.
    pub(crate) fn of_architecture(mut self, architecture: &str) -> Result<Self> {
        let mut foreign = Self::with_state(self.state.with_extension(architecture))?;
        // The last value of an option counts.
        self.options.append(&mut foreign.options);
        let only =
            [format!("APT::Architecture={architecture}"), format!("APT::Architectures={architecture}")];
        self.options.extend(only.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        Ok(Self { state: foreign.state, ..self })
    }

    fn with_state(state: PathBuf) -> Result<Self> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(folder))?;
        }
        let status = state.join("status");
        if !status.exists() {
            fs::write(&status, "")?;
        }
        let shown = state.display();
        let options = [
            format!("Dir::State={shown}"),
            format!("Dir::State::lists={shown}/lists"),
            format!("Dir::State::status={shown}/status"),
            format!("Dir::Cache={shown}/cache"),
            // Images of containers have none, and then each call reads all lists.
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            // Otherwise apt, as root, downloads as a user who may not be able to write here.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        Ok(Self { state, options })
    }

    /// Fetches lists that are older than a day. Offline, older ones are used.
    pub(crate) fn refresh(&self, shell: &Shell) -> Result<()> {
        // Of two steps at once, the second finds the lists of the first.
        static LISTS: Mutex<()> = Mutex::new(());
        let _lists = LISTS.lock().expect("no step panics");
        let stamp = self.state.join("refreshed");
        let age = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .ok()
            .and_then(|then| SystemTime::now().duration_since(then).ok());
        if age.is_some_and(|age| age < FRESH_FOR) {
            return Ok(());
        }
        let options = &self.options;
        // Without Error-Mode apt returns 0 even if it could reach nothing.
        let update = cmd!(shell, "apt-get {options...} -qq -o APT::Update::Error-Mode=any update");
        match update.quiet().run() {
            Ok(()) => Ok(fs::write(&stamp, "")?),
            Err(error) if age.is_some() => {
                eprintln!(
                    "warning: cannot refresh the archive's lists ({error}); using those of an earlier day"
                );
                Ok(())
            }
            Err(error) => {
                Err(Missing(format!("needs Debian's archive, and can't read its lists: {error}")).into())
            }
        }
    }

    /// The names of the packages that start with `prefix`.
    pub(crate) fn names(&self, shell: &Shell, prefix: &str) -> Result<Vec<String>> {
        let options = &self.options;
        let names = cmd!(shell, "apt-cache {options...} pkgnames {prefix}").quiet().read()?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The version of a package that would be downloaded.
    pub(crate) fn version(&self, shell: &Shell, package: &str) -> Result<String> {
        let options = &self.options;
        let shown = cmd!(shell, "apt-cache {options...} --no-all-versions show {package}").quiet().read()?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        Ok(version.with_context(|| format!("the archive offers no {package}"))?.to_owned())
    }

    /// The names of the packages that one of `packages` depends on directly.
    pub(crate) fn dependencies(
        &self,
        shell: &Shell,
        packages: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<String>> {
        let options = &self.options;
        let packages = packages.into_iter().map(|name| name.as_ref().to_owned());
        let listing =
            cmd!(shell, "apt-cache {options...} --important depends {packages...}").quiet().read()?;
        let names = listing.lines().filter_map(|line| line.split_once("Depends: ")).map(|(_, name)| name);
        // A name in angle brackets is virtual.
        Ok(names.filter(|name| !name.starts_with('<')).map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them into `root`, installing nothing.
    pub(crate) fn unpack(&self, shell: &Shell, packages: &[String], root: &Path) -> Result<()> {
        for deb in self.download(shell, packages)? {
            cmd!(shell, "dpkg -x {deb} {root}").quiet().run()?;
            fs::remove_file(deb)?;
        }
        Ok(())
    }

    /// Downloads a package and unpacks one file of it into `root`, if the rest of a large package is not needed.
    pub(crate) fn unpack_file(&self, shell: &Shell, package: &str, file: &str, root: &Path) -> Result<()> {
        const UNPACK: &str = r#"dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" "./$3""#;
        for deb in self.download(shell, &[package.to_owned()])? {
            cmd!(shell, "sh -c {UNPACK} sh {deb} {root} {file}").quiet().run()?;
            fs::remove_file(deb)?;
        }
        Ok(())
    }

    /// Downloads packages, and returns their files.
    fn download(&self, shell: &Shell, packages: &[String]) -> Result<Vec<PathBuf>> {
        let options = &self.options;
        let debs = self.state.join("debs");
        fs::create_dir_all(&debs)?;
        for old in shell.read_dir(&debs)? {
            fs::remove_file(old)?;
        }
        let folder = shell.push_dir(&debs);
        cmd!(shell, "apt-get {options...} -q download {packages...}").quiet().ignore_stdout().run().map_err(
            |error| Missing(format!("needs packages of Debian's archive, and can't get them: {error}")),
        )?;
        drop(folder);
        let debs = shell.read_dir(&debs)?;
        ensure!(
            debs.len() == packages.len(),
            "asked apt for {} packages, got {}",
            packages.len(),
            debs.len()
        );
        Ok(debs)
    }
}

/// The suite of this machine.
pub(crate) fn suite(shell: &Shell) -> Result<String> {
    let release = shell.read_file("/etc/os-release").unwrap_or_default();
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let missing = || Missing("needs Debian: /etc/os-release has no VERSION_CODENAME".into());
    Ok(suite.ok_or_else(missing)?.to_owned())
}
