//! The folios behind a range of addresses, by /proc/self/pagemap and /proc/kpageflags
//! (Documentation/admin-guide/mm/pagemap.rst).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::memory::base_page;

/// In pagemap: the page is in memory, and bits 0 to 54 are its frame number (0 without CAP_SYS_ADMIN).
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// In kpageflags (include/uapi/linux/kernel-page-flags.h): the first page, and another, of a compound page.
const KPF_COMPOUND_HEAD: u64 = 1 << 15;
const KPF_COMPOUND_TAIL: u64 = 1 << 16;

/// The folios in which memory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Counted.
    Known {
        /// Offset and bytes of each folio, as far as it lies in the memory.
        folios: Vec<(usize, usize)>,
        /// Bytes in folios of the size that was asked for.
        bytes_of_size: u64,
        /// Bytes of all.
        bytes: u64,
    },
    /// Only root may look.
    Unknown,
}

impl Layout {
    /// Looks at `bytes` bytes from `start`, of which folios of `folio_bytes` are wanted.
    pub(super) fn of(start: usize, bytes: usize, folio_bytes: usize) -> Self {
        let folios = match folios(start, bytes) {
            Ok(Some(folios)) => folios,
            Ok(None) | Err(_) => return Self::Unknown,
        };
        let of_size = folios.iter().filter(|(_, size)| *size == folio_bytes).count() * folio_bytes;
        Self::Known { bytes_of_size: of_size as u64, bytes: bytes as u64, folios }
    }

    /// Bytes in folios of the size that was asked for. `None` where nobody may look.
    pub fn bytes_of_size(&self) -> Option<u64> {
        match self {
            Self::Known { bytes_of_size, .. } => Some(*bytes_of_size),
            Self::Unknown => None,
        }
    }

    /// The part of the memory that lies in folios of the size that was asked for.
    pub fn part_of_size(&self) -> Option<f64> {
        match self {
            Self::Known { bytes_of_size, bytes, .. } => Some(*bytes_of_size as f64 / *bytes as f64),
            Self::Unknown => None,
        }
    }

    /// Offset and bytes of each folio; of each that should be there, where nobody may look.
    pub(super) fn heads(self, bytes: usize, folio_bytes: usize) -> Vec<(usize, usize)> {
        match self {
            Self::Known { folios, .. } => folios,
            Self::Unknown => (0..bytes).step_by(folio_bytes).map(|offset| (offset, folio_bytes)).collect(),
        }
    }
}

/// Offset and bytes of each folio. `None` where frame numbers are hidden.
fn folios(start: usize, bytes: usize) -> io::Result<Option<Vec<(usize, usize)>>> {
    let entries = words(&File::open("/proc/self/pagemap")?, start / base_page(), bytes / base_page())?;
    let present = entries.iter().find(|entry| **entry & PRESENT != 0);
    if present.is_none_or(|entry| entry & FRAME == 0) {
        return Ok(None);
    }
    let kpageflags = File::open("/proc/kpageflags")?;
    let mut flags = Vec::with_capacity(entries.len());
    let frames: Vec<u64> = entries.iter().map(|entry| entry & FRAME).collect();
    // One read for frames that follow each other, which are many.
    for run in frames.chunk_by(|frame, next| *next == frame + 1) {
        flags.extend(words(&kpageflags, run[0] as usize, run.len())?);
    }
    Ok(Some(group(&frames, &flags)))
}

/// Puts pages together: a tail belongs to the folio before it where its frame follows.
fn group(frames: &[u64], flags: &[u64]) -> Vec<(usize, usize)> {
    let page = base_page();
    let mut folios: Vec<(usize, usize)> = Vec::new();
    for (index, flags) in flags.iter().enumerate() {
        let follows = index > 0 && frames[index] == frames[index - 1] + 1;
        match folios.last_mut() {
            Some((_, bytes)) if flags & KPF_COMPOUND_TAIL != 0 && follows => *bytes += page,
            _ => folios.push((index * page, page)),
        }
        debug_assert!(
            flags & (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL) != KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL
        );
    }
    folios
}

/// `count` 64-bit words of a file that is an array of them.
fn words(file: &File, first: usize, count: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; 8 * count];
    file.read_exact_at(&mut bytes, 8 * first as u64)?;
    Ok(bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: u64 = KPF_COMPOUND_HEAD;
    const TAIL: u64 = KPF_COMPOUND_TAIL;

    #[test]
    fn tails_belong_to_the_folio_that_they_follow() {
        let page = base_page();
        let frames = [16, 17, 18, 19, 40, 41, 8];
        let flags = [HEAD, TAIL, TAIL, TAIL, HEAD, TAIL, 0];
        assert_eq!(group(&frames, &flags), [(0, 4 * page), (4 * page, 2 * page), (6 * page, page)]);
    }

    #[test]
    fn a_folio_that_is_mapped_in_part_starts_where_the_memory_does() {
        let page = base_page();
        assert_eq!(group(&[17, 18, 30], &[TAIL, TAIL, TAIL]), [(0, 2 * page), (2 * page, page)]);
    }

    #[test]
    fn unknown_folios_are_where_they_should_be() {
        assert_eq!(
            Layout::Unknown.heads(3 << 16, 1 << 16),
            [(0, 1 << 16), (1 << 16, 1 << 16), (2 << 16, 1 << 16)]
        );
        assert_eq!(Layout::Unknown.part_of_size(), None);
    }

    #[test]
    fn base_pages_are_counted_as_such_where_one_may_look() {
        let memory =
            crate::memory::Mapping::new(crate::memory::MemoryKind::Anon, 2 << 20, base_page(), None).unwrap();
        match Layout::of(memory.as_ptr() as usize, 2 << 20, base_page()) {
            Layout::Known { bytes_of_size, folios, .. } => {
                assert_eq!((bytes_of_size, folios.len()), (2 << 20, (2 << 20) / base_page()));
            }
            // SAFETY: asks for a number.
            Layout::Unknown => assert_ne!(unsafe { libc::geteuid() }, 0, "root may look"),
        }
    }
}
