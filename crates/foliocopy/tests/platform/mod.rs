//! Implementations of `Platform` in a process. Their physical memory is a file in memory.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;

use foliocopy::folio::{PageFrame, Platform};
use foliocopy::{Cpu, DEFAULT_CHUNK_BYTES, Features, PAGE_SIZE, Page, Policy, Primitive, Registers};

/// A node with CPUs, and one without.
pub(crate) const DRAM: i32 = 0;
pub(crate) const SLOW: i32 = 2;

/// Frames of memory, and a record of what the folio layer asked for.
pub(crate) struct Memory {
    file: File,
    /// A file without contents: mapped pages of it raise SIGBUS.
    nothing: File,
    bad: RefCell<Vec<u64>>,
    nr_pages: u64,
    policy: Policy,
    yields: Cell<usize>,
    metadata: RefCell<Vec<(u64, u64)>>,
    failures: RefCell<Vec<u64>>,
}

impl Memory {
    fn new(nr_pages: u64) -> Self {
        let file = memory_file();
        file.set_len(nr_pages * PAGE_SIZE as u64).unwrap();
        Self {
            file,
            nothing: memory_file(),
            bad: RefCell::default(),
            nr_pages,
            policy: Policy::new(Cpu::detect(), Registers::GeneralPurpose),
            yields: Cell::new(0),
            metadata: RefCell::default(),
            failures: RefCell::default(),
        }
    }

    /// Maps frames, good or bad.
    fn map(&self, pfn: u64, nr_pages: u64) -> *mut Page {
        assert!(pfn + nr_pages <= self.nr_pages, "frame {pfn} is beyond the end of memory");
        let start = map_file(&self.file, ptr::null_mut(), pfn, nr_pages);
        for bad in self.bad.borrow().iter().filter(|bad| (pfn..pfn + nr_pages).contains(bad)) {
            map_file(&self.nothing, start.wrapping_add((bad - pfn) as usize), 0, 1);
        }
        start
    }

    fn unmap(&self, start: *mut Page, nr_pages: u64) {
        // SAFETY: a mapping of `map`, which nobody uses any more.
        assert_eq!(unsafe { libc::munmap(start.cast(), nr_pages as usize * PAGE_SIZE) }, 0);
    }

    /// How often it was asked to let others run.
    pub(crate) fn yields(&self) -> usize {
        self.yields.get()
    }

    /// Makes the frame raise SIGBUS wherever it is mapped from now on.
    pub(crate) fn spoil(&self, pfn: u64) {
        self.bad.borrow_mut().push(pfn);
    }

    /// The frames that were reported as bad.
    pub(crate) fn failures(&self) -> Vec<u64> {
        self.failures.borrow().clone()
    }

    /// The frames whose metadata was copied: to and from, in order.
    pub(crate) fn metadata(&self) -> Vec<(u64, u64)> {
        self.metadata.borrow().clone()
    }
}

