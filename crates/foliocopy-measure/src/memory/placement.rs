//! Memory on NUMA nodes: mbind(2) and move_pages(2), which libc declares no functions for.

use std::io;
use std::ptr::{self, NonNull};

use super::base_page;

/// linux/mempolicy.h.
const MPOL_BIND: libc::c_ulong = 2;

/// Binds a range to `node` before it is touched.
pub(crate) fn bind(start: NonNull<u8>, bytes: usize, node: u32) -> io::Result<()> {
    const BITS: u32 = libc::c_ulong::BITS;
    let mut mask = vec![0 as libc::c_ulong; (node / BITS + 1) as usize];
    mask[(node / BITS) as usize] |= 1 << (node % BITS);
    // The kernel reads one bit less than it is told (get_nodes(), mm/mempolicy.c).
    let bits = mask.len() * BITS as usize + 1;
    // SAFETY: changes where future pages of the range come from, nothing else; `mask` has `bits - 1` bits.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start.as_ptr(),
            bytes,
            MPOL_BIND,
            mask.as_ptr(),
            bits,
            0 as libc::c_uint,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The node of every base page of a range, negative errnos for pages that are not there. `None` where the system
/// call isn't allowed.
pub(crate) fn nodes_of_pages(start: NonNull<u8>, bytes: usize) -> Option<Vec<i32>> {
    let pages: Vec<*const u8> = (0..bytes)
        .step_by(base_page())
        .map(|offset| start.as_ptr().wrapping_add(offset).cast_const())
        .collect();
    let mut status = vec![0i32; pages.len()];
    // SAFETY: without target nodes move_pages(2) only asks; both arrays have `pages.len()` elements.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0,
            pages.len(),
            pages.as_ptr(),
            ptr::null::<i32>(),
            status.as_mut_ptr(),
            0,
        )
    };
    (result == 0).then_some(status)
}
