//! Memory that really faults: mappings of a file without contents, and `UFFDIO_POISON`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;

use foliocopy::{Cpu, PAGE_SIZE, Page, PageRange, PageRangeMut, Primitive};

/// How a page is made bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Behind the address lies no byte of a file: `BUS_ADRERR`, as after `ftruncate(2)`.
    Cut,
    /// `UFFDIO_POISON` (Linux 6.6): `BUS_MCEERR_AR` where the kernel has `CONFIG_MEMORY_FAILURE`,
    /// `BUS_ADRERR` where not.
    Poisoned,
}

/// The ways in which this kernel can make a page bad. The others are named in the output.
pub(crate) fn ways() -> &'static [Bad] {
    static WAYS: OnceLock<Vec<Bad>> = OnceLock::new();
    WAYS.get_or_init(|| match userfaultfd() {
        Ok(_) => vec![Bad::Cut, Bad::Poisoned],
        Err(error) => {
            eprintln!("not tested on this kernel: UFFDIO_POISON, {error}");
            vec![Bad::Cut]
        }
    })
}

/// Every primitive that this CPU has in a machine-check-safe variant. The others are named in the output.
pub(crate) fn safe_primitives() -> Vec<Primitive> {
    let cpu = Cpu::detect();
    let safe = Primitive::ALL.iter().copied().filter(|one| one.is_built() && one.is_machine_check_safe());
    let (available, lacking): (Vec<_>, Vec<_>) = safe.partition(|primitive| primitive.is_available(&cpu));
    for primitive in lacking {
        eprintln!("not tested on this CPU: {primitive}, it lacks {}", primitive.missing(&cpu));
    }
    available
}

/// The bytes of a page of the system, the least that can go bad.
pub(crate) fn system_page() -> usize {
    // SAFETY: only asks.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("a system has pages").max(PAGE_SIZE)
}

/// A test run on another kernel than this machine's says how large its pages are.
#[test]
fn pages_are_as_large_as_is_said() {
    if let Ok(bytes) = std::env::var("FOLIOCOPY_TEST_PAGE_BYTES") {
        assert_eq!(system_page().to_string(), bytes);
    }
}

/// How many pages of the crate make a page of the system.
pub(crate) fn unit() -> usize {
    system_page() / PAGE_SIZE
}

/// Pages of the system, with a canary page on both sides.
pub(crate) struct Region {
    mapping: *mut Page,
    nr_pages: usize,
    userfaultfd: Option<OwnedFd>,
}

// SAFETY: it owns its memory.
unsafe impl Send for Region {}

const CANARY: u8 = 0xc5;

impl Region {
    /// Zeroed pages.
    pub(crate) fn new(nr_pages: usize) -> Self {
        let mapping = map(ptr::null_mut(), nr_pages + 2, None);
        let region = Self { mapping, nr_pages, userfaultfd: None };
        // Every page is touched: once userfaultfd watches, an access to an absent page would wait for ever.
        region.fill(0);
        // SAFETY: our own pages.
        unsafe {
            ptr::write_bytes(mapping, CANARY, unit());
            ptr::write_bytes(mapping.add((nr_pages + 1) * unit()), CANARY, unit());
        }
        region
    }

    /// Pages in which no two lines are alike.
    pub(crate) fn patterned(nr_pages: usize) -> Self {
        let region = Self::new(nr_pages);
        (0..nr_pages).for_each(|index| region.write(index, pattern));
        region
    }

    pub(crate) fn start(&self) -> *mut Page {
        // SAFETY: the page after the canary.
        unsafe { self.mapping.add(unit()) }
    }

    pub(crate) fn address(&self) -> usize {
        self.start().addr()
    }

