//! `foliocopy-livepatch.service` under a real systemd, and the recipe of docs/does-it-help-me.md with a real perf.
//!
//! The guest's init makes systemd the init. That starts the service, and then this scenario once more.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::guide::{self, commands, furnish};
use super::livepatch::{foliocopy_ends, wait_until_it_catches_signals};
use super::{Ending, Scenario};
use crate::guest::{BELOW_SYSTEMD, Guest};
use crate::machine::{Machine, Programs};

pub(super) const SERVICE: Scenario = Scenario {
    name: "service",
    proves: "systemd patches at boot where the service is enabled, and reverts when it stops; docs/does-it-help-me.md finds the share",
    machine: Machine::ERMS.with_programs(Programs::System),
    limit: Duration::from_secs(400),
    ending: Ending::Verdict,
    run,
};

const UNIT: &str = "foliocopy-livepatch.service";

/// The unit that starts this scenario again.
const AGAIN: &str = "/etc/systemd/system/again.service";

const PAGE: &str = include_str!("../../../docs/does-it-help-me.md");

fn run(guest: &Guest) -> Result<()> {
    if std::process::id() == 1 { boot(guest) } else { booted(guest) }
}

/// Installs the files of an operator's system, enables the service, and makes systemd the init.
fn boot(guest: &Guest) -> Result<()> {
    furnish(guest)?;
    fs::create_dir_all("/usr/bin")?;
    symlink("/bin/foliocopy", "/usr/bin/foliocopy")?;
    for link in ["/sbin/modprobe", "/tmp/guide/bin/perf"] {
        fs::create_dir_all("/sbin")?;
        symlink(if link.ends_with("perf") { "/bin/perf" } else { "/bin/busybox" }, link)?;
    }
    fs::create_dir_all("/etc/systemd/system")?;
    fs::write("/etc/systemd/system.conf", "[Manager]\nDefaultStandardOutput=tty\n")?;
    fs::write(
        AGAIN,
        format!(
            "[Unit]\nAfter={UNIT}\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\n\
             ExecStart=/init {} {BELOW_SYSTEMD}\n[Install]\nWantedBy=multi-user.target\n",
            SERVICE.name
        ),
    )?;
    for unit in [UNIT, "again.service"] {
        let state = systemctl(&["is-enabled", unit]).unwrap_or_else(|error| error.to_string());
        ensure!(state.contains("disabled"), "{unit} is on by default: {state}");
        systemctl(&["enable", unit])?;
    }
    symlink("/lib/systemd/system/multi-user.target", "/etc/systemd/system/default.target")?;
    let error = Command::new("/lib/systemd/systemd").args(["--system", "--show-status=yes"]).exec();
    bail!("can't run systemd: {error}");
}

/// Runs systemctl. Returns its output, as an error where it fails.
fn systemctl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("/bin/systemctl").args(arguments).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim_end().to_owned();
    println!("# systemctl {}\n{text}", arguments.join(" "));
    ensure!(output.status.success(), "systemctl {}: {}: {text}", arguments.join(" "), output.status);
    Ok(text)
}

fn booted(guest: &Guest) -> Result<()> {
    let status = |code: i32, state: &str| {
        let told = foliocopy_ends(&["kernel", "patch", "status", "--json"], code)?;
        ensure!(told.contains(&format!("\"state\": \"{state}\"")), "the status is not {state}: {told}");
        Ok(())
    };
    systemctl(&["is-active", UNIT]).context("after the boot")?;
    status(0, "on").context("after the boot")?;
    systemctl(&["stop", UNIT])?;
    status(3, "off").context("after the stop")?;
    for module in ["foliocopy", "foliocopy_livepatch"] {
        ensure!(!Path::new("/sys/module").join(module).exists(), "{module} is loaded after the stop");
    }
    systemctl(&["start", UNIT])?;
    status(0, "on").context("after the start")?;
    systemctl(&["stop", UNIT])?;

    // Without its module the service fails, and does not count as active.
    let release = guest.read("/proc/sys/kernel/osrelease")?;
    let (modules, away) = (format!("/lib/modules/{release}"), "/lib/modules/away");
    fs::rename(&modules, away)?;
    ensure!(systemctl(&["start", UNIT]).is_err(), "without modules the service starts");
    ensure!(
        systemctl(&["is-failed", UNIT])?.contains("failed"),
        "without modules the service has not failed"
    );
    status(3, "off").context("without modules")?;
    fs::rename(away, &modules)?;
    systemctl(&["reset-failed", UNIT])?;

    help_me(guest)
}

/// The commands of the page, under a load that migrates.
fn help_me(guest: &Guest) -> Result<()> {
    fs::remove_file("/tmp/guide/bin/sleep")?;
    fs::write("/tmp/guide/bin/sleep", "#!/tmp/guide/bin/sh\nexec /bin/busybox sleep 15\n")?;
    fs::set_permissions("/tmp/guide/bin/sleep", std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut load = Command::new("/bin/foliocopy")
        .args(["migrate", "--stress", "100000", "--folio", "2M", "--total", "64M", "--threads", "1"])
        .stdin(Stdio::null())
        .spawn()?;
    wait_until_it_catches_signals(guest, load.id())?;
    let mut share = None;
    for command in commands(PAGE) {
        let told = guide::shell(command)?;
        if command.starts_with("awk ") {
            share = Some(told);
            load.kill()?;
            load.wait()?;
        }
    }
    let share = share.context("the page has no awk")?;
    let (percent, samples) = share.split_once(" % of ").context("no share")?;
    let samples: u32 = samples.strip_suffix(" samples").context("no samples")?.parse()?;
    ensure!(samples > 100 && percent.parse::<f64>()? > 0.0, "of a load that migrates the page finds {share}");
    Ok(())
}
