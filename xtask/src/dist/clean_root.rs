//! The package in a Debian root without a compiler, Rust or a build tree.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::{Dist, Machine, SONAME};
use crate::vm::SERIES;
use crate::vm::archive::{self, Archive};
use crate::vm::kernel::{CACHE, Kernel};

/// A root made by debootstrap.
struct CleanRoot<'a> {
    shell: &'a Shell,
    path: PathBuf,
}

/// Installs the package, uses all its parts, and removes it again.
pub(super) fn test(shell: &Shell, dist: &Dist) -> Result<()> {
    let root = CleanRoot::make(shell)?;
    root.put(&dist.package, "tmp/foliocopy.deb")?;
    root.run("dpkg --install /tmp/foliocopy.deb")?;

    let version = format!("foliocopy {}", env!("CARGO_PKG_VERSION"));
    ensure!(root.read("foliocopy --version")? == version, "the installed program is another version");
    root.run("foliocopy info")?;
    root.run("foliocopy bench --quiet --rounds 3 --folio 64K --total 1M --export-json /tmp/results.json || [ $? = 1 ]")?;
    root.run("foliocopy report /tmp/results.json -o /tmp/report.html --export-lkml /tmp/mail.txt --svg /tmp/charts")?;
    root.run("foliocopy compare /tmp/results.json /tmp/results.json")?;
    let page = root.read("man -P cat foliocopy-report")?;
    ensure!(
        page.contains("SYNOPSIS") && page.contains("lkml"),
        "`man foliocopy-report` shows no page: {page}"
    );
    for page in ["3 foliocopy", "3 foliocopy_copy_mc", "8 foliocopy-kernel-patch"] {
        let text = root.read(&format!("man -P cat --warnings {page} 2>&1"))?;
        ensure!(text.contains("SYNOPSIS") && !text.contains("warning"), "`man {page}` shows no page: {text}");
    }
    let completions = "/usr/share/bash-completion/completions/foliocopy";
    let completes = root.read(&format!("bash -c 'source {completions} && complete -p foliocopy'"))?;
    ensure!(completes.contains("_foliocopy"), "bash does not complete foliocopy: {completes}");
    // The kernel is patched at boot only if its owner enables the service.
    let units = root.read("find /usr/lib /etc -name 'foliocopy*.service'")?;
    let unit =
        if cfg!(target_arch = "x86_64") { "/usr/lib/systemd/system/foliocopy-livepatch.service" } else { "" };
    ensure!(units == unit, "the package has these units: {units}");
    root.test_library(shell)?;
    root.test_tarball(&dist.tarball)?;

    root.run("dpkg --purge foliocopy")?;
    let left = root.read("find /usr -name '*foliocopy*'")?;
    ensure!(left.is_empty(), "removing the package left these behind:\n{left}");
    Ok(shell.remove_path(&root.path)?)
}

/// Tests the kernel modules' package: installed before the headers of a Debian kernel, upgraded, and removed. Debian's dkms
/// builds the modules with a C compiler alone.
pub(super) fn test_dkms(shell: &Shell) -> Result<()> {
    let release = Kernel::newest_release(shell, SERIES)?;
    let root = CleanRoot::make(shell)?;
    eprintln!("installing the modules for Linux {release} by dkms");
    // The kernel may be from another suite than the root: it needs all of this machine's sources.
    for sources in ["sources.list", "sources.list.d"] {
        let (from, to) = (Path::new("/etc/apt").join(sources), root.path.join("etc/apt"));
        if from.exists() {
            cmd!(shell, "cp --recursive {from} {to}").quiet().run()?;
        }
    }
    // In the root this kernel counts as running and installed, so only its headers decide whether modules can be built.
    root.run(&format!(
        "mkdir -p /lib/modules/{release} /tmp/bin
        printf '#!/bin/sh\\ncase $1 in -r) echo {release} ;; *) exec /usr/bin/uname \"$@\" ;; esac\\n' >/tmp/bin/uname
        chmod +x /tmp/bin/uname"
    ))?;
    let apt = |arguments: &str| {
        root.read(&format!("PATH=/tmp/bin:$PATH; apt-get -qq --no-install-recommends {arguments}"))
    };
    apt("update")?;
    let (version, older) = (env!("CARGO_PKG_VERSION"), "0.0.9");
    let package = |version: &str| format!("/tmp/foliocopy-dkms_{version}.deb");
    for version in [older, version] {
        root.put(&super::dkms_package(shell, version)?, package(version).trim_start_matches('/'))?;
    }

    let said = apt(&format!("install {}", package(older)))?;
    ensure!(
        said.contains("headers for this kernel do not seem to be installed"),
        "without headers it says: {said}"
    );
    apt(&format!("install linux-headers-{release}"))?;
    root.check_modules(&release, older)?;
    apt(&format!("install {}", package(version)))?;
    root.check_modules(&release, version)?;

    apt("purge foliocopy-dkms")?;
    let left = root.read("find /lib/modules /var/lib/dkms /usr/src /usr/share -name '*foliocopy*'")?;
    ensure!(left.is_empty(), "removing foliocopy-dkms left these behind:\n{left}");
    Ok(shell.remove_path(&root.path)?)
}

