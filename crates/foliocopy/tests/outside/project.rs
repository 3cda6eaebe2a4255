//! Projects that a test writes below the target folder, builds with cargo and runs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A project with one program.
pub(crate) struct Project {
    folder: PathBuf,
}

impl Project {
    /// Writes the project `name` with the program `program`. `manifest` is the rest after `[dependencies]`.
    pub(crate) fn new(name: &str, manifest: &str, program: &str) -> Self {
        let project = Self { folder: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name) };
        let manifest = format!(
            "[package]\nname = \"program\"\nedition = \"2024\"\n\n[dependencies]\n{manifest}\n\n[workspace]\nexclude = [\"copies\"]\n"
        );
        project.write("Cargo.toml", &manifest);
        project.write("src/main.rs", program);
        project
    }

    /// Writes a file of the project, unless it is there already. Then cargo builds nothing anew.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        let path = self.folder.join(name);
        if fs::read_to_string(&path).is_ok_and(|present| present == contents) {
            return;
        }
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder is ours");
        fs::write(path, contents).expect("the folder is ours");
    }

    /// Copies this crate to `copies/name`, as the version `version`. `edit` gets the path and the text of each file.
    pub(crate) fn copy_crate(&self, name: &str, version: &str, edit: fn(&Path, String) -> String) {
        let manifest = format!(
            "[package]\nname = \"foliocopy\"\nversion = \"{version}\"\nedition = \"2024\"\n\n\
             [features]\ndefault = [\"std\"]\nstd = [\"dep:libc\"]\nprofile = []\n\n\
             [dependencies]\nlibc = {{ version = \"0.2\", optional = true }}\n\n\
             [lints.rust]\nunexpected_cfgs = {{ level = \"warn\", check-cfg = [\"cfg(foliocopy_kernel)\"] }}\n"
        );
        self.write(&format!("copies/{name}/Cargo.toml"), &manifest);
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for path in files(&here.join("src")) {
            let text = edit(&path, fs::read_to_string(&path).expect("source is text"));
            let below = path.strip_prefix(here).expect("it lies in the crate");
            self.write(&format!("copies/{name}/{}", below.display()), &text);
        }
    }

    /// Builds the program with a profile and returns its path. `configure` adds to cargo's environment.
    ///
    /// Cargo works offline: this test was built with what the project needs.
    pub(crate) fn build(&self, profile: &str, configure: impl FnOnce(&mut Command)) -> PathBuf {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut build = Command::new(cargo);
        build
            .args(["build", "--offline", "--quiet", "--profile", profile, "--manifest-path"])
            .arg(self.folder.join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", self.folder.join("target"));
        configure(&mut build);
        succeed(&mut build);
        let folder = if profile == "dev" { "debug" } else { profile };
        self.folder.join("target").join(folder).join("program")
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the crate's own folder");
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.expect("an entry").path())).collect()
}

/// Runs a command, which must succeed, and returns its standard output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}