fn memory_file() -> File {
    // SAFETY: the name is terminated; the descriptor is a new one and ours.
    unsafe {
        let descriptor = libc::memfd_create(c"frames".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(descriptor)
    }
}

/// Maps pages of a file, at a place of the kernel's choice or over an existing mapping.
fn map_file(file: &File, at: *mut Page, first: u64, nr_pages: u64) -> *mut Page {
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    // SAFETY: a new mapping, or one over a mapping of ours.
    let start = unsafe {
        libc::mmap(
            at.cast(),
            nr_pages as usize * PAGE_SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | fixed,
            file.as_raw_fd(),
            (first * PAGE_SIZE as u64) as libc::off_t,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    start.cast()
}

/// The common parts of the platforms.
macro_rules! recorded {
    () => {
        fn policy(&self) -> &Policy {
            &self.memory.policy
        }

        fn cond_resched(&self) {
            self.memory.yields.set(self.memory.yields.get() + 1);
        }

        fn memory_failure_queue(&self, pfn: u64) {
            self.memory.failures.borrow_mut().push(pfn);
        }

        fn node_has_cpus(&self, node: i32) -> bool {
            node != SLOW
        }

        fn copy_page_metadata(&self, to: PageFrame, from: PageFrame) {
            self.memory.metadata.borrow_mut().push((to.pfn, from.pfn));
        }
    };
}

macro_rules! has_memory {
    ($platform:ty) => {
        impl std::ops::Deref for $platform {
            type Target = Memory;

            fn deref(&self) -> &Memory {
                &self.memory
            }
        }
    };
}

/// A platform whose memory is always mapped, as on x86-64.
pub(crate) struct Direct {
    memory: Memory,
    start: *mut Page,
    chunk_bytes: usize,
}

has_memory!(Direct);

impl Direct {
    pub(crate) fn new(nr_pages: u64) -> Self {
        let memory = Memory::new(nr_pages);
        Self { start: memory.map(0, nr_pages), memory, chunk_bytes: DEFAULT_CHUNK_BYTES }
    }

    /// Makes frames bad.
    pub(crate) fn spoilt(self, pfns: &[u64]) -> Self {
        for pfn in pfns {
            self.spoil(*pfn);
            map_file(&self.nothing, self.start.wrapping_add(*pfn as usize), 0, 1);
        }
        self
    }

    pub(crate) fn forcing(mut self, primitive: Primitive) -> Self {
        self.memory.policy = self.memory.policy.forcing(primitive).unwrap();
        self
    }

    pub(crate) fn chunk_bytes(mut self, chunk_bytes: usize) -> Self {
        self.chunk_bytes = chunk_bytes;
        self
    }

    pub(crate) fn mask(mut self, mask: Features) -> Self {
        self.memory.policy = Policy::new(Cpu::detect().without(mask), Registers::GeneralPurpose);
        self
    }
}

// SAFETY: frames are the pages of one mapping, and SIGBUS is survived.
unsafe impl Platform for Direct {
    const HIGHMEM: bool = false;
    const RECOVERS_FROM_MACHINE_CHECKS: bool = true;

    fn map_page<R>(&self, frame: PageFrame, use_page: impl FnOnce(*mut Page) -> R) -> R {
        use_page(self.page_address(frame))
    }

    fn page_address(&self, frame: PageFrame) -> *mut Page {
        assert!(frame.pfn < self.nr_pages, "frame {} is beyond the end of memory", frame.pfn);
        // SAFETY: within the mapping.
        unsafe { self.start.add(frame.pfn as usize) }
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    recorded!();
}

/// A platform that maps memory only through windows of a page.
pub(crate) struct Highmem {
    memory: Memory,
    mapped: Cell<usize>,
    most_mapped: Cell<usize>,
}

has_memory!(Highmem);

impl Highmem {
    pub(crate) fn new(nr_pages: u64) -> Self {
        Self { memory: Memory::new(nr_pages), mapped: Cell::new(0), most_mapped: Cell::new(0) }
    }

    /// The most windows that were open at once.
    pub(crate) fn most_mapped(&self) -> usize {
        self.most_mapped.get()
    }
}

// SAFETY: a window is a mapping of its frame, and SIGBUS is survived.
unsafe impl Platform for Highmem {
    const HIGHMEM: bool = true;
    const RECOVERS_FROM_MACHINE_CHECKS: bool = true;

    fn map_page<R>(&self, frame: PageFrame, use_page: impl FnOnce(*mut Page) -> R) -> R {
        let window = self.map(frame.pfn, 1);
        self.mapped.set(self.mapped.get() + 1);
        self.most_mapped.set(self.most_mapped.get().max(self.mapped.get()));
        let result = use_page(window);
        self.mapped.set(self.mapped.get() - 1);
        self.unmap(window, 1);
        result
    }

    fn page_address(&self, frame: PageFrame) -> *mut Page {
        panic!("frame {} has no address of its own", frame.pfn)
    }

    recorded!();
}

/// A platform whose architecture copies a tag with each page, and can't survive machine checks.
pub(crate) struct Tagged {
    memory: Memory,
    start: *mut Page,
    tags: RefCell<Vec<u8>>,
    copies: Cell<usize>,
}

has_memory!(Tagged);

impl Tagged {
    pub(crate) fn new(nr_pages: u64) -> Self {
        let memory = Memory::new(nr_pages);
        let tags = RefCell::new(vec![0; nr_pages as usize]);
        Self { start: memory.map(0, nr_pages), memory, tags, copies: Cell::new(0) }
    }

    pub(crate) fn set_tag(&self, pfn: u64, tag: u8) {
        self.tags.borrow_mut()[pfn as usize] = tag;
    }

    pub(crate) fn tag(&self, pfn: u64) -> u8 {
        self.tags.borrow()[pfn as usize]
    }

    /// How many pages the architecture's own function copied.
    pub(crate) fn copies(&self) -> usize {
        self.copies.get()
    }
}

// SAFETY: frames are the pages of one mapping.
unsafe impl Platform for Tagged {
    const HIGHMEM: bool = false;
    const ARCH_COPY_HIGHPAGE: bool = true;
    const RECOVERS_FROM_MACHINE_CHECKS: bool = false;

    fn map_page<R>(&self, frame: PageFrame, use_page: impl FnOnce(*mut Page) -> R) -> R {
        use_page(self.page_address(frame))
    }

    fn page_address(&self, frame: PageFrame) -> *mut Page {
        assert!(frame.pfn < self.nr_pages, "frame {} is beyond the end of memory", frame.pfn);
        // SAFETY: within the mapping.
        unsafe { self.start.add(frame.pfn as usize) }
    }

    fn copy_highpage(&self, to: PageFrame, from: PageFrame) {
        // SAFETY: two pages of the mapping, which nobody else uses meanwhile.
        unsafe { self.page_address(to).write(self.page_address(from).read()) };
        let tag = self.tag(from.pfn);
        self.set_tag(to.pfn, tag);
        self.copies.set(self.copies.get() + 1);
    }

    recorded!();
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.memory.unmap(self.start, self.memory.nr_pages);
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        self.memory.unmap(self.start, self.memory.nr_pages);
    }
}
