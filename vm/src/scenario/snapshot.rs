//! The programs of examples/, on really poisoned memory.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::Command;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::hwpoison::count_signals;
use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;
use crate::memory::PAGE;

pub(super) const SNAPSHOT: Scenario = Scenario {
    name: "snapshot",
    proves: "a snapshot of a guest's memory lists its poisoned pages and has the rest, and a checksum of them is an error",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run,
};

/// Base pages of a huge page.
const HUGE: usize = 512;

fn run(guest: &Guest) -> Result<()> {
    // madvise may raise the signal at once, and then it is no copy's fault.
    count_signals()?;
    guest.write("/proc/sys/vm/nr_hugepages", "4")?;
    base_pages()?;
    huge_pages()?;
    checksum()
}

/// Runs a program of examples/, which must end with this status. Returns its output and its messages.
fn program(arguments: &[&str], status: i32) -> Result<(String, String)> {
    let output = Command::new(format!("/bin/{}", arguments[0])).args(&arguments[1..]).output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("# {}\n{out}{err}", arguments.join(" "));
    ensure!(output.status.code() == Some(status), "{arguments:?} ended with {}: {out}{err}", output.status);
    Ok((out.into_owned(), err.into_owned()))
}

/// Poisoned base pages of a memfd: each is lost alone. The snapshot is restored into another memfd.
fn base_pages() -> Result<()> {
    const NR_PAGES: usize = 3 * HUGE + 5;
    const BAD: [usize; 4] = [0, 700, 701, NR_PAGES - 1];
    let memory = Memory::new(NR_PAGES, 0)?;
    BAD.iter().try_for_each(|page| memory.poison(*page))?;
    let (listed, _) = program(&["snapshot", "save", &memory.path(), "/tmp/guest.img"], 3)?;
    let lost = |page: &usize| format!("lost: 4096 bytes at {:#x}: hardware memory error\n", page * PAGE);
    ensure!(listed == BAD.iter().map(lost).collect::<String>(), "the snapshot lists {listed}");
    let expected = contents(NR_PAGES, &BAD);
    ensure!(fs::read("/tmp/guest.img")? == expected, "the snapshot is not what is left of the memory");

    let other = Memory::new(NR_PAGES, 0)?;
    program(&["snapshot", "restore", "/tmp/guest.img", &other.path()], 0)?;
    ensure!(fs::read(other.path())? == expected, "the memory is not what was restored");
    Ok(())
}

/// A poisoned huge page is lost as a whole, and listed once.
fn huge_pages() -> Result<()> {
    let memory = Memory::new(3 * HUGE, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB)?;
    memory.poison(HUGE + 7)?;
    let (listed, _) = program(&["snapshot", "save", &memory.path(), "/tmp/huge.img"], 3)?;
    ensure!(
        listed == "lost: 2097152 bytes at 0x200000: hardware memory error\n",
        "the snapshot lists {listed}"
    );
    let lost: Vec<usize> = (HUGE..2 * HUGE).collect();
    ensure!(fs::read("/tmp/huge.img")? == contents(3 * HUGE, &lost), "the snapshot is not what is left");
    Ok(())
}

fn checksum() -> Result<()> {
    let memory = Memory::new(100, 0)?;
    let (sum, _) = program(&["checksum", &memory.path()], 0)?;
    ensure!(sum.len() > 64 && sum[..64].bytes().all(|byte| byte.is_ascii_hexdigit()), "{sum}");
    memory.poison(77)?;
    let (_, complaint) = program(&["checksum", &memory.path()], 1)?;
    let expected = format!("only {} of {} bytes can be read: hardware memory error", 77 * PAGE, 100 * PAGE);
    ensure!(complaint.contains(&expected), "the checksum complains of {complaint}");
    Ok(())
}

/// Pages, each filled with its own value, or with zeros.
fn contents(nr_pages: usize, zeros: &[usize]) -> Vec<u8> {
    let byte = |page: usize| if zeros.contains(&page) { 0 } else { byte(page) };
    (0..nr_pages).flat_map(|page| [byte(page); PAGE]).collect()
}

/// The value of every byte of a page.
fn byte(page: usize) -> u8 {
    1 + (page % 251) as u8
}

/// A memfd, mapped and filled. It lives as long as this process does, since poison stays.
struct Memory {
    file: File,
    start: *mut u8,
}

impl Memory {
    fn new(nr_pages: usize, flags: libc::c_uint) -> Result<Self> {
        let bytes = nr_pages * PAGE;
        // SAFETY: the name ends; the descriptor is new and ours.
        let file = unsafe {
            let descriptor = libc::memfd_create(c"guest".as_ptr(), flags);
            ensure!(descriptor >= 0, "memfd_create: {}", io::Error::last_os_error());
            File::from_raw_fd(descriptor)
        };
        file.set_len(bytes as u64)?;
        let (protection, descriptor) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: new memory.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, descriptor, 0) };
        ensure!(start != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        let start = start.cast::<u8>();
        for page in 0..nr_pages {
            // SAFETY: inside the mapping, which nobody else knows.
            unsafe { start.add(page * PAGE).write_bytes(byte(page), PAGE) };
        }
        Ok(Self { file, start })
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    fn poison(&self, page: usize) -> Result<()> {
        // SAFETY: a page of ours, which nobody reads any more.
        match unsafe { libc::madvise(self.start.add(page * PAGE).cast(), PAGE, libc::MADV_HWPOISON) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()).context("MADV_HWPOISON"),
        }
    }
}
