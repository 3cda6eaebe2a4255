//! Copies of vm-memory's own back ends, on memory that really faults.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use foliocopy_vm_memory::{BytesMc, VolatileSliceMc};
use proptest::prelude::*;
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend,
    GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion, VolatileMemory, VolatileMemoryError, VolatileSlice,
};

const PAGES: usize = 8;
const FIRST: GuestAddress = GuestAddress(0x10_0000);

/// The bytes of a page of the system, the unit in which a file is cut and pages become dirty.
fn page() -> usize {
    // SAFETY: only asks.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("a system has pages")
}

type Guest = GuestMemoryMmap<AtomicBitmap>;

/// Two adjacent regions of a file with a pattern in them; and the file, so that a test can cut it.
fn guest() -> (Guest, Arc<File>) {
    // SAFETY: the name ends; the descriptor is new and ours.
    let file = unsafe {
        let descriptor = libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC);
        assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
        Arc::new(File::from_raw_fd(descriptor))
    };
    file.set_len((PAGES * page()) as u64).unwrap();
    let half = PAGES * page() / 2;
    let region = |index: usize| {
        let offset = FileOffset::from_arc(file.clone(), (index * half) as u64);
        (GuestAddress(FIRST.0 + (index * half) as u64), half, Some(offset))
    };
    let guest = Guest::from_ranges_with_files([region(0), region(1)]).unwrap();
    file.write_all_at(&pattern(), 0).unwrap();
    (guest, file)
}

