//! The virtual machine: a process of QEMU.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use foliocopy_vm::machine::NODES;
use foliocopy_vm::{Architecture, Machine, Poison};

use super::poison;

/// The distance between two nodes, as in firmware: 10 is local. The node without CPUs is the farthest.
const DISTANCES: [[u32; NODES]; NODES] = [[10, 20, 30], [20, 10, 30], [30, 30, 10]];

/// Gives the kernel's watchdogs time: their clocks run on while a busy host leaves the machine no CPU.
const PATIENCE: &str = "rcupdate.rcu_cpu_stall_timeout=200 watchdog_thresh=60";

/// The parts of a boot.
pub(crate) struct Boot<'a> {
    pub(crate) qemu: &'a Path,
    pub(crate) machine: &'a Machine,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// The argument of the init.
    pub(crate) scenario: &'a str,
}

impl Boot<'_> {
    fn command(&self) -> Command {
        let mut qemu = Command::new(self.qemu);
        // TCG everywhere: the CPU of a scenario is then the same on every host, whatever it has and lends.
        // All CPUs run in turns, on one thread of the host. With a thread for each, one may still run the breakpoint by which
        // the other patches code after its removal: `Oops: int3`, also where a kernel patches a static key.
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg,thread=single"]);
        let per_node = self.machine.cpus_per_node;
        let cpus = (2 * per_node).to_string();
        qemu.args(["-cpu", self.machine.cpu, "-smp", &cpus, "-m", "3G"]);
        for node in 0..NODES {
            qemu.args(["-object", &format!("memory-backend-ram,id=node{node},size=1G")]);
            let (first, last) = (node * per_node, (node + 1) * per_node - 1);
            let cpus = if node < 2 { format!(",cpus={first}-{last}") } else { String::new() };
            qemu.args(["-numa", &format!("node,nodeid={node}{cpus},memdev=node{node}")]);
        }
        for (from, row) in DISTANCES.iter().enumerate() {
            for (to, distance) in row.iter().enumerate() {
                qemu.args(["-numa", &format!("dist,src={from},dst={to},val={distance}")]);
            }
        }
        let console = match self.machine.architecture {
            Architecture::X86_64 => "ttyS0",
            Architecture::Aarch64 => {
                qemu.args(["-machine", "virt"]);
                "ttyAMA0"
            }
        };
        let arguments = format!(
            "console={console} rdinit=/init panic=-1 {PATIENCE} {} -- {}",
            self.machine.kernel_arguments, self.scenario
        );
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs).args(["-append", &arguments]);
        qemu
    }

    /// Boots it and follows it from this process.
    pub(crate) fn start(&self, folder: &Path) -> Result<Running> {
        fs::create_dir_all(folder)?;
        let port = folder.join("port");
        let debugger = folder.join("debugger");
        let mut command = self.command();
        command.args(["-serial", "stdio"]);
        match self.machine.architecture {
            Architecture::X86_64 => command.args(["-serial", &format!("file:{}", port.display())]),
            // This board has only one port that a kernel may use.
            Architecture::Aarch64 => command
                .args(["-chardev", &format!("file,id=port,path={}", port.display())])
                .args(["-device", "pci-serial,chardev=port"]),
        };
        command.args(["-gdb", &format!("unix:{},server=on,wait=off", debugger.display())]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.qemu.display()))?;
        let mut console = process.stdin.take().expect("stdin is piped");
        let (sender, lines) = channel();
        // QEMU's own complaints belong in the same record as the guest's console.
        let stdout = process.stdout.take().expect("stdout is piped");
        let stderr = process.stderr.take().expect("stderr is piped");
        for stream in [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)] {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let (poisons, requests) = channel();
        let (raising, raised) = channel();
        thread::spawn(move || {
            if let Err(error) = poison::spread(&debugger, &requests, &mut console, &raising) {
                // A waiting guest fails by this line. If the machine is off, it has no reader.
                let _ = writeln!(console, "{error:#}");
                let _ = raising.send(Err(error));
            }
            let _ = fs::remove_file(&debugger);
        });
        Ok(Running { process, lines, port, poisons, raised })
    }

    /// Boots it with this terminal as its console.
    pub(crate) fn interact(&self) -> Result<()> {
        let mut command = self.command();
        command.args(["-serial", "mon:stdio", "-serial", "null"]);
        command.status().with_context(|| format!("cannot start {}", self.qemu.display()))?;
        Ok(())
    }
}

/// A running machine. It is ended when this is dropped.
pub(crate) struct Running {
    process: Child,
    lines: Receiver<String>,
    port: PathBuf,
    poisons: Sender<Poison>,
    raised: Receiver<Result<u64>>,
}

/// The next event of a running machine.
pub(crate) enum Event {
    /// A line on its console.
    Line(String),
    /// The machine is off.
    Off,
    /// The time was up first.
    Late,
}

impl Running {
    /// Waits for the next event until `deadline`.
    pub(crate) fn next(&self, deadline: Instant) -> Event {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Event::Line(line),
            Err(RecvTimeoutError::Disconnected) => Event::Off,
            Err(RecvTimeoutError::Timeout) => Event::Late,
        }
    }

    /// Poisons a line of the machine's memory, and reports that on its console.
    pub(crate) fn poison(&self, poison: Poison) {
        // This fails only if QEMU is gone, and then the machine is off.
        let _ = self.poisons.send(poison);
    }

    /// The instructions at which machine checks were raised so far; an error is the last.
    pub(crate) fn raised(&self) -> Vec<Result<u64>> {
        self.raised.try_iter().collect()
    }

    /// The guest's output on its second serial port.
    pub(crate) fn port(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.port)?).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
