//! Kernel modules: loaded from a folder, or by modprobe from where DKMS installs them.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use foliocopy_measure::input;
use foliocopy_measure::kernel::KernelBenchError;
use foliocopy_measure::text::{harmless, shown};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};
use serde::Serialize;

/// How long a module may still be in use after the last that used it is gone.
const LINGER: Duration = Duration::from_secs(5);

/// Where DKMS keeps what it knows of our modules.
const DKMS: &str = "/var/lib/dkms/foliocopy";

/// The running kernel's release, as `uname -r` says it.
pub(super) fn release() -> String {
    harmless(&rustix::system::uname().release().to_string_lossy()).into_owned()
}

/// The running kernel's headers, by which modules are built.
#[derive(Serialize)]
pub(super) struct Headers {
    folder: PathBuf,
    pub(super) installed: bool,
}

impl Headers {
    pub(super) fn detect() -> Self {
        let folder = Path::new("/lib/modules").join(release()).join("build");
        Self { installed: folder.exists(), folder }
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (release, folder) = (release(), self.folder.display());
        match self.installed {
            true => write!(f, "{folder}, to build it for Linux {release}"),
            false => write!(f, "missing, at {folder} (Debian: `apt install linux-headers-{release}`)"),
        }
    }
}

/// How the kernel is locked down (kernel_lockdown(7)): `integrity` or `confidentiality`. `None` where it is not.
pub(super) fn lockdown() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, chosen) = modes.split_once('[')?;
    let (mode, _) = chosen.split_once(']')?;
    (mode != "none").then(|| harmless(mode).into_owned())
}

/// Adds to an error of the bench that the kernel is locked down, where that explains it: nobody writes to debugfs then.
pub(super) fn where_locked_down(error: KernelBenchError) -> Error {
    let refused = matches!(&error, KernelBenchError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
    match lockdown().filter(|_| refused) {
        Some(mode) => Error::from(error).context(format!(
            "the kernel is locked down ({mode}), where nobody may write to debugfs: this bench can't run, and \
             `foliocopy migrate` can"
        )),
        None => error.into(),
    }
}

/// Whether it is loaded.
pub(super) fn is_loaded(name: &str) -> bool {
    Path::new("/sys/module").join(name).join("initstate").exists()
}

/// Loads it: `FOLDER/NAME.ko` where a folder is given, else as modprobe finds it. Whether it was not loaded before.
pub(super) fn load(name: &str, folder: Option<&Path>) -> Result<bool> {
    if is_loaded(name) {
        return Ok(false);
    }
    match folder {
        Some(folder) => load_from(&folder.join(format!("{name}.ko"))),
        None => modprobe(name).map(|()| true),
    }
}

fn load_from(file: &Path) -> Result<bool> {
    let opened = input::open(file).with_context(|| format!("can't open `{}`", shown(file)))?;
    match finit_module(&opened, &CString::default(), 0) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(io::Error::from(error))
            .with_context(|| format!("can't load `{}`: {}", shown(file), Refused::by(error).advice())),
    }
}

fn modprobe(name: &str) -> Result<()> {
    let mut output = Err(io::ErrorKind::NotFound.into());
    // After `su` PATH may lack sbin.
    for program in ["modprobe", "/sbin/modprobe", "/usr/sbin/modprobe"] {
        // Out of the terminal's reach: Ctrl-C is for this program alone, which then goes back.
        output = Command::new(program).arg(name).stdin(Stdio::null()).process_group(0).output();
        if !output.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no modprobe here: name the folder that has {name}.ko with --modules")
        }
        output => output.context("can't run modprobe")?,
    };
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.trim().lines().collect::<Vec<_>>().join("; ");
    match Refused::of(&complaint) {
        Some(refused) => bail!("{complaint}: {}", refused.advice()),
        None => bail!(
            "{complaint}: {}, or name the folder that has {name}.ko with --modules",
            not_installed(Path::new(DKMS).exists(), &Headers::detect())
        ),
    }
}

/// Advice where no module is installed for the running kernel.
fn not_installed(known_to_dkms: bool, headers: &Headers) -> String {
    let install = || {
        format!(
            "the kernel's headers are missing. Install them (Debian: `apt install linux-headers-{}`)",
            release()
        )
    };
    match (known_to_dkms, headers.installed) {
        (true, true) => format!(
            "DKMS has its sources and no module of this kernel: `dkms autoinstall` builds it, and says why it can't \
             (make.log in {DKMS})"
        ),
        (true, false) => {
            format!("DKMS has its sources, but could not build it: {}, and run `dkms autoinstall`", install())
        }
        (false, true) => "install the package foliocopy-dkms, which builds it (docs/KERNEL.md)".to_owned(),
        (false, false) => {
            format!("{} and the package foliocopy-dkms, which builds it (docs/KERNEL.md)", install())
        }
    }
}

