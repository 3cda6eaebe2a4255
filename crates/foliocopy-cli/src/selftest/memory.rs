//! Pages that can be taken away and given back.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr;
use std::slice;

use foliocopy::{PAGE_SIZE, Page, PageRange, PageRangeMut};
use foliocopy_measure::memory::base_page;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A range of pages of our own. What can be taken away is a page of the system, which may hold several.
///
/// # Invariants
///
/// `nr_pages` pages are mapped from `start` on. Those that are spoilt are behind the end of `nothing`.
pub(super) struct Memory {
    start: *mut u8,
    nr_pages: usize,
    /// A file that is cut once it is mapped: an access to the mapping raises SIGBUS.
    nothing: OwnedFd,
}

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

impl Memory {
    pub(super) fn new(nr_pages: usize) -> io::Result<Self> {
        let nothing = memfd_create("nothing", MemfdFlags::CLOEXEC)?;
        // SAFETY: new memory, wherever the kernel likes.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), nr_pages * PAGE_SIZE, READ_WRITE, MapFlags::PRIVATE)? };
        // INVARIANT: mapped just now, nothing spoilt.
        Ok(Self { start: start.cast(), nr_pages, nothing })
    }

    /// The address `offset` bytes after the start.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.nr_pages * PAGE_SIZE);
        // SAFETY: within the mapping, or at its end.
        unsafe { self.start.add(offset) }
    }

    /// All of it, to be copied from.
    pub(super) fn range(&self) -> PageRange<'_> {
        // SAFETY: mapped while `self` lives (INVARIANT), and nobody writes it meanwhile.
        let range = unsafe { PageRange::new(self.start.cast(), self.nr_pages) };
        range.expect("a mapping is a range of pages")
    }

    /// All of it, to be copied to.
    pub(super) fn range_mut(&mut self) -> PageRangeMut<'_> {
        // SAFETY: mapped while `self` lives (INVARIANT), and borrowed by nobody else.
        let range = unsafe { PageRangeMut::new(self.start.cast(), self.nr_pages) };
        range.expect("a mapping is a range of pages")
    }

    /// Every byte. No page may be spoilt.
    pub(super) fn bytes(&self) -> &[u8] {
        self.part(0, self.nr_pages * PAGE_SIZE)
    }

    /// The bytes from `start` on, none of which may be in a spoilt page.
    pub(super) fn part(&self, start: usize, bytes: usize) -> &[u8] {
        assert!(start + bytes <= self.nr_pages * PAGE_SIZE);
        // SAFETY: mapped (INVARIANT), and nobody copies while we look.
        unsafe { slice::from_raw_parts(self.start.add(start), bytes) }
    }

    /// Fills a part that has no spoilt page.
    pub(super) fn fill(&mut self, start: usize, bytes: usize, byte: u8) {
        assert!(start + bytes <= self.nr_pages * PAGE_SIZE);
        // SAFETY: mapped (INVARIANT), and ours.
        unsafe { ptr::write_bytes(self.start.add(start), byte, bytes) };
    }

    /// Gives every page its contents. No two lines are alike.
    pub(super) fn pattern(&mut self) {
        (0..self.nr_pages).for_each(|index| self.pattern_page(index));
    }

    fn pattern_page(&mut self, index: usize) {
        let mut page = Page::zeroed();
        fastrand::Rng::with_seed(index as u64).fill(page.as_bytes_mut());
        // SAFETY: a page of ours (INVARIANT).
        unsafe { self.start.cast::<Page>().add(index).write(page) };
    }

    /// Takes a page of the system away.
    pub(super) fn spoil(&mut self, index: usize) -> io::Result<()> {
        let page = self.at(index * base_page()).cast();
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // QEMU's emulator of user space maps nothing of an empty file where pages are larger than this machine's.
        ftruncate(&self.nothing, base_page() as u64)?;
        // SAFETY: in the place of our own page, to which nobody has a reference.
        unsafe { mmap(page, base_page(), READ_WRITE, flags, &self.nothing, 0)? };
        Ok(ftruncate(&self.nothing, 0)?)
    }

    /// Gives it back with its contents.
    pub(super) fn mend(&mut self, index: usize) -> io::Result<()> {
        let page = self.at(index * base_page()).cast();
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: in the place of our own page, to which nobody has a reference.
        unsafe { mmap_anonymous(page, base_page(), READ_WRITE, flags)? };
        let held = base_page() / PAGE_SIZE;
        (index * held..(index + 1) * held).for_each(|index| self.pattern_page(index));
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: all of it is ours (INVARIANT), and nobody has a reference any more.
        let _ = unsafe { munmap(self.start.cast(), self.nr_pages * PAGE_SIZE) };
    }
}
