//! The host's side of poison: stops the machine where a bad line is read, and raises the machine check there.

use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use anyhow::{Context, Result};
use foliocopy_vm::{Poison, poison};

use super::debugger::{Debugger, Stop};

/// How often to look for a new request.
const TURN: Duration = Duration::from_millis(20);

/// How many instructions after the read the instruction may be that gets the machine check.
const STEPS: usize = 16;

/// A repeat prefix, which among instructions with entries only string copies have.
const REPEAT: u8 = 0xf3;

/// Raises machine checks until QEMU is gone or no more requests can come. `console` is where the guest is told that its line is
/// poisoned. The instruction of each machine check goes into `raised`.
pub(crate) fn spread(
    socket: &Path,
    requests: &Receiver<Poison>,
    console: &mut ChildStdin,
    raised: &Sender<Result<u64>>,
) -> Result<()> {
    let Ok(first) = requests.recv() else { return Ok(()) };
    let mut machine = Debugger::attach(socket)?;
    let mut poisons = Vec::new();
    let mut add = |machine: &mut Debugger, poisons: &mut Vec<Poison>, poison: Poison| -> Result<()> {
        // A string copy is at the line after it has read the byte before the line. A loop is at the line after it has read some
        // of the line.
        machine.watch(poison.mapped - 1)?;
        machine.watch(poison.mapped)?;
        poisons.push(poison);
        machine.resume()?;
        Ok(writeln!(console, "{}", poison::ANSWER)?)
    };
    add(&mut machine, &mut poisons, first)?;
    loop {
        if let Some(stop) = machine.stopped(TURN)? {
            raise(&mut machine, &poisons, &stop, raised)?;
            machine.resume()?;
            continue;
        }
        match requests.try_recv() {
            Ok(poison) => {
                let stop = machine.interrupt()?;
                raise(&mut machine, &poisons, &stop, raised)?;
                add(&mut machine, &mut poisons, poison)?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// Raises a machine check in a machine that has just read a bad line, if it is at one of the requested instructions.
fn raise(
    machine: &mut Debugger,
    poisons: &[Poison],
    stop: &Stop,
    raised: &Sender<Result<u64>>,
) -> Result<()> {
    let Some(read) = stop.read else { return Ok(()) };
    let Some(poison) = poisons.iter().find(|poison| (poison.mapped - 1..=poison.mapped).contains(&read))
    else {
        return Ok(());
    };
    let mut instruction = machine.instruction(&stop.thread)?;
    let wanted = |instruction| poison.instructions.contains(&instruction);
    if read < poison.mapped {
        if !wanted(instruction) || machine.byte(instruction)? != REPEAT {
            return Ok(());
        }
    } else {
        let mut steps = 0;
        while !wanted(instruction) {
            if steps == STEPS {
                return Ok(());
            }
            machine.step(&stop.thread)?;
            instruction = machine.instruction(&stop.thread)?;
            steps += 1;
        }
    }
    // An uncorrected, recoverable error that a data load consumed (MCA error code 0x134, SDM volume 3, 17.9), in bank 9. RIPV
    // and EIPV are set: without them an error in the kernel can't be survived.
    let cpu = u32::from_str_radix(&stop.thread, 16)? - 1;
    machine.monitor(&format!("mce {cpu} 9 0xbd80000000000134 0xf {:#x} 0x8c", poison.physical))?;
    raised.send(Ok(instruction)).context("nobody follows the machine any more")
}
