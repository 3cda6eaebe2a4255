//! The kernel modules, built without Rust from the package that DKMS takes, as an operator builds them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::kernel::Kernel;

/// The type of the exception-table entries in foliocopy.ko, `EX_TYPE_FAULT_MCE_SAFE`; and `EX_TYPE_FAULT`, which the kernel
/// does not take for safe and which is equal otherwise.
const MCE_SAFE_TYPE: &str = "\t.long\t15";
const PLAIN_TYPE: &str = "\t.long\t2";

/// A module that was built.
pub(crate) struct Module {
    /// Its name in the guest.
    pub(crate) name: &'static str,
    pub(crate) file: PathBuf,
}

/// Builds every module for `kernel` below `folder`.
pub(crate) fn build(shell: &Shell, kernel: &Kernel, folder: &Path) -> Result<Vec<Module>> {
    // The engine as compiled where rustc has no bare-metal target.
    let hosted = folder.join("kmod-hosted");
    let package = folder.join("package");
    make_package(shell, &package, &["TARGET=x86_64-unknown-linux-gnu"])?;
    copy(shell, &package, &hosted, |_, contents| contents)?;
    make(shell, kernel, folder, "kmod-hosted", None)?;

    make_package(shell, &package, &[])?;
    let foliocopy = folder.join("kmod");
    copy(shell, &package, &foliocopy, |_, contents| contents)?;
    make(shell, kernel, folder, "kmod", None)?;
    // A build in the repository, as a developer makes it. The chroot has no Rust.
    if kernel.is_built_here() {
        make(shell, kernel, &shell.current_dir(), "kmod", None)?;
    }

    // Entries of the other type, to show the effect of the type.
    let plain = folder.join("kmod-plain-type");
    copy(
        shell,
        &package,
        &plain,
        |name, contents| if name == "engine.S" { with_plain_type(&contents) } else { contents },
    )?;
    make(shell, kernel, folder, "kmod-plain-type", None)?;

    let machine_check = folder.join("machine_check");
    copy(shell, Path::new("vm/machine_check"), &machine_check, |_, contents| contents)?;
    copy_file(&package.join("foliocopy.h"), &machine_check.join("foliocopy.h"), |contents| contents)?;
    make(shell, kernel, folder, "machine_check", Some("kmod"))?;

    let contract = contract(shell, kernel, folder)?;
    copy(shell, Path::new("vm/rival"), &folder.join("rival"), |_, contents| contents)?;
    make(shell, kernel, folder, "rival", None)?;

    Ok(vec![
        Module { name: "foliocopy", file: foliocopy.join("foliocopy.ko") },
        Module { name: "foliocopy-hosted", file: hosted.join("foliocopy.ko") },
        Module { name: "foliocopy-plain-type", file: plain.join("foliocopy.ko") },
        Module { name: "foliocopy_machine_check", file: machine_check.join("foliocopy_machine_check.ko") },
        Module { name: "foliocopy_livepatch", file: foliocopy.join("foliocopy_livepatch.ko") },
        contract,
        Module { name: "foliocopy_rival", file: folder.join("rival/foliocopy_rival.ko") },
    ])
}

/// Builds the modules that test the kernel's own functions, for a kernel without our modules.
pub(crate) fn build_tests(shell: &Shell, kernel: &Kernel, folder: &Path) -> Result<Vec<Module>> {
    let machine_check = folder.join("machine_check");
    copy(shell, Path::new("vm/machine_check"), &machine_check, |_, contents| of_kernel(&contents))?;
    make(shell, kernel, folder, "machine_check", None)?;
    let file = machine_check.join("foliocopy_machine_check.ko");
    Ok(vec![Module { name: "foliocopy_machine_check", file }, contract(shell, kernel, folder)?])
}

fn contract(shell: &Shell, kernel: &Kernel, folder: &Path) -> Result<Module> {
    let contract = folder.join("contract");
    copy(shell, Path::new("vm/contract"), &contract, |_, contents| contents)?;
    make(shell, kernel, folder, "contract", None)?;
    Ok(Module { name: "foliocopy_contract", file: contract.join("foliocopy_contract.ko") })
}

/// The test of machine checks without our header, which then calls the kernel's function.
fn of_kernel(source: &str) -> String {
    source.replace("#include \"foliocopy.h\"\n", "")
}

/// The assembly with the plain type in its exception table, and only there.
fn with_plain_type(assembly: &str) -> String {
    let mut in_table = false;
    let mut plain = String::with_capacity(assembly.len());
    for line in assembly.lines() {
        if line.starts_with("\t.section") || line.starts_with("\t.text") {
            in_table = line.contains("__ex_table");
        }
        plain.push_str(if in_table && line == MCE_SAFE_TYPE { PLAIN_TYPE } else { line });
        plain.push('\n');
    }
    plain
}

/// Makes the package in this folder, with these variables of the Makefile.
fn make_package(shell: &Shell, package: &Path, variables: &[&str]) -> Result<()> {
    let make = cmd!(shell, "make --no-print-directory -C kmod package PACKAGE={package} {variables...}");
    Ok(make.quiet().ignore_stdout().run()?)
}

/// Copies a folder of sources, changed by `change`, over an earlier copy.
fn copy(shell: &Shell, from: &Path, to: &Path, change: impl Fn(&str, String) -> String) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in shell.read_dir(from)? {
        let name = file.file_name().context("a file has a name")?;
        copy_file(&file, &to.join(name), |contents| change(&name.to_string_lossy(), contents))?;
    }
    Ok(())
}

/// Copies a file. An equal file is left alone, so that make sees which files changed.
fn copy_file(from: &Path, to: &Path, change: impl FnOnce(String) -> String) -> Result<()> {
    let contents =
        change(fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?);
    if fs::read_to_string(to).ok().as_ref() != Some(&contents) {
        fs::write(to, contents)?;
        fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    }
    Ok(())
}

/// Builds the module in `folder`/`module`, which may use the exports of another one there. Any output of the compiler or of
/// objtool is an error.
fn make(shell: &Shell, kernel: &Kernel, folder: &Path, module: &str, symbols_of: Option<&str>) -> Result<()> {
    let output = kernel.make(shell, folder, module, symbols_of)?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "cannot build {module}:\n{stdout}{stderr}");
    ensure!(!stderr.contains("warning:"), "building {module} gave warnings:\n{stderr}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exception_table_changes_its_type() {
        let assembly = "\t.section\t__ex_table,\"a\",@progbits\n\t.long\t15\n\t.text\n\t.long\t15\n";
        let plain = "\t.section\t__ex_table,\"a\",@progbits\n\t.long\t2\n\t.text\n\t.long\t15\n";
        assert_eq!(with_plain_type(assembly), plain);
    }
}
