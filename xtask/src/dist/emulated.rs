//! The package for aarch64: unpacks it, and runs its programs by QEMU.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use super::{Dist, Machine, SONAME};

/// The files of the package below `usr`, beside libraries.
const FILES: [&str; 10] = [
    "bin/foliocopy",
    "include/foliocopy.h",
    "lib/aarch64-linux-gnu/libfoliocopy.a",
    "share/bash-completion/completions/foliocopy",
    "share/doc/foliocopy/copyright",
    "share/fish/vendor_completions.d/foliocopy.fish",
    "share/man/man1/foliocopy.1.gz",
    "share/man/man1/foliocopy-survey.1.gz",
    "share/man/man3/foliocopy.3.gz",
    "share/zsh/vendor-completions/_foliocopy",
];

/// The unpacked package.
struct Unpacked<'a> {
    shell: &'a Shell,
    root: PathBuf,
    /// The command that runs its programs.
    runner: Vec<String>,
}

/// Unpacks the package and uses all its parts.
pub(super) fn test(shell: &Shell, dist: &Dist) -> Result<()> {
    let package = &dist.package;
    let field = |name: &str| cmd!(shell, "dpkg-deb --field {package} {name}").quiet().read();
    let (architecture, depends) = (field("Architecture")?, field("Depends")?);
    ensure!(architecture == "arm64", "the package is for {architecture}");
    ensure!(depends.contains("libc6 (>= "), "the package depends on {depends}");

    let root = shell.current_dir().join("target/dist/aarch64-root");
    shell.remove_path(&root)?;
    cmd!(shell, "dpkg-deb --extract {package} {root}").quiet().run()?;
    let unpacked = Unpacked { shell, root, runner: Machine::Aarch64.runner(shell)? };
    for file in FILES {
        ensure!(unpacked.root.join("usr").join(file).is_file(), "the package lacks usr/{file}");
    }
    unpacked.test_program()?;
    unpacked.test_survey()?;
    unpacked.test_library()
}

impl Unpacked<'_> {
    /// Runs the program, which must print each of `expected`.
    fn says(&self, arguments: &str, expected: &[&str]) -> Result<()> {
        let Self { shell, root, runner } = self;
        let (program, arguments) = (root.join("usr/bin/foliocopy"), arguments.split(' '));
        let text = cmd!(shell, "env {runner...} {program} {arguments...}").read()?;
        for part in expected {
            ensure!(text.contains(part), "the program does not say {part:?}, but {text}");
        }
        Ok(())
    }

    fn test_program(&self) -> Result<()> {
        self.says("--version", &[&format!("foliocopy {}", env!("CARGO_PKG_VERSION"))])?;
        self.says("info", &["emulated CPU", "ldp_stp", "Nothing was measured"])?;
        self.says("selftest", &["all right"])?;
        let shell = self.shell;
        let completions = self.root.join("usr").join(FILES[3]);
        let completes =
            cmd!(shell, "bash -c").arg("source $0 && complete -p foliocopy").arg(completions).read()?;
        ensure!(completes.contains("_foliocopy"), "bash does not complete foliocopy: {completes}");
        Ok(())
    }

    /// Tests the parts that make tables, which run under emulation only here: a survey, and a profile and a row made of it.
    fn test_survey(&self) -> Result<()> {
        let folder = self.root.join("tmp");
        self.shell.create_dir(&folder)?;
        let folder = folder.display();
        let (survey, profile) = (format!("{folder}/survey.json"), format!("{folder}/profile.toml"));
        let how = "--emulated-anyway --evict 1M --seed 1 --time";
        self.says(&format!("survey {how} 1s -o {survey}"), &["no shares are shown"])?;
        let _profile = self.shell.push_env("FOLIOCOPY_PROFILE", &profile);
        self.says(&format!("tune {how} 1s -o {profile}"), &["no shares are shown"])?;
        self.says("info", &["is in use"])?;
        let from = format!("tune --emulated-anyway --from {survey}");
        self.says(&format!("{from} --emit row"), &["LdpStp", "(emulated)"])?;
        self.says(&format!("report {survey} -o {folder}/survey.html"), &[])?;
        let page = self.shell.read_file(format!("{folder}/survey.html"))?;
        ensure!(page.contains("This CPU is emulated") && !page.contains("<svg"), "the report shows speeds");
        Ok(())
    }

    /// Builds a C program with the header, the library and the pkg-config file, and runs it.
    fn test_library(&self) -> Result<()> {
        let Self { shell, root, runner } = self;
        let program = root.join("tmp/copies");
        super::build_against(shell, Machine::Aarch64, root, &program)?;
        let readelf = Machine::Aarch64.tool("readelf");
        let linked = cmd!(shell, "{readelf} --dynamic {program}").quiet().read()?;
        ensure!(linked.contains(SONAME), "the C program is not linked with {SONAME}: {linked}");
        let libraries = format!("LD_LIBRARY_PATH={}", root.join("usr/lib/aarch64-linux-gnu").display());
        let said = cmd!(shell, "env {runner...} -E {libraries} {program}").quiet().read()?;
        ensure!(said == "copied", "the C program copied wrongly: {said}");
        Ok(())
    }
}