/// Why a kernel refuses a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Key,
    Rights,
    Busy,
    OtherKernel,
    UnknownSymbol,
    Otherwise,
}

impl Refused {
    fn by(error: Errno) -> Self {
        match error {
            Errno::KEYREJECTED | Errno::NOKEY | Errno::KEYEXPIRED | Errno::KEYREVOKED => Self::Key,
            Errno::PERM | Errno::ACCESS => Self::Rights,
            Errno::BUSY => Self::Busy,
            Errno::NOEXEC => Self::OtherKernel,
            Errno::NOENT => Self::UnknownSymbol,
            _ => Self::Otherwise,
        }
    }

    /// The reason in modprobe's message, in strerror(3)'s words. `None` where the message has none.
    fn of(complaint: &str) -> Option<Self> {
        let words = [
            ("Key was rejected", Self::Key),
            ("Required key not available", Self::Key),
            ("Key has expired", Self::Key),
            ("Key has been revoked", Self::Key),
            ("Operation not permitted", Self::Rights),
            ("Permission denied", Self::Rights),
            ("Device or resource busy", Self::Busy),
            ("Exec format error", Self::OtherKernel),
            ("Unknown symbol", Self::UnknownSymbol),
        ];
        words.into_iter().find(|(words, _)| complaint.contains(words)).map(|(_, refused)| refused)
    }

    /// Advice for the reason.
    fn advice(self) -> String {
        const KEY: &str = "it takes modules alone that are signed with a key it trusts: enrol the key by which DKMS signs, \
                           `mokutil --import /var/lib/dkms/mok.pub`, confirm it at the next boot, and load again \
                           (docs/KERNEL.md)";
        match self {
            Self::Key => {
                format!("this kernel checks signatures (secure boot, or module.sig_enforce), so {KEY}")
            }
            Self::Rights => match (lockdown(), modules_disabled()) {
                (Some(mode), _) => {
                    format!("this kernel is locked down ({mode}; secure boot does that), so {KEY}")
                }
                (None, true) => {
                    "this kernel takes no module until the next boot (sysctl kernel.modules_disabled is 1)"
                        .to_owned()
                }
                (None, false) => "this needs root, outside of containers (CAP_SYS_MODULE)".to_owned(),
            },
            Self::Busy => {
                "the kernel is busy with another livepatch or with this very module: wait until every \
                           /sys/kernel/livepatch/*/transition is 0, and try again"
                    .to_owned()
            }
            Self::OtherKernel => {
                "it was built for another kernel; dmesg says more. DKMS builds it for this one \
                                  (`dkms autoinstall`)"
                    .to_owned()
            }
            Self::UnknownSymbol => "it refers to what this kernel does not have; dmesg says what".to_owned(),
            Self::Otherwise => "dmesg says more".to_owned(),
        }
    }
}

fn modules_disabled() -> bool {
    fs::read_to_string("/proc/sys/kernel/modules_disabled").is_ok_and(|text| text.trim() == "1")
}

/// Unloads it, if it is there.
pub(super) fn unload(name: &str) -> Result<()> {
    let deadline = Instant::now() + LINGER;
    let name_for_kernel = CString::new(name).context("a module's name")?;
    // Gone by itself, as far as the kernel shows.
    while is_loaded(name) {
        match delete_module(&name_for_kernel, 0) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::AGAIN | Errno::BUSY) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(io::Error::from(error)).with_context(|| format!("can't unload {name}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_secure_boot_refuses_gets_advice_about_keys() {
        let complaint = "modprobe: ERROR: could not insert 'foliocopy': Key was rejected by service";
        assert_eq!(Refused::of(complaint), Some(Refused::Key));
        for error in [Errno::KEYREJECTED, Errno::NOKEY] {
            assert!(Refused::by(error).advice().contains("mokutil --import"));
        }
        assert_eq!(Refused::by(Errno::PERM), Refused::Rights);
        assert_eq!(Refused::by(Errno::BUSY), Refused::Busy);
        assert_eq!(
            Refused::of("modprobe: FATAL: Module foliocopy not found in directory /lib/modules/1"),
            None
        );
    }
    #[test]
    fn a_module_that_is_not_installed_gets_the_next_step() {
        let headers = |installed| Headers { folder: "/lib/modules/1/build".into(), installed };
        let says = |known, installed| not_installed(known, &headers(installed));
        assert!(says(false, true).starts_with("install the package foliocopy-dkms"));
        assert!(
            says(false, false).contains("linux-headers-") && says(false, false).contains("foliocopy-dkms")
        );
        assert!(
            says(true, false).contains("linux-headers-") && says(true, false).ends_with("`dkms autoinstall`")
        );
        assert!(says(true, true).contains("make.log"));
    }
}
