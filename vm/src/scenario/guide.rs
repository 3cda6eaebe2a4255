//! The commands of docs/KERNEL.md, word for word and in the order of the page.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const GUIDE: Scenario = Scenario {
    name: "guide",
    proves: "the commands of docs/KERNEL.md do what the page says, with the modules where DKMS puts them, and undo it",
    machine: Machine::ERMS,
    limit: Duration::from_secs(300),
    ending: Ending::Verdict,
    run,
};

const PAGE: &str = include_str!("../../../docs/KERNEL.md");

/// The commands that the guest can't run, word for word, and why.
const ELSEWHERE: [(&str, &str); 9] = [
    ("make -C kmod", BUILT),
    ("make -C kmod package", BUILT),
    ("cargo xtask dist", DKMS),
    ("sudo apt-get install linux-headers-$(uname -r)", DKMS),
    (
        concat!(
            "sudo apt-get install ./target/dist/foliocopy_",
            env!("CARGO_PKG_VERSION"),
            "-1_amd64.deb ./target/dist/foliocopy-dkms_",
            env!("CARGO_PKG_VERSION"),
            "-1_amd64.deb"
        ),
        DKMS,
    ),
    (concat!("sudo cp -r kmod/build/foliocopy-", env!("CARGO_PKG_VERSION"), " /usr/src/"), DKMS),
    (concat!("sudo dkms install foliocopy/", env!("CARGO_PKG_VERSION")), DKMS),
    ("sudo systemctl enable --now foliocopy-livepatch", SERVICE),
    ("sudo systemctl disable --now foliocopy-livepatch", SERVICE),
];
const BUILT: &str = "`cargo xtask vm` builds by it, before the guest boots";
const DKMS: &str = "`cargo xtask dist --test` does it in a clean root";
const SERVICE: &str = "the scenario `service` has systemd";

/// A folder with the modules in it, as the page expects one.
const FOLDER: &str = "/tmp/guide";

/// Replaces the program by a script that shortens its measurements.
const SHORT: &str = r#"#!/tmp/guide/bin/sh
case "$1 $2" in
  # Exit code 3 says that it is not patched, which is no error of the page.
  'kernel patch') /bin/foliocopy "$@" || { code=$?; [ "$3 $code" = 'status 3' ]; } ;;
  # The scenario `run-all` runs it.
  'kernel run-all') exec /bin/foliocopy "$@" --help >/dev/null ;;
  'kernel bench') exec /bin/foliocopy "$@" --folio 64K --total 256K --evict 1M --rounds 3 ;;
  'migrate --total') exec /bin/foliocopy "$@" --folio 2M --nodes 0:1 --rounds 1 ;;
  'migrate --stress') shift 3; exec /bin/foliocopy migrate --stress 3 --total 128M "$@" ;;
  *) exec /bin/foliocopy "$@" ;;
esac
"#;

/// The guest has no other user than root.
const SUDO: &str = "#!/tmp/guide/bin/sh\nexec \"$@\"\n";

/// The text after `$ ` in the page, without comments.
pub(super) fn commands(page: &'static str) -> impl Iterator<Item = &'static str> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("$ "));
    lines.map(|line| line.split_once(" #").map_or(line, |(command, _)| command).trim_end())
}

/// Why a command is not run here.
fn elsewhere(command: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(other, _)| command == *other).map(|(_, why)| *why)
}

fn run(guest: &Guest) -> Result<()> {
    furnish(guest)?;
    for command in commands(PAGE) {
        match elsewhere(command) {
            Some(why) => println!("# not here: {command} ({why})"),
            None => drop(shell(command)?),
        }
    }
    for module in ["foliocopy", "foliocopy_livepatch"] {
        ensure!(!Path::new("/sys/module").join(module).exists(), "the page leaves {module} loaded");
    }
    Ok(())
}

/// Sets up a small system for the program: a shell, modprobe, and the modules where DKMS puts them and in a folder.
pub(super) fn furnish(guest: &Guest) -> Result<()> {
    let bin = Path::new(FOLDER).join("bin");
    let release = guest.read("/proc/sys/kernel/osrelease")?;
    let installed = Path::new("/lib/modules").join(release).join("updates/dkms");
    for folder in [&bin, &installed] {
        fs::create_dir_all(folder)?;
    }
    for module in ["foliocopy.ko", "foliocopy_livepatch.ko"] {
        let built = Path::new("/lib").join(module);
        symlink(&built, Path::new(FOLDER).join(module))?;
        fs::copy(&built, installed.join(module))?;
    }
    for (name, script) in [("foliocopy", SHORT), ("sudo", SUDO)] {
        let file = bin.join(name);
        fs::write(&file, script)?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    }
    let links = Command::new("/bin/busybox").args(["--install", "-s"]).arg(&bin).status();
    ensure!(links.context("/bin/busybox")?.success(), "busybox does not install its names");
    shell("depmod").map(drop)
}

/// Runs a command of the page in a shell. Returns its standard output.
pub(super) fn shell(command: &str) -> Result<String> {
    let output = Command::new("/tmp/guide/bin/sh")
        .args(["-e", "-o", "pipefail", "-c", command])
        .current_dir(FOLDER)
        .env("PATH", "/tmp/guide/bin")
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    println!("$ {command}\n{stdout}\n{stderr}");
    ensure!(output.status.success(), "`{command}` of the page: {}: {stderr}", output.status);
    Ok(stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_elsewhere_is_on_the_page_and_little() {
        for (command, _) in ELSEWHERE {
            assert!(commands(PAGE).any(|of_page| of_page == command), "{command}");
        }
        assert!(commands(PAGE).filter(|command| elsewhere(command).is_none()).count() >= 15);
        assert!(
            !commands(PAGE).any(|command| command.ends_with('\\')),
            "a command goes on, which nobody reads here"
        );
    }
}