    /// The region as a source.
    pub(crate) fn source(&self) -> PageRange<'_> {
        // SAFETY: pages of ours, of which some raise SIGBUS.
        unsafe { PageRange::new(self.start(), self.nr_pages * unit()) }.unwrap()
    }

    /// The region as a destination.
    pub(crate) fn destination(&self) -> PageRangeMut<'_> {
        // SAFETY: pages of ours, of which some raise SIGBUS, and to which no reference is kept.
        unsafe { PageRangeMut::new(self.start(), self.nr_pages * unit()) }.unwrap()
    }

    fn page(&self, index: usize) -> *mut Page {
        assert!(index < self.nr_pages);
        // SAFETY: within the region.
        unsafe { self.start().add(index * unit()) }
    }

    /// Writes a page. `contents` returns each of the crate's pages in it, by index.
    pub(crate) fn write(&self, index: usize, contents: impl Fn(usize) -> Page) {
        let start = self.page(index);
        for part in 0..unit() {
            // SAFETY: pages of ours.
            unsafe { start.add(part).write(contents(index * unit() + part)) };
        }
    }

    pub(crate) fn fill(&self, byte: u8) {
        // SAFETY: pages of ours.
        unsafe { ptr::write_bytes(self.start(), byte, self.nr_pages * unit()) };
    }

    /// The bytes from `start` to `end`, none of which may be bad.
    pub(crate) fn bytes(&self, start: usize, end: usize) -> &[u8] {
        assert!(start <= end && end <= self.nr_pages * system_page());
        // SAFETY: within the region; the test doesn't write while it looks.
        unsafe { std::slice::from_raw_parts(self.start().cast::<u8>().add(start), end - start) }
    }

    /// Flushes those bytes from every cache.
    pub(crate) fn flush(&self, start: usize, end: usize) {
        for line in self.bytes(start, end).chunks(64) {
            // SAFETY: a reference is a valid address, and flushing changes no content.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                core::arch::x86_64::_mm_clflush(line.as_ptr())
            };
            // SAFETY: a reference is a valid address, and flushing changes no content. Linux lets processes flush.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                core::arch::asm!("dc civac, {}", in(reg) line.as_ptr(), options(nostack, preserves_flags))
            };
        }
        // SAFETY: SSE2 is part of every x86-64.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            core::arch::x86_64::_mm_mfence()
        };
        // SAFETY: a barrier touches no register.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            core::arch::asm!("dsb sy", options(nostack, preserves_flags))
        };
    }

    /// Whether every byte from `start` to `end` is `byte`. It compares whole pages, which is fast without optimization too.
    pub(crate) fn is_filled(&self, byte: u8, start: usize, end: usize) -> bool {
        let page = Page::filled(byte);
        self.bytes(start, end).chunks(PAGE_SIZE).all(|chunk| *chunk == page.as_bytes()[..chunk.len()])
    }

    /// Takes the contents of a page away, so that every access gets SIGBUS.
    pub(crate) fn spoil(&mut self, index: usize, bad: Bad) {
        let page = self.page(index);
        match bad {
            Bad::Cut => {
                let file = file();
                map(page, 1, Some(&file));
                file.set_len(0).unwrap();
            }
            Bad::Poisoned => {
                let (mapping, nr_pages) = (self.mapping, self.nr_pages);
                let userfaultfd = self.userfaultfd.get_or_insert_with(|| {
                    let userfaultfd = userfaultfd().expect("looked for before");
                    register(&userfaultfd, mapping, nr_pages + 2).expect("our own memory");
                    userfaultfd
                });
                // SAFETY: a page of ours, the contents of which nobody needs any more.
                let dropped = unsafe { libc::madvise(page.cast(), system_page(), libc::MADV_DONTNEED) };
                assert_eq!(dropped, 0, "{}", io::Error::last_os_error());
                poison(userfaultfd, page).unwrap();
            }
        }
    }

    /// Gives the page good memory again, with these contents.
    pub(crate) fn mend(&self, index: usize, contents: impl Fn(usize) -> Page) {
        map(self.page(index), 1, None);
        self.write(index, contents);
    }

    /// Whether nothing outside the region was written.
    pub(crate) fn canaries_live(&self) -> bool {
        // SAFETY: pages of ours.
        let canary = |index| unsafe {
            let page = std::slice::from_raw_parts(self.mapping.add(index * unit()), unit());
            page.iter().all(|page| *page == Page::filled(CANARY))
        };
        canary(0) && canary(self.nr_pages + 1)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference any more.
        unsafe { libc::munmap(self.mapping.cast(), (self.nr_pages + 2) * system_page()) };
    }
}

/// A page that differs from any other with a smaller or larger index in every line.
pub(crate) fn pattern(index: usize) -> Page {
    let mut page = Page::zeroed();
    for (line, bytes) in page.as_bytes_mut().chunks_exact_mut(64).enumerate() {
        let mut state = ((index as u64) << 8 | line as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    }
    page
}

/// Maps pages, at a place of the kernel's choice or over an existing mapping.
fn map(at: *mut Page, nr_pages: usize, file: Option<&File>) -> *mut Page {
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    let (flags, descriptor) = match file {
        Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory, or a place that the caller owns.
    let start =
        unsafe { libc::mmap(at.cast(), nr_pages * system_page(), protection, flags | fixed, descriptor, 0) };
    assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    start.cast()
}

/// A file of one page of the system.
fn file() -> File {
    // SAFETY: the name is terminated; the descriptor is a new one and ours.
    let file = unsafe {
        let descriptor = libc::memfd_create(c"cut".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "{}", io::Error::last_os_error());
        File::from_raw_fd(descriptor)
    };
    file.set_len(system_page() as u64).unwrap();
    file
}

// `include/uapi/linux/userfaultfd.h`, which libc doesn't have.
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_POISON: u64 = 1 << 14;
const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_POISON: u64 = 0xc020_aa08;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

/// A descriptor that can poison, without privileges.
fn userfaultfd() -> io::Result<OwnedFd> {
    let flags = libc::O_CLOEXEC | UFFD_USER_MODE_ONLY;
    // SAFETY: a system call that makes a descriptor.
    let descriptor = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, which is ours.
    let userfaultfd = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
    let mut api = [UFFD_API, UFFD_FEATURE_POISON, 0];
    ioctl(&userfaultfd, UFFDIO_API, &mut api)?;
    Ok(userfaultfd)
}

fn register(userfaultfd: &OwnedFd, start: *mut Page, nr_pages: usize) -> io::Result<()> {
    let mut register =
        [start.addr() as u64, (nr_pages * system_page()) as u64, UFFDIO_REGISTER_MODE_MISSING, 0];
    ioctl(userfaultfd, UFFDIO_REGISTER, &mut register)
}

fn poison(userfaultfd: &OwnedFd, page: *mut Page) -> io::Result<()> {
    let mut poison = [page.addr() as u64, system_page() as u64, 0, 0];
    ioctl(userfaultfd, UFFDIO_POISON, &mut poison)
}

fn ioctl<const N: usize>(userfaultfd: &OwnedFd, request: u64, argument: &mut [u64; N]) -> io::Result<()> {
    // SAFETY: each request here takes as many words as its caller gives, and the memory is the caller's.
    match unsafe { libc::ioctl(userfaultfd.as_raw_fd(), request, argument.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
