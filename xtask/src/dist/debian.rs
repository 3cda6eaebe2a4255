//! The Debian packages: `foliocopy` with program, library, header, manual pages and completions, and [`dkms`] with the
//! kernel modules' sources.

pub(super) mod dkms;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::{Built, Machine, Tree};

/// Packs `built` below `directory` and returns the package's path.
pub(super) fn package(shell: &Shell, directory: &Path, built: &Built, epoch: &str) -> Result<PathBuf> {
    let version = concat!(env!("CARGO_PKG_VERSION"), "-1");
    let maintainer = maintainer(shell)?;
    let architecture = built.machine.debian(shell, "DEB_HOST_ARCH")?;
    let multiarch = built.machine.debian(shell, "DEB_HOST_MULTIARCH")?;
    let root = directory.join("debian-root");
    shell.remove_path(&root)?;
    let libraries = format!("lib/{multiarch}");
    Tree::new(&root.join("usr"), &libraries).fill(shell, built)?;

    let documents = root.join("usr/share/doc/foliocopy");
    shell.write_file(documents.join("copyright"), copyright(shell)?)?;
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        shell.remove_path(documents.join(license))?;
    }
    // One changelog of the program, and one of the package.
    let changelogs = [documents.join("changelog"), documents.join("changelog.Debian")];
    cmd!(shell, "mv").arg(documents.join("CHANGELOG.md")).arg(&changelogs[0]).quiet().run()?;
    shell.write_file(&changelogs[1], changelog(shell, "foliocopy", version, &maintainer)?)?;
    cmd!(shell, "gzip --no-name --best {changelogs...}").quiet().run()?;
    shell.write_file(root.join("usr/share/lintian/overrides/foliocopy"), OVERRIDES)?;

    if architecture == "amd64" {
        // Only the machine's owner enables it.
        let unit = root.join("usr/lib/systemd/system").join(SERVICE);
        cmd!(shell, "install -D --mode=644 kmod/{SERVICE} {unit}").quiet().run()?;
        script(shell, &root, "prerm", include_str!("debian/prerm"))?;
        script(shell, &root, "postrm", include_str!("debian/postrm"))?;
    }
    let control = root.join("DEBIAN");
    shell.create_dir(&control)?;
    // The package that a program linked with the library needs.
    shell.write_file(
        control.join("shlibs"),
        format!("libfoliocopy 0 foliocopy (>= {})\n", env!("CARGO_PKG_VERSION")),
    )?;
    // The linker's cache is updated after every change.
    shell.write_file(control.join("triggers"), "activate-noawait ldconfig\n")?;
    let fields = Fields {
        package: "foliocopy",
        version,
        architecture: &architecture,
        maintainer: &maintainer,
        relations: format!("Depends: {}\n", depends(shell, directory, &root, &libraries, built.machine)?),
        section: "utils",
        description: "\
copies of memory in pages and folios, measured
 Copies pages, folios and any bytes as fast as the CPU allows, stops
 cleanly at poisoned memory, and measures itself. Holds the program, the C
 library with its header, manual pages and completions.",
    };
    fields.pack(shell, directory, &root, epoch)
}

/// The unit by which systemd patches the kernel.
const SERVICE: &str = "foliocopy-livepatch.service";

/// The fields of a package's control file.
struct Fields<'a> {
    package: &'a str,
    version: &'a str,
    architecture: &'a str,
    maintainer: &'a str,
    /// One line for each.
    relations: String,
    section: &'a str,
    description: &'a str,
}

impl Fields<'_> {
    /// Packs the files below `root`, and returns the package's path.
    fn pack(&self, shell: &Shell, directory: &Path, root: &Path, epoch: &str) -> Result<PathBuf> {
        let Self { package, version, architecture, maintainer, relations, section, description } = self;
        let installed = cmd!(shell, "du --summarize --apparent-size --block-size=1024 {root}").read()?;
        let installed = installed.split_whitespace().next().unwrap_or("0").to_owned();
        let sums = {
            let _here = shell.push_dir(root);
            cmd!(shell, "sh -c 'find usr -type f | LC_ALL=C sort | xargs md5sum'").read()?
        };
        let control = root.join("DEBIAN");
        shell.create_dir(&control)?;
        shell.write_file(
            control.join("control"),
            format!(
                "Package: {package}\n\
                 Version: {version}\n\
                 Architecture: {architecture}\n\
                 Maintainer: {maintainer}\n\
                 Installed-Size: {installed}\n\
                 {relations}\
                 Section: {section}\n\
                 Priority: optional\n\
                 Description: {description}\n"
            ),
        )?;
        shell.write_file(control.join("md5sums"), sums + "\n")?;

        let package = directory.join(format!("{package}_{version}_{architecture}.deb"));
        cmd!(shell, "dpkg-deb --root-owner-group --build {root} {package}")
            .env("SOURCE_DATE_EPOCH", epoch)
            .quiet()
            .ignore_stdout()
            .run()?;
        Ok(package)
    }
}