fn pattern() -> Vec<u8> {
    (0..PAGES * page()).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// The pages that are dirty.
fn dirty(guest: &Guest) -> Vec<usize> {
    let at = |index: &usize| {
        let (region, address) =
            guest.to_region_addr(GuestAddress(FIRST.0 + (index * page()) as u64)).unwrap();
        region.bitmap().dirty_at(address.0 as usize)
    };
    (0..PAGES).filter(at).collect()
}

fn at(offset: usize) -> GuestAddress {
    GuestAddress(FIRST.0 + offset as u64)
}

/// A write that stops leaves everything behind it clean.
#[test]
fn a_file_that_is_cut_is_a_partial_buffer() {
    // In the first region, at its end, and in the second region.
    for cut in [2, 4, 6] {
        for before in [0, 1, 63, 64, 100, page() + 1] {
            let (guest, file) = guest();
            file.set_len((cut * page()) as u64).unwrap();
            let (start, mut buffer) = (cut * page() - before, vec![0xee; before + 200]);
            let partial = |answer| match answer {
                Err(GuestMemoryError::PartialBuffer { expected, completed }) => (expected, completed),
                other => panic!("{other:?}"),
            };
            let read = guest.read_mc(&mut buffer, at(start));
            assert_eq!(partial(read), (buffer.len(), before), "{cut}");
            assert_eq!(buffer[..before], pattern()[start..cut * page()]);
            assert_eq!(buffer[before..], [0xee; 200]);
            assert!(dirty(&guest).is_empty(), "a read makes nothing dirty");

            let source = vec![0x55; before + 200];
            assert_eq!(partial(guest.write_mc(&source, at(start))), (source.len(), before), "{cut}");
            let written: Vec<usize> = (start / page()..cut).collect();
            assert_eq!(dirty(&guest), if before == 0 { vec![] } else { written }, "{cut} {before}");
            file.set_len((PAGES * page()) as u64).unwrap();
            let mut found = vec![0; before + 200];
            guest.read_slice(&mut found, at(start)).unwrap();
            assert_eq!(found[..before], source[..before]);
            assert_eq!(found[before..], [0; 200], "what comes back of a cut file is zeros");
        }
    }
}

#[test]
fn a_snapshot_goes_on_behind_what_is_lost() {
    let (guest, file) = guest();
    file.set_len((5 * page()) as u64).unwrap();
    let (mut buffer, mut lost) = (vec![0xee; PAGES * page() - 9], Vec::new());
    let report = |skipped: &foliocopy::SkippedBytes| lost.push((skipped.offset, skipped.bytes));
    let nr_skipped = guest.read_mc_skipping(&mut buffer, at(9), report).unwrap();
    assert_eq!(nr_skipped, 3 * page());
    assert_eq!(lost, [5, 6, 7].map(|index| (index * page() - 9, page())));
    assert_eq!(buffer[..5 * page() - 9], pattern()[9..5 * page()]);
    assert!(buffer[5 * page() - 9..].iter().all(|byte| *byte == 0));
}

#[test]
fn what_lies_outside_is_what_it_is_to_vm_memory() {
    let (guest, _file) = guest();
    let mut buffer = [0xee; 16];
    for address in [GuestAddress(0), at(PAGES * page())] {
        assert!(matches!(
            guest.read_mc(&mut buffer, address),
            Err(GuestMemoryError::InvalidGuestAddress(invalid)) if invalid == address
        ));
    }
    let over_the_end = guest.read_mc(&mut buffer, at(PAGES * page() - 7));
    assert!(matches!(over_the_end, Err(GuestMemoryError::PartialBuffer { expected: 16, completed: 7 })));
    assert_eq!(buffer[..7], pattern()[PAGES * page() - 7..]);
    let slice = guest.get_slice(at(0), 10).unwrap();
    assert!(matches!(slice.read_mc(&mut buffer, 0), Err(VolatileMemoryError::OutOfBounds { .. })));
    assert!(matches!(slice.write_mc(&buffer, usize::MAX), Err(VolatileMemoryError::Overflow { .. })));
    assert!(dirty(&guest).is_empty());
    guest.read_mc(&mut [], at(0)).unwrap();
}

#[test]
fn slices_that_overlap_are_refused() {
    let (guest, _file) = guest();
    for (to, from) in [(0, 0), (1, 0), (0, 1), (99, 0), (0, 99)] {
        let (to, from) = (guest.get_slice(at(to), 100).unwrap(), guest.get_slice(at(from), 100).unwrap());
        let answer = from.copy_mc_to_volatile_slice(to);
        assert!(
            matches!(&answer, Err(VolatileMemoryError::IOError(error)) if error.to_string().contains("overlap"))
        );
    }
    assert!(dirty(&guest).is_empty());
    let mut found = vec![0; PAGES * page()];
    guest.read_slice(&mut found, FIRST).unwrap();
    assert_eq!(found, pattern());
}

#[test]
fn slices_are_copied_up_to_the_shorter_one_or_bad_memory() {
    let (guest, file) = guest();
    let (to, from) = (guest.get_slice(at(100), 300).unwrap(), guest.get_slice(at(page() + 3), 200).unwrap());
    assert_eq!(from.copy_mc_to_volatile_slice(to).unwrap(), 200);
    let mut found = [0; 300];
    guest.read_slice(&mut found, at(100)).unwrap();
    assert_eq!(found[..200], pattern()[page() + 3..][..200]);
    assert_eq!(found[200..], pattern()[300..400]);
    assert_eq!(dirty(&guest), [0]);

    file.set_len((6 * page()) as u64).unwrap();
    let (to, from) = (
        guest.get_slice(at(page()), 2 * page()).unwrap(),
        guest.get_slice(at(5 * page()), 2 * page()).unwrap(),
    );
    let partial = from.copy_mc_to_volatile_slice(to);
    assert!(
        matches!(partial, Err(VolatileMemoryError::PartialBuffer { expected, completed }) if (expected, completed) == (2 * page(), page()))
    );
    assert_eq!(dirty(&guest), [0, 1]);
}

#[test]
fn memory_that_is_replaced_while_it_is_used() {
    let (guest, _file) = guest();
    let atomic = GuestMemoryAtomic::new(guest);
    let mut buffer = [0; 100];
    atomic.memory().read_mc(&mut buffer, at(50)).unwrap();
    assert_eq!(buffer, pattern()[50..150]);
}

proptest! {
    /// Copies of good memory are equal to reads and writes, and make the same pages dirty.
    #[test]
    fn as_vm_memory_copies(offset in 0..PAGES * page(), length in 0..3 * page(), byte: u8) {
        let length = length.min(PAGES * page() - offset);
        let ((ours, _), (theirs, _)) = (guest(), guest());
        let (mut found, mut expected) = (vec![0; length], vec![0; length]);
        ours.read_mc(&mut found, at(offset)).unwrap();
        theirs.read_slice(&mut expected, at(offset)).unwrap();
        prop_assert_eq!(&found, &expected);
        let source = vec![byte; length];
        ours.write_mc(&source, at(offset)).unwrap();
        theirs.write_slice(&source, at(offset)).unwrap();
        prop_assert_eq!(dirty(&ours), dirty(&theirs));
        let (mut found, mut expected) = (vec![0; PAGES * page()], vec![0; PAGES * page()]);
        ours.read_mc(&mut found, FIRST).unwrap();
        theirs.read_slice(&mut expected, FIRST).unwrap();
        prop_assert_eq!(found, expected);
    }
}

/// A slice without a guest around it.
#[test]
fn a_slice_of_ones_own() {
    let mut memory = [7; 64];
    let slice = VolatileSlice::from(&mut memory[..]);
    slice.write_mc(&[1, 2, 3], 5).unwrap();
    let mut found = [0; 5];
    slice.read_mc(&mut found, 4).unwrap();
    assert_eq!(found, [7, 1, 2, 3, 7]);
    assert_eq!(slice.get_slice(5, 3).unwrap().read_mc_skipping(&mut found[..3], 0, |_| {}).unwrap(), 0);
}
