//! `foliocopy-dkms`: the kernel modules as C and assembly, which dkms builds for each kernel without Rust.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::{Shell, cmd};

use super::{Fields, changelog, holder, maintainer, script};

/// Packs the modules under a version (`0.1.0`) below `directory` and returns the package's path.
pub(crate) fn package(shell: &Shell, directory: &Path, version: &str, epoch: &str) -> Result<PathBuf> {
    let root = directory.join("debian-root-dkms");
    shell.remove_path(&root)?;
    let sources = root.join(format!("usr/src/foliocopy-{version}"));
    cmd!(shell, "make --no-print-directory -C kmod package VERSION={version} PACKAGE={sources}")
        .quiet()
        .ignore_stdout()
        .run()?;

    let (revision, maintainer) = (format!("{version}-1"), maintainer(shell)?);
    let documents = root.join("usr/share/doc/foliocopy-dkms");
    let page = documents.join("KERNEL.md");
    cmd!(shell, "install -D --mode=644 docs/KERNEL.md {page}").quiet().run()?;
    shell.write_file(documents.join("copyright"), copyright(shell)?)?;
    let changes = documents.join("changelog.Debian");
    shell.write_file(&changes, changelog(shell, "foliocopy-dkms", &revision, &maintainer)?)?;
    cmd!(shell, "gzip --no-name --best {changes}").quiet().run()?;
    for (name, text) in [("postinst", include_str!("dkms.postinst")), ("prerm", include_str!("dkms.prerm"))] {
        script(shell, &root, name, &text.replace("@VERSION@", version))?;
    }
    let fields = Fields {
        package: "foliocopy-dkms",
        version: &revision,
        architecture: "amd64",
        maintainer: &maintainer,
        relations: "Depends: dkms\nRecommends: foliocopy\n".to_owned(),
        section: "kernel",
        description: "\
page and folio copies of the Linux kernel, by foliocopy
 Two kernel modules, which dkms builds for each kernel from 6.12 on whose
 headers are installed. One holds the copies, their benchmark and their
 self-test. The other replaces folio_copy() and folio_mc_copy() of the
 running kernel by livepatch, once it is loaded: installing changes nothing
 about how the kernel copies.",
    };
    fields.pack(shell, directory, &root, epoch)
}

fn copyright(shell: &Shell) -> Result<String> {
    let license = shell.read_file("LICENSE-MIT")?;
    let holder = holder(&license)?;
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: foliocopy\n\n\
         Files: *\n\
         Copyright: {holder}\n\
         License: GPL-2\n \
          Version 2 of the GNU General Public License, which Debian systems have in\n \
          /usr/share/common-licenses/GPL-2.\n"
    ))
}
