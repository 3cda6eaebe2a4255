//! A client of QEMU's debugger. It knows the part of GDB's remote serial protocol (GDB manual, appendix E) that stops a machine
//! where it reads memory.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A machine with a debugger attached. Attaching stops it.
pub(crate) struct Debugger {
    stream: UnixStream,
}

/// The reason why the machine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    /// The debugger's number of the CPU.
    pub(crate) thread: String,
    /// The watched address that was read.
    pub(crate) read: Option<u64>,
}

/// The place of RIP among a CPU's registers: after sixteen others of eight bytes.
const RIP: std::ops::Range<usize> = 128..136;

/// The byte that stops a running machine.
const INTERRUPT: u8 = 3;

/// The time limit for the answer of a stopped machine.
const PATIENCE: Duration = Duration::from_secs(20);

impl Debugger {
    pub(crate) fn attach(socket: &Path) -> Result<Self> {
        Self::attached(UnixStream::connect(socket).context("QEMU's debugger does not answer")?)
    }

    fn attached(stream: UnixStream) -> Result<Self> {
        let mut debugger = Self { stream };
        // QEMU may report the stop. Such a report comes before the answer to a command.
        let mut reply = debugger.command("qAttached")?;
        while reply != "1" {
            reply =
                debugger.receive(PATIENCE)?.context("QEMU's debugger does not say that it is attached")?;
        }
        Ok(debugger)
    }

    /// Stops the machine whenever a CPU has read this byte.
    pub(crate) fn watch(&mut self, address: u64) -> Result<()> {
        self.accepted(&format!("Z3,{address:x},1"))
    }

    /// Lets the machine run.
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.send("c")
    }

    /// Waits for the machine to stop.
    pub(crate) fn stopped(&mut self, limit: Duration) -> Result<Option<Stop>> {
        self.receive(limit)?.map(|reply| Stop::read(&reply)).transpose()
    }

    /// Stops a running machine, which may have stopped already.
    pub(crate) fn interrupt(&mut self) -> Result<Stop> {
        self.stream.write_all(&[INTERRUPT])?;
        self.stopped(PATIENCE)?.context("the machine does not stop")
    }

    /// The address at which a CPU is.
    pub(crate) fn instruction(&mut self, thread: &str) -> Result<u64> {
        self.accepted(&format!("Hg{thread}"))?;
        let registers = bytes(&self.command("g")?)?;
        let rip = registers.get(RIP).context("QEMU's debugger does not show RIP")?;
        Ok(u64::from_le_bytes(rip.try_into()?))
    }

    /// A byte of the memory that a CPU sees.
    pub(crate) fn byte(&mut self, address: u64) -> Result<u8> {
        let value = self.command(&format!("m{address:x},1"))?;
        bytes(&value)?.first().copied().with_context(|| format!("no memory at {address:#x}"))
    }

    /// Lets one CPU run an instruction.
    pub(crate) fn step(&mut self, thread: &str) -> Result<()> {
        self.send(&format!("vCont;s:{thread}"))?;
        self.stopped(PATIENCE)?.context("the CPU does not come to the next instruction").map(drop)
    }

    /// Runs a command of QEMU's monitor.
    pub(crate) fn monitor(&mut self, command: &str) -> Result<()> {
        let hexadecimal: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut reply = self.command(&format!("qRcmd,{hexadecimal}"))?;
        let mut said = String::new();
        // Its output comes first.
        while let Some(printed) = reply.strip_prefix('O').filter(|printed| *printed != "K") {
            said.push_str(&String::from_utf8_lossy(&bytes(printed)?));
            reply = self.receive(PATIENCE)?.context("QEMU's monitor does not end")?;
        }
        ensure!(
            reply == "OK" && said.trim().is_empty(),
            "QEMU's monitor says to `{command}`: {reply} {said}"
        );
        Ok(())
    }

    fn accepted(&mut self, packet: &str) -> Result<()> {
        let reply = self.command(packet)?;
        ensure!(reply == "OK", "QEMU's debugger says to `{packet}`: {reply:?}");
        Ok(())
    }

    fn command(&mut self, packet: &str) -> Result<String> {
        self.send(packet)?;
        self.receive(PATIENCE)?.with_context(|| format!("QEMU's debugger says nothing to `{packet}`"))
    }

    fn send(&mut self, packet: &str) -> Result<()> {
        let sum = packet.bytes().fold(0, u8::wrapping_add);
        Ok(self.stream.write_all(format!("${packet}#{sum:02x}").as_bytes())?)
    }

    /// The next packet; `None` where none starts in time.
    fn receive(&mut self, limit: Duration) -> Result<Option<String>> {
        self.stream.set_read_timeout(Some(limit))?;
        let mut packet = Vec::new();
        loop {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(0) => bail!("QEMU is gone"),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    ensure!(packet.is_empty(), "a packet of QEMU's debugger has no end");
                    return Ok(None);
                }
                // This process may have been stopped, and goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            match byte[0] {
                // The acknowledgement of a packet of ours.
                b'+' if packet.is_empty() => {}
                b'#' => break,
                byte => {
                    packet.push(byte);
                    // The rest of the packet follows.
                    self.stream.set_read_timeout(Some(PATIENCE))?;
                }
            }
        }
        // The checksum, which a socket does not need.
        self.stream.read_exact(&mut [0; 2])?;
        self.stream.write_all(b"+")?;
        let packet = String::from_utf8(packet)?;
        Ok(Some(packet.strip_prefix('$').with_context(|| format!("{packet:?} is no packet"))?.to_owned()))
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        // Lets the machine run on after an error. A running machine must be stopped first, which any byte does; a stopped one
        // ignores this byte. Errors do not matter here, since QEMU is gone then.
        let _ = self.stream.write_all(&[INTERRUPT]);
        let _ = self.send("D");
    }
}

