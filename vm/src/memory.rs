//! Memory of the guest's init, which scenarios move and poison.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;

use anyhow::{Context, Result, bail, ensure};

/// Bytes of a base page.
pub const PAGE: usize = 4096;

/// Anonymous memory in which every page was touched.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    start: *mut u8,
    pages: usize,
}

impl Memory {
    /// Maps `pages` pages: with `huge` aligned to 2 MiB and in huge pages, otherwise in base pages.
    pub fn map(pages: usize, huge: bool) -> Result<Self> {
        let alignment = 512 * PAGE;
        let bytes = pages * PAGE;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes + alignment, protection, flags, -1, 0) };
        ensure!(start != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        let start = start.cast::<u8>().map_addr(|address| address.next_multiple_of(alignment));
        let advice = if huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
        // SAFETY: inside the mapping.
        let advised = unsafe { libc::madvise(start.cast(), bytes, advice) };
        ensure!(advised == 0, "madvise: {}", io::Error::last_os_error());
        let memory = Self { start, pages };
        for page in 0..pages {
            // SAFETY: inside the mapping, which nobody else knows.
            unsafe { memory.page(page).write_bytes(Self::value(page), PAGE) };
        }
        Ok(memory)
    }

    /// Maps pages as [`Memory::map`] does, on one node.
    pub fn map_on(node: u32, pages: usize, huge: bool) -> Result<Self> {
        const MPOL_DEFAULT: libc::c_long = 0;
        const MPOL_BIND: libc::c_long = 2;
        let policy = |mode: libc::c_long, mask: *const u64| {
            // SAFETY: changes where this thread's memory comes from. The mask has 64 bits; the kernel reads one bit less than
            // it is told.
            match unsafe {
                libc::syscall(libc::SYS_set_mempolicy, mode, mask, if mask.is_null() { 0 } else { 65 })
            } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()).context("set_mempolicy"),
            }
        };
        let mask = 1u64 << node;
        policy(MPOL_BIND, &raw const mask)?;
        let memory = Self::map(pages, huge);
        policy(MPOL_DEFAULT, ptr::null())?;
        memory
    }

    /// Unmaps it.
    pub fn unmap(self) {
        // SAFETY: a mapping of ours, which is not used any more.
        unsafe { libc::munmap(self.start.cast(), self.pages * PAGE) };
    }

    /// The value of every byte of a page.
    pub fn value(page: usize) -> u8 {
        1 + (page % 251) as u8
    }

    /// The first byte of a page.
    pub fn page(&self, page: usize) -> *mut u8 {
        assert!(page < self.pages);
        self.start.wrapping_add(page * PAGE)
    }

    /// The number of pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Whether a page still has the bytes with which it was filled.
    pub fn has_its_bytes(&self, page: usize) -> bool {
        // SAFETY: mapped by `map`, and written by nobody else.
        let bytes = unsafe { std::slice::from_raw_parts(self.page(page), PAGE) };
        bytes.iter().all(|byte| *byte == Self::value(page))
    }

    /// Gives the frame of a page back to the kernel.
    pub fn give_back(&self, page: usize) -> Result<()> {
        // SAFETY: a page of ours, to which nobody holds a reference.
        match unsafe { libc::madvise(self.page(page).cast(), PAGE, libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()).context("MADV_DONTNEED"),
        }
    }

    /// The frame number of a page; `None` where none is mapped, as after poison was found in it.
    pub fn frame(&self, page: usize) -> Result<Option<u64>> {
        let mut entry = [0; 8];
        let index = self.page(page) as usize / PAGE;
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, 8 * index as u64)?;
        let entry = u64::from_ne_bytes(entry);
        Ok((entry >> 63 == 1).then_some(entry & ((1 << 55) - 1)))
    }

    /// Poisons a page, as a machine check would.
    pub fn poison(&self, page: usize) -> Result<()> {
        // SAFETY: a page of ours.
        match unsafe { libc::madvise(self.page(page).cast(), PAGE, libc::MADV_HWPOISON) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()).context("MADV_HWPOISON"),
        }
    }

    /// Moves the folio that starts at a page. Returns its status from move_pages(2), or `None` where the call gives none.
    pub fn move_to(&self, page: usize, node: i32) -> Result<Option<i32>> {
        const UNTOUCHED: i32 = i32::MIN;
        let mut status = UNTOUCHED;
        let address = self.page(page);
        // SAFETY: arrays of one element each; MPOL_MF_MOVE.
        let result = unsafe {
            libc::syscall(libc::SYS_move_pages, 0, 1, &raw const address, &raw const node, &raw mut status, 2)
        };
        if result < 0 {
            bail!("move_pages: {}", io::Error::last_os_error());
        }
        Ok((status != UNTOUCHED).then_some(status))
    }

    /// The node that holds a page.
    pub fn node(&self, page: usize) -> Result<i32> {
        let mut status = -1;
        let address = self.page(page);
        // SAFETY: arrays of one element each. Without nodes the call only asks.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                1,
                &raw const address,
                ptr::null::<i32>(),
                &raw mut status,
                0,
            )
        };
        ensure!(result == 0, "move_pages: {}", io::Error::last_os_error());
        Ok(status)
    }
}
