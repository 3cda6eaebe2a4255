//! The installed tree: the place of each file under a prefix.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::{Shell, cmd};

use super::{Built, Machine, SONAME};

/// The installed tree under a prefix.
pub(super) struct Tree {
    prefix: PathBuf,
    /// The folder of libraries below the prefix: `lib`, or `lib/x86_64-linux-gnu` on Debian.
    libraries: String,
}

impl Tree {
    pub(super) fn new(prefix: &Path, libraries: &str) -> Self {
        Self { prefix: prefix.to_owned(), libraries: libraries.to_owned() }
    }

    /// Copies everything to its place, in a new tree.
    pub(super) fn fill(&self, shell: &Shell, built: &Built) -> Result<()> {
        shell.remove_path(&self.prefix)?;
        self.install(shell, "755", &built.program, "bin/foliocopy")?;
        strip(shell, built.machine, "--strip-unneeded", &self.prefix.join("bin/foliocopy"))?;
        self.libraries(shell, built)?;
        self.install(
            shell,
            "644",
            Path::new("crates/foliocopy-capi/include/foliocopy.h"),
            "include/foliocopy.h",
        )?;
        for page in shell.read_dir(&built.man)? {
            let name = file_name(&page);
            let section = name.rsplit('.').next().unwrap_or_default();
            self.install(shell, "644", &page, &format!("share/man/man{section}/{name}"))?;
        }
        cmd!(shell, "gzip --no-name --best --recursive").arg(self.prefix.join("share/man")).quiet().run()?;
        for (from, to) in [
            ("foliocopy.bash", "share/bash-completion/completions/foliocopy"),
            ("_foliocopy", "share/zsh/vendor-completions/_foliocopy"),
            ("foliocopy.fish", "share/fish/vendor_completions.d/foliocopy.fish"),
        ] {
            self.install(shell, "644", &built.completions.join(from), to)?;
        }
        let documents = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
        for document in shell.read_dir(".")?.iter().filter(|file| documents.contains(&&*file_name(file))) {
            self.install(shell, "644", document, &format!("share/doc/foliocopy/{}", file_name(document)))?;
        }
        for page in
            shell.read_dir("docs")?.iter().filter(|page| page.extension().is_some_and(|of| of == "md"))
        {
            self.install(shell, "644", page, &format!("share/doc/foliocopy/docs/{}", file_name(page)))?;
        }
        Ok(())
    }

    fn libraries(&self, shell: &Shell, built: &Built) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let full = format!("libfoliocopy.so.{version}");
        let directory = &self.libraries;
        self.install(shell, "644", &built.shared_library, &format!("{directory}/{full}"))?;
        let archive = self.prefix.join(directory).join("libfoliocopy.a");
        super::localize_for(shell, built.machine, &built.static_library, &archive)?;
        strip(shell, built.machine, "--strip-unneeded", &self.prefix.join(directory).join(&full))?;
        // Otherwise the debugging information of the standard library is most of the archive.
        strip(shell, built.machine, "--strip-debug", &archive)?;
        for link in [SONAME, "libfoliocopy.so"] {
            cmd!(shell, "ln --symbolic {full}").arg(self.prefix.join(directory).join(link)).quiet().run()?;
        }
        let template = shell.read_file("crates/foliocopy-capi/foliocopy.pc.in")?;
        shell.write_file(
            self.prefix.join(directory).join("pkgconfig/foliocopy.pc"),
            self.pkg_config(&template),
        )?;
        Ok(())
    }

    /// The paths are relative to the file, so that the tree may be moved.
    fn pkg_config(&self, template: &str) -> String {
        let up = vec![".."; Path::new(&self.libraries).components().count() + 1].join("/");
        template
            .replace("@prefix@", &format!("${{pcfiledir}}/{up}"))
            .replace("@version@", env!("CARGO_PKG_VERSION"))
            .replace("libdir=${exec_prefix}/lib", &format!("libdir=${{exec_prefix}}/{}", self.libraries))
    }

    fn install(&self, shell: &Shell, mode: &str, from: &Path, to: &str) -> Result<()> {
        let to = self.prefix.join(to);
        Ok(cmd!(shell, "install -D --mode={mode} {from} {to}").quiet().run()?)
    }
}

/// Strips symbols that are needed neither to run nor to link.
fn strip(shell: &Shell, machine: Machine, what: &str, file: &Path) -> Result<()> {
    let strip = machine.tool("strip");
    Ok(cmd!(shell, "{strip} {what} --remove-section=.comment --remove-section=.note {file}").quiet().run()?)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