/// Adds a script that dpkg runs.
fn script(shell: &Shell, root: &Path, name: &str, text: &str) -> Result<()> {
    let file = root.join("DEBIAN").join(name);
    shell.write_file(&file, text)?;
    Ok(cmd!(shell, "chmod 755 {file}").quiet().run()?)
}

/// The packages of the libraries that the program and the library link with, as dpkg-shlibdeps finds them.
fn depends(
    shell: &Shell,
    directory: &Path,
    root: &Path,
    libraries: &str,
    machine: Machine,
) -> Result<String> {
    // dpkg-shlibdeps expects a source package.
    let source = directory.join("debian-source");
    shell.write_file(
        source.join("debian/control"),
        "Source: foliocopy\n\nPackage: foliocopy\nArchitecture: any\n",
    )?;
    let _here = shell.push_dir(&source);
    let program = root.join("usr/bin/foliocopy");
    let library = root.join("usr").join(libraries).join(super::SONAME);
    let elsewhere = machine.libraries();
    let found = cmd!(shell, "dpkg-shlibdeps -O {elsewhere...} -e{program} -e{library}")
        .env("DEB_HOST_ARCH", machine.debian(shell, "DEB_HOST_ARCH")?)
        .ignore_stderr()
        .read()?;
    let depends = found.strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps found no dependencies")?;
    // A cross compiler's library names its architecture, which is that of the package.
    Ok(depends.trim().replace(":arm64", ""))
}

/// The maintainer: DEBFULLNAME and DEBEMAIL, as for Debian's tools, otherwise the author of the commit.
fn maintainer(shell: &Shell) -> Result<String> {
    match (shell.var("DEBFULLNAME"), shell.var("DEBEMAIL")) {
        (Ok(name), Ok(mail)) => Ok(format!("{name} <{mail}>")),
        _ => cmd!(shell, "git log -1").arg("--format=%an <%ae>").quiet().read().context(
            "git can't say who made the commit: set DEBFULLNAME and DEBEMAIL to name the package's maintainer",
        ),
    }
}

/// Debian's changelog, with one entry for the commit.
fn changelog(shell: &Shell, package: &str, version: &str, maintainer: &str) -> Result<String> {
    let log = |format: &str| cmd!(shell, "git log -1").arg(format!("--format={format}")).quiet().read();
    let (commit, date) = (log("%h")?, log("%cD")?);
    Ok(format!(
        "{package} ({version}) unstable; urgency=medium\n\n  * Made of commit {commit}.\n\n -- {maintainer}  {date}\n"
    ))
}

/// The licences of the tree, in Debian's format. Debian has no copy of the MIT licence to refer to.
fn copyright(shell: &Shell) -> Result<String> {
    let license = shell.read_file("LICENSE-MIT")?;
    let holder = holder(&license)?;
    let text = license
        .trim_end()
        .lines()
        .map(|line| if line.is_empty() { " .\n".into() } else { format!(" {line}\n") });
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: foliocopy\n\n\
         Files: *\n\
         Copyright: {holder}\n\
         License: MIT or Apache-2.0\n\n\
         License: MIT or Apache-2.0\n \
          The Apache License, version 2.0, which Debian systems have in\n \
          /usr/share/common-licenses/Apache-2.0, or, at your option, this one:\n \
          .\n{}",
        text.collect::<String>()
    ))
}

fn holder(license: &str) -> Result<&str> {
    let line = license.lines().find_map(|line| line.strip_prefix("Copyright (c) "));
    line.context("LICENSE-MIT names no holder of the copyright")
}

/// Rules of lintian that do not fit this package.
const OVERRIDES: &str = "\
# One small package has the program, the library and what it takes to link with it.
foliocopy: link-to-shared-library-in-wrong-package
foliocopy: package-name-doesnt-match-sonames
# It goes to no archive that has a bug for it.
foliocopy: initial-upload-closes-no-bugs
";
