//! Kernel modules: loaded from a folder, or by modprobe from where DKMS installs them.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use foliocopy_measure::input;
use foliocopy_measure::text::shown;
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

/// How long a module may still be in use after the last that used it is gone.
const LINGER: Duration = Duration::from_secs(5);

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
    // Whoever became root by `su` may have no sbin in PATH.
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
            "{complaint}: install the DKMS package (docs/KERNEL.md), or name the folder that has {name}.ko with --modules"
        ),
    }
}

/// Why a kernel refuses a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Key,
    Rights,
    OtherKernel,
    UnknownSymbol,
    Otherwise,
}

impl Refused {
    fn by(error: Errno) -> Self {
        match error {
            Errno::KEYREJECTED | Errno::NOKEY | Errno::KEYEXPIRED | Errno::KEYREVOKED => Self::Key,
            Errno::PERM | Errno::ACCESS => Self::Rights,
            Errno::NOEXEC => Self::OtherKernel,
            Errno::NOENT => Self::UnknownSymbol,
            _ => Self::Otherwise,
        }
    }

    /// By what modprobe says, in strerror(3)'s words. `None` where it does not speak of the kernel's answer.
    fn of(complaint: &str) -> Option<Self> {
        let words = [
            ("Key was rejected", Self::Key),
            ("Required key not available", Self::Key),
            ("Key has expired", Self::Key),
            ("Key has been revoked", Self::Key),
            ("Operation not permitted", Self::Rights),
            ("Permission denied", Self::Rights),
            ("Exec format error", Self::OtherKernel),
            ("Unknown symbol", Self::UnknownSymbol),
        ];
        words.into_iter().find(|(words, _)| complaint.contains(words)).map(|(_, refused)| refused)
    }

    /// What to do about it.
    fn advice(self) -> &'static str {
        match self {
            Self::Key => {
                "this kernel takes modules that are signed with a key it trusts (secure boot): enrol the key by which \
                 DKMS signs, `mokutil --import /var/lib/dkms/mok.pub`, confirm it at the next boot, and load again \
                 (docs/KERNEL.md)"
            }
            Self::Rights => {
                "this needs root, and a kernel that is not locked down: under lockdown (secure boot) the module has to be \
                 signed (docs/KERNEL.md)"
            }
            Self::OtherKernel => "it was built for another kernel; dmesg says more",
            Self::UnknownSymbol => "it refers to what this kernel does not have; dmesg says more",
            Self::Otherwise => "dmesg says more",
        }
    }
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
        assert_eq!(
            Refused::of("modprobe: FATAL: Module foliocopy not found in directory /lib/modules/1"),
            None
        );
    }
}