impl Stop {
    fn read(reply: &str) -> Result<Self> {
        let fields = reply.get(3..).filter(|_| reply.starts_with('T'));
        let fields = fields.with_context(|| format!("the machine stopped with {reply:?}"))?;
        let field = |name| fields.split(';').find_map(|field| field.strip_prefix(name));
        let thread = field("thread:").with_context(|| format!("no CPU in {reply:?}"))?.to_owned();
        let read = field("rwatch:").map(|address| u64::from_str_radix(address, 16)).transpose()?;
        Ok(Self { thread, read })
    }
}

/// The bytes for pairs of hexadecimal digits.
fn bytes(hexadecimal: &str) -> Result<Vec<u8>> {
    let byte = |at| hexadecimal.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes = (0..hexadecimal.len()).step_by(2).map(byte).collect::<Option<_>>();
    bytes.with_context(|| format!("{hexadecimal:?} are no bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_names_cpu_and_address() {
        let read = |reply| Stop::read(reply).ok();
        let stop = |read| Some(Stop { thread: "02".into(), read });
        assert_eq!(read("T05thread:02;rwatch:ffff88801a2b3f40;"), stop(Some(0xffff_8880_1a2b_3f40)));
        assert_eq!(read("T02thread:02;"), stop(None));
        assert_eq!(read("W00"), None);
    }

    #[test]
    fn a_command_is_framed_and_its_answer_taken_out_of_its_frame() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut debugger = Debugger { stream: ours };
        // Registers as QEMU sends them, the lowest byte first.
        let others = "00".repeat(RIP.start);
        theirs.write_all(format!("+$OK#9a+${others}3412000040c0ffff46020000#00").as_bytes()).unwrap();
        assert_eq!(debugger.instruction("01").unwrap(), 0xffff_c040_0000_1234);
        let mut sent = [0; 15];
        theirs.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"$Hg01#10+$g#67+");
    }

    #[test]
    fn a_machine_is_left_running_whether_it_stands_or_not() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        drop(Debugger { stream: ours });
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).unwrap();
        assert_eq!(sent, b"\x03$D#44");
    }

    #[test]
    fn a_stop_that_is_told_late_is_not_taken_for_an_answer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"$T05thread:01;#07+$1#31+$OK#9a").unwrap();
        let mut debugger = Debugger::attached(ours).unwrap();
        debugger.watch(0x1000).unwrap();
    }
}
