//! Kernel modules: loaded from a folder, or by modprobe from where DKMS installs them.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
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
    let Some(folder) = folder else {
        let output = Command::new("modprobe").arg(name).output();
        let output = match output {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("there is no modprobe here: name the folder that has {name}.ko with --modules")
            }
            output => output.context("can't run modprobe")?,
        };
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{}: install the DKMS package (docs/KERNEL.md), or name the folder that has {name}.ko with --modules",
                complaint.trim()
            );
        }
        return Ok(true);
    };
    let file = folder.join(format!("{name}.ko"));
    let opened = File::open(&file).with_context(|| format!("can't open {}", file.display()))?;
    match finit_module(&opened, &CString::default(), 0) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(io::Error::from(error)).with_context(|| {
            let advice = match error {
                Errno::PERM => "this needs root, and a kernel that is not locked down",
                Errno::KEYREJECTED | Errno::NOKEY => "this kernel takes signed modules only (docs/KERNEL.md)",
                Errno::NOEXEC => "it was built for another kernel; dmesg says more",
                Errno::NOENT => "it refers to what this kernel does not have; dmesg says more",
                _ => "dmesg says more",
            };
            format!("can't load {}: {advice}", file.display())
        }),
    }
}

/// Unloads it, if it is there.
pub(super) fn unload(name: &str) -> Result<()> {
    let deadline = Instant::now() + LINGER;
    let name_for_kernel = CString::new(name).context("a module's name")?;
    loop {
        match delete_module(&name_for_kernel, 0) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::AGAIN | Errno::BUSY) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(io::Error::from(error)).with_context(|| format!("can't unload {name}")),
        }
    }
}
