//! The Debian package: one, with program, library, header, manual pages and completions.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::{Built, Tree};

/// Packs `built` below `directory` and returns the package's path.
pub(super) fn package(shell: &Shell, directory: &Path, built: &Built, epoch: &str) -> Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let architecture = cmd!(shell, "dpkg --print-architecture").read()?;
    let multiarch = cmd!(shell, "dpkg-architecture --query DEB_HOST_MULTIARCH")
        .read()
        .context("dpkg-architecture is missing: apt install dpkg-dev")?;
    let root = directory.join("debian-root");
    shell.remove_path(&root)?;
    let libraries = format!("lib/{multiarch}");
    Tree::new(&root.join("usr"), &libraries).fill(shell, built)?;

    let documents = root.join("usr/share/doc/foliocopy");
    shell.write_file(documents.join("copyright"), COPYRIGHT)?;
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        shell.remove_path(documents.join(license))?;
    }
    // Debian's name for the changes of a program that is packaged by its own authors.
    let changelog = documents.join("changelog");
    cmd!(shell, "mv").arg(documents.join("CHANGELOG.md")).arg(&changelog).quiet().run()?;
    cmd!(shell, "gzip --no-name --best {changelog}").quiet().run()?;

    let depends = depends(shell, directory, &root, &libraries)?;
    let installed = cmd!(shell, "du --summarize --apparent-size --block-size=1024 {root}").read()?;
    let installed = installed.split_whitespace().next().unwrap_or("0").to_owned();
    let control = root.join("DEBIAN");
    shell.create_dir(&control)?;
    shell.write_file(
        control.join("control"),
        format!(
            "Package: foliocopy\n\
             Version: {version}\n\
             Architecture: {architecture}\n\
             Maintainer: The foliocopy developers <foliocopy@localhost>\n\
             Installed-Size: {installed}\n\
             Depends: {depends}\n\
             Section: utils\n\
             Priority: optional\n\
             Description: copies of memory in pages and folios, measured\n \
              Copies memory in whole pages and folios as fast as the CPU allows, stops\n \
              cleanly at poisoned memory, and measures itself. Holds the program, the C\n \
              library with its header, manual pages and completions.\n"
        ),
    )?;
    // The linker's cache learns of the library after every change.
    shell.write_file(control.join("triggers"), "activate-noawait ldconfig\n")?;
    let sums = {
        let _here = shell.push_dir(&root);
        cmd!(shell, "sh -c 'find usr -type f | LC_ALL=C sort | xargs md5sum'").read()?
    };
    shell.write_file(control.join("md5sums"), sums + "\n")?;

    let package = directory.join(format!("foliocopy_{version}_{architecture}.deb"));
    cmd!(shell, "dpkg-deb --root-owner-group --build {root} {package}")
        .env("SOURCE_DATE_EPOCH", epoch)
        .quiet()
        .ignore_stdout()
        .run()?;
    Ok(package)
}

/// What the program and the library link with, as dpkg-shlibdeps finds it out.
fn depends(shell: &Shell, directory: &Path, root: &Path, libraries: &str) -> Result<String> {
    // It wants to be called in a source package.
    let source = directory.join("debian-source");
    shell.write_file(
        source.join("debian/control"),
        "Source: foliocopy\n\nPackage: foliocopy\nArchitecture: any\n",
    )?;
    let _here = shell.push_dir(&source);
    let program = root.join("usr/bin/foliocopy");
    let library = root.join("usr").join(libraries).join(super::SONAME);
    let found = cmd!(shell, "dpkg-shlibdeps -O -e{program} -e{library}").ignore_stderr().read()?;
    let depends = found.strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps found no dependencies")?;
    Ok(depends.trim().to_owned())
}

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: foliocopy

Files: *
Copyright: The foliocopy developers
License: MIT or Apache-2.0

License: MIT or Apache-2.0
 Either the MIT licence or the Apache License, version 2.0, at your option.
 On Debian systems the latter is in /usr/share/common-licenses/Apache-2.0.
";
