//! Poisoned memory of a process, on a kernel that handles memory failures. It tests `BUS_MCEERR_AR` and lost huge pages, which
//! the host's kernel may lack.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use foliocopy::{
    Cause, CopyMcError, CopyOptions, Cpu, PAGE_SIZE, Page, PageRange, PageRangeMut, Primitive, Side, Skipped,
    copy_mc_pages_skipping, sigbus,
};

use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const HWPOISON: Scenario = Scenario {
    name: "hwpoison",
    proves: "a process survives hardware poison in its pages, its transparent huge pages and its hugetlb pages",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run,
};

/// How much memory is lost at once, in pages of the crate.
#[derive(Clone, Copy)]
struct Lost {
    /// By poison in a base page.
    base: usize,
    /// By poison in a huge page of the kernel's default size.
    huge: usize,
}

impl Lost {
    fn detect(guest: &Guest) -> Result<Self> {
        let meminfo = guest.read("/proc/meminfo")?;
        let line = meminfo.lines().find_map(|line| line.strip_prefix("Hugepagesize:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        let huge = kibibytes.context("/proc/meminfo does not say how large huge pages are")? << 10;
        Ok(Self { base: rustix::param::page_size() / PAGE_SIZE, huge: huge / PAGE_SIZE })
    }
}

/// The logarithm of this many pages, in bytes.
fn lsb(nr_pages: usize) -> i16 {
    (nr_pages * PAGE_SIZE).ilog2() as i16
}

pub(super) fn run(guest: &Guest) -> Result<()> {
    let lost = Lost::detect(guest)?;
    // madvise may raise the signal at once, and then it is no copy's fault.
    count_signals()?;
    sigbus::install()?;
    guest.write("/proc/sys/vm/nr_hugepages", "6")?;
    pages(lost, libc::MADV_NOHUGEPAGE)?;
    pages(lost, libc::MADV_HUGEPAGE)?;
    huge_pages(lost)
}

/// A poisoned base page, from a huge page that is split or not, on either side of a copy.
fn pages(Lost { base, huge }: Lost, advice: c_int) -> Result<()> {
    const BAD: usize = 704;
    let (bad, other) = (Region::map(2 * huge, huge, 0)?, Region::map(2 * huge, huge, 0)?);
    bad.advise(advice, 0, 2 * huge)?;
    bad.fill();
    other.fill();
    bad.advise(libc::MADV_HWPOISON, BAD, base)?;
    let cpu = Cpu::detect();
    let available =
        |primitive: &&Primitive| primitive.is_machine_check_safe() && primitive.is_available(&cpu);
    for primitive in Primitive::ALL.iter().filter(available) {
        for side in [Side::Source, Side::Destination] {
            let (dst, src) = if side == Side::Source { (&other, &bad) } else { (&bad, &other) };
            let options = CopyOptions::new().primitive(*primitive);
            let answer = options.copy_mc_pages(dst.destination(0), src.source(0));
            let Err(CopyMcError::Memory(error)) = answer else { bail!("{primitive}, {side}: {answer:?}") };
            let counts = (error.bytes_copied, error.bytes_left, error.page_index);
            ensure!(counts == (BAD * PAGE_SIZE, (2 * huge - BAD) * PAGE_SIZE, BAD), "{primitive}: {error:?}");
            // A test knows the address only to the page.
            let place = (error.address & !(PAGE_SIZE - 1), error.address_lsb);
            ensure!(place == (bad.address(BAD), lsb(base)), "{primitive}: {error:?}");
            ensure!(
                (error.cause, error.side) == (Cause::HardwareMemoryError, side),
                "{primitive}: {error:?}"
            );
        }
    }
    Ok(())
}

/// A poisoned hugetlb page, which is lost as a whole and skipped with one fault.
fn huge_pages(Lost { base, huge }: Lost) -> Result<()> {
    let src = Region::map(3 * huge, huge, libc::MAP_HUGETLB)?;
    let dst = Region::map(3 * huge, huge, 0)?;
    src.fill();
    src.advise(libc::MADV_HWPOISON, huge + 7 * base, base)?;
    // A copy of the whole page, and a range that starts within it.
    for (first, bad) in [(0, huge), (huge + 100, 0)] {
        let lost = 2 * huge - (first + bad);
        dst.fill();
        let mut reports: Vec<Skipped> = Vec::new();
        let report = |skipped: &Skipped| reports.push(*skipped);
        let skipped = copy_mc_pages_skipping(dst.destination(first), src.source(first), report);
        ensure!(skipped == Ok(lost), "{skipped:?} and not {lost} pages were skipped from page {first} on");
        let [report] = reports[..] else { bail!("{} faults for one lost huge page", reports.len()) };
        ensure!((report.page_index, report.nr_pages) == (bad, lost), "{report:?}");
        ensure!(report.error.address_lsb == lsb(huge), "{report:?}");
        ensure!(report.error.cause == Cause::HardwareMemoryError, "{report:?}");
        for index in first..3 * huge {
            let is_lost = (huge..2 * huge).contains(&index);
            let expected = if is_lost { Page::zeroed() } else { Region::contents(index) };
            ensure!(dst.read(index) == expected, "page {index} after a copy from page {first} on");
        }
    }
    Ok(())
}

/// Installs a handler that counts signals of others.
pub(super) fn count_signals() -> Result<()> {
    static SIGNALS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: zeros are a valid action, and the handler has the signature of SA_SIGINFO.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut())
    };
    ensure!(installed == 0, "sigaction: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Pages of this process. They live as long as the process does, since poison stays.
struct Region {
    start: *mut Page,
    nr_pages: usize,
}

impl Region {
    /// Maps pages, aligned to a huge page of `huge`.
    fn map(nr_pages: usize, huge: usize, flags: c_int) -> Result<Self> {
        let (bytes, protection) = (nr_pages * PAGE_SIZE, libc::PROT_READ | libc::PROT_WRITE);
        // hugetlb memory is always aligned, and scarce: it is mapped without spare pages.
        let spare = if flags & libc::MAP_HUGETLB == 0 { huge * PAGE_SIZE } else { 0 };
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes + spare, protection, flags, -1, 0) };
        ensure!(start != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        let start = start.wrapping_byte_add(start.align_offset(huge * PAGE_SIZE)).cast();
        Ok(Self { start, nr_pages })
    }

    fn address(&self, index: usize) -> usize {
        self.start.wrapping_add(index).addr()
    }

    /// The pages from `first` on, as a source.
    fn source(&self, first: usize) -> PageRange<'_> {
        // SAFETY: pages of the mapping, of which some raise SIGBUS.
        let range = unsafe { PageRange::new(self.start.wrapping_add(first), self.nr_pages - first) };
        range.expect("pages of a mapping")
    }

