//! The kernel modules, built as an operator builds them: from the package that DKMS takes, without Rust.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::kernel::Kernel;

/// Builds every module for `kernel` below `folder`, and returns their files.
pub(crate) fn build(shell: &Shell, kernel: &Kernel, folder: &Path) -> Result<Vec<PathBuf>> {
    cmd!(shell, "make --no-print-directory -C kmod package").quiet().ignore_stdout().run()?;
    let package = package(shell)?;
    let module = folder.join("kmod");
    copy(shell, &package, &module)?;
    make(shell, kernel, &module, "")?;
    Ok(vec![module.join("foliocopy.ko")])
}

/// The folder that `make package` has just filled.
fn package(shell: &Shell) -> Result<PathBuf> {
    let entries = shell.read_dir("kmod/build")?;
    let mut folders = entries.into_iter().filter(|entry| entry.is_dir());
    let package = folders.next().context("`make package` left no folder in kmod/build")?;
    ensure!(folders.next().is_none(), "kmod/build holds several packages: remove the old ones");
    Ok(package)
}

/// Copies a folder of sources over what is left of an earlier build, so that make sees what changed.
fn copy(shell: &Shell, from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in shell.read_dir(from)? {
        let name = file.file_name().context("a file has a name")?;
        copy_if_changed(&file, &to.join(name))?;
    }
    Ok(())
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    if fs::read(to).ok() != Some(fs::read(from)?) {
        fs::copy(from, to)?;
    }
    Ok(())
}

/// Runs `make` in `folder` for `kernel`. Whatever the compiler or objtool has to say is an error.
fn make(shell: &Shell, kernel: &Kernel, folder: &Path, symbols: impl AsRef<OsStr>) -> Result<()> {
    let (headers, symbols) = (kernel.headers(), symbols.as_ref());
    let [path, libraries] = kernel.build_environment()?;
    let output = cmd!(shell, "make --no-print-directory -C {folder} KDIR={headers}")
        .env(path.0, path.1)
        .env(libraries.0, libraries.1)
        .env("KBUILD_EXTRA_SYMBOLS", symbols)
        .quiet()
        .ignore_status()
        .output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "cannot build {}:\n{stdout}{stderr}", folder.display());
    ensure!(!stderr.contains("warning:"), "building {} gave warnings:\n{stderr}", folder.display());
    Ok(())
}