impl<'a> CleanRoot<'a> {
    fn make(shell: &'a Shell) -> Result<Self> {
        let cache = shell.current_dir().join(CACHE);
        let (suite, mirror) = (archive::suite(shell)?, Archive::of_this_machine(&cache)?.mirror(shell)?);
        let path = shell.current_dir().join("target/dist/clean-root");
        shell.remove_path(&path)?;
        eprintln!("installing Debian {suite} into {}", path.display());
        // man-db shows our pages. The package has to ask for everything else that it needs.
        cmd!(shell, "debootstrap --variant=minbase --include=man-db {suite} {path} {mirror}")
            .quiet()
            .ignore_stdout()
            .run()
            .with_context(|| format!("debootstrap can't install {suite} from {mirror}"))?;
        Ok(Self { shell, path })
    }

    fn put(&self, from: &Path, to: &str) -> Result<()> {
        Ok(self.shell.copy_file(from, self.path.join(to))?)
    }

    fn run(&self, command: &str) -> Result<()> {
        self.read(command).map(drop)
    }

    /// Runs `command` in the root, without access to the build, and with /proc, /sys and /dev of the machine.
    fn read(&self, command: &str) -> Result<String> {
        let (shell, path) = (self.shell, &self.path);
        let mounted = "for fs in proc sys dev; do mount --rbind /$fs $0/$fs; done; exec chroot $0 /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive sh -c \"$1\"";
        let output = cmd!(shell, "unshare --mount --propagation private sh -e -c {mounted} {path} {command}")
            .quiet()
            .ignore_status()
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        ensure!(
            output.status.success(),
            "`{command}` failed in the clean root ({}):\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// Checks that dkms has installed the modules of `version` for that kernel, and no other.
    fn check_modules(&self, release: &str, version: &str) -> Result<()> {
        let status = self.read("dkms status foliocopy")?;
        ensure!(
            status.lines().count() == 1
                && status.starts_with(&format!("foliocopy/{version}, {release}, "))
                && status.ends_with(": installed"),
            "dkms says of what it has installed: {status}"
        );
        for (module, needs) in [("foliocopy", ""), ("foliocopy_livepatch", "foliocopy")] {
            // Found by its name, so depmod knows the module.
            let field =
                |field| self.read(&format!("modinfo --set-version {release} --field {field} {module}"));
            ensure!(field("filename")?.contains("/updates/dkms/"), "{module} is in {}", field("filename")?);
            ensure!(field("version")? == version, "{module} is of version {}", field("version")?);
            ensure!(field("license")? == "GPL", "{module} is under {}", field("license")?);
            ensure!(field("depends")? == needs, "{module} depends on {}", field("depends")?);
            let magic = field("vermagic")?;
            ensure!(magic.split(' ').next() == Some(release), "{module} is for {magic}");
        }
        let livepatch = format!("modinfo --set-version {release} --field livepatch foliocopy_livepatch");
        ensure!(
            self.read(&livepatch)? == "Y",
            "the kernel would not take foliocopy_livepatch for a livepatch"
        );
        Ok(())
    }

    /// Builds a C program outside with the installed header, library and pkg-config file, and runs it inside.
    fn test_library(&self, shell: &Shell) -> Result<()> {
        super::build_against(shell, Machine::This, &self.path, &self.path.join("tmp/copies"))?;
        let linked = self.read("ldd /tmp/copies")?;
        ensure!(
            linked.contains(&format!("{SONAME} => /")),
            "the C program is not linked with {SONAME}: {linked}"
        );
        ensure!(self.read("/tmp/copies")? == "copied", "the C program copied wrongly");
        Ok(())
    }

    fn test_tarball(&self, tarball: &Path) -> Result<()> {
        self.put(tarball, "tmp/foliocopy.tar.gz")?;
        self.run("mkdir /tmp/tree && tar --extract --gzip --strip-components=1 --directory /tmp/tree --file /tmp/foliocopy.tar.gz")?;
        self.run("/tmp/tree/bin/foliocopy info")?;
        self.run("test -e /tmp/tree/lib/libfoliocopy.so -a -e /tmp/tree/include/foliocopy.h -a -e /tmp/tree/share/man/man1/foliocopy.1.gz")
    }
}