    /// The pages from `first` on, as a destination.
    fn destination(&self, first: usize) -> PageRangeMut<'_> {
        // SAFETY: pages of the mapping, of which some raise SIGBUS. Nobody holds a reference to them.
        let range = unsafe { PageRangeMut::new(self.start.wrapping_add(first), self.nr_pages - first) };
        range.expect("pages of a mapping")
    }

    fn contents(index: usize) -> Page {
        Page::filled(index as u8 ^ (index >> 8) as u8 ^ 0x5a)
    }

    fn fill(&self) {
        // SAFETY: our own pages, none of which is poisoned yet.
        (0..self.nr_pages).for_each(|index| unsafe { self.start.add(index).write(Self::contents(index)) });
    }

    fn read(&self, index: usize) -> Page {
        // SAFETY: a page of ours that is not poisoned.
        unsafe { self.start.add(index).read() }
    }

    fn advise(&self, advice: c_int, first: usize, nr_pages: usize) -> Result<()> {
        let start = self.start.wrapping_add(first).cast();
        // SAFETY: our own pages; nobody has a reference to them.
        let advised = unsafe { libc::madvise(start, nr_pages * PAGE_SIZE, advice) };
        ensure!(advised == 0, "madvise({advice}): {}", std::io::Error::last_os_error());
        Ok(())
    }
}
