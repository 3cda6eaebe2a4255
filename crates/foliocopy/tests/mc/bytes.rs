//! Copies of any bytes, exact to the byte.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::process::Command;
use std::ptr;

use foliocopy::{
    ByteRange, ByteRangeMut, Cause, CopyError, CopyMcError, MemoryError, PAGE_SIZE, Side, SkippedBytes,
    copy_mc, copy_mc_bytes, copy_mc_skipping, read_mc, write_mc,
};

use crate::memory::{Bad, Region, system_page, unit, ways};

const UNTOUCHED: u8 = 0xee;
const SIDES: [Side; 2] = [Side::Source, Side::Destination];

/// Lengths at which another loop takes over, and lengths around pages.
const LENGTHS: [usize; 14] =
    [511, 512, 513, 4031, 4032, 4033, 4095, 4096, 4097, 4159, 4160, 8191, 8192, 8193];

/// Copies from a place in one region to a place in another.
fn copy(dst: &Region, to: usize, src: &Region, from: usize, bytes: usize) -> Result<(), CopyMcError> {
    // SAFETY: within the regions, of which some pages raise SIGBUS.
    unsafe { copy_mc(dst.start().cast::<u8>().add(to), src.start().cast::<u8>().add(from), bytes) }
}

fn memory_error(answer: Result<(), CopyMcError>) -> MemoryError {
    match answer {
        Err(CopyMcError::Memory(error)) => error,
        other => panic!("{other:?} where memory is bad"),
    }
}

/// Fills the bytes that a case may have written, from 64 bytes before it.
fn clear(dst: &Region, to: usize, end: usize) {
    let start = to.saturating_sub(64);
    // SAFETY: pages of ours, which nobody reads meanwhile.
    unsafe { ptr::write_bytes(dst.start().cast::<u8>().add(start), UNTOUCHED, end - start) };
}

/// Checks that `copied` of `bytes` bytes are the source's, and that nothing else was written up to `end`.
fn check(dst: &Region, to: usize, src: &Region, from: usize, copied: usize, end: usize, context: &str) {
    assert!(dst.bytes(to, to + copied) == src.bytes(from, from + copied), "wrong bytes: {context}");
    assert!(dst.is_filled(UNTOUCHED, to.saturating_sub(64), to), "written before: {context}");
    assert!(dst.is_filled(UNTOUCHED, to + copied, end), "written behind: {context}");
}

/// Runs the other tests once more, as on a CPU without 32-byte vectors.
#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "it has no choice of vectors")]
fn without_avx2() {
    let this = std::env::current_exe().unwrap();
    let tests = Command::new(this)
        .args(["bytes::", "--skip", "bytes::without_avx2"])
        .env("FOLIOCOPY_MASK", "avx2")
        .env("FOLIOCOPY_STRICT", "1")
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stdout));
}

#[test]
fn every_offset_and_every_short_length() {
    let (src, dst) = (Region::patterned(4), Region::new(4));
    let check_one = |to: usize, from: usize, bytes: usize| {
        let to = 64 + to;
        clear(&dst, to, to + bytes + 64);
        copy(&dst, to, &src, from, bytes).unwrap();
        let same = dst.bytes(to, to + bytes) == src.bytes(from, from + bytes);
        let around = [dst.bytes(to - 64, to), dst.bytes(to + bytes, to + bytes + 64)];
        let untouched = around.iter().all(|bytes| **bytes == [UNTOUCHED; 64]);
        assert!(same && untouched, "{bytes} bytes from {from} to {to}");
    };
    for to in 0..128 {
        for from in 0..128 {
            (0..=300).for_each(|bytes| check_one(to, from, bytes));
        }
        for from in [0, 1, 8, 63, 64, 127] {
            LENGTHS.iter().for_each(|bytes| check_one(to, from, *bytes));
            LENGTHS.iter().for_each(|bytes| check_one(from, to, *bytes));
        }
    }
}

/// Checks a copy with `before` bytes before the bad page, and `within` bytes in it and behind it.
fn check_edge(dst: &Region, src: &Region, side: Side, bad: Bad, before: usize, within: usize, other: usize) {
    let bad_page = 2 * system_page();
    let (start, bytes) = (bad_page - before, before + within);
    let (to, from) = if side == Side::Source { (other, start) } else { (start, other) };
    // If the destination is bad, only the bytes before the bad page can be filled.
    let end = if side == Side::Source { to + bytes + 64 } else { bad_page };
    clear(dst, to, end);
    let error = memory_error(copy(dst, to, src, from, bytes));
    let context =
        format!("{before} bytes before a bad page and {within} in it, other side at {other}: {error:?}");
    assert_eq!((error.bytes_copied, error.bytes_left), (before, within), "{context}");
    assert_eq!(error.side, side, "{context}");
    assert_eq!(error.page_index, (start % PAGE_SIZE + before) / PAGE_SIZE, "{context}");
    let spoilt = if side == Side::Source { src } else { dst };
    assert_eq!(error.address & !(PAGE_SIZE - 1), spoilt.address() + bad_page, "{context}");
    if bad == Bad::Cut {
        assert_eq!(error.cause, Cause::BeyondEnd, "{context}");
    }
    check(dst, to, src, from, before, end, &context);
}

/// A fault after each number of bytes, for ranges of several lengths behind it.
#[test]
fn every_byte_before_a_bad_page() {
    const WITHIN: [usize; 19] = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 300];
    for bad in ways() {
        for side in SIDES {
            let (mut src, mut dst) = (Region::patterned(4), Region::new(4));
            let spoilt = if side == Side::Source { &mut src } else { &mut dst };
            spoilt.spoil(2, *bad);
            let check_edge =
                |before, within, other| check_edge(&dst, &src, side, *bad, before, within, other);
            for before in 0..=300 {
                for within in WITHIN {
                    [64, 65, 72, 127].into_iter().for_each(|other| check_edge(before, within, other));
                }
                (64..192).for_each(|other| check_edge(before, 300, other));
            }
            for before in LENGTHS.into_iter().filter(|before| *before <= 2 * PAGE_SIZE) {
                for within in
                    WITHIN.into_iter().chain([PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE])
                {
                    // The other side needs as much space.
                    if before + within + 64 < 4 * PAGE_SIZE
                        && (side == Side::Source || before + within < 2 * PAGE_SIZE)
                    {
                        check_edge(before, within, 64);
                    }
                }
            }
            assert!(src.canaries_live() && dst.canaries_live());
        }
    }
}

/// A range that starts in a bad page, and ends in a good one.
#[test]
fn a_range_that_starts_in_a_bad_page() {
    for bad in ways() {
        for side in SIDES {
            let (mut src, mut dst) = (Region::patterned(4), Region::new(4));
            dst.fill(UNTOUCHED);
            let spoilt = if side == Side::Source { &mut src } else { &mut dst };
            spoilt.spoil(1, *bad);
            for before_end in 1..=300 {
                let start = 2 * system_page() - before_end;
                let (to, from) = if side == Side::Source { (64, start) } else { (start, 64) };
                for bytes in [1, 2, 4, 8, 15, 16, 64, 65, 128, 129, 257, 300, 5000] {
                    let error = memory_error(copy(&dst, to, &src, from, bytes));
                    let found = (error.bytes_copied, error.bytes_left, error.page_index, error.side);
                    assert_eq!(found, (0, bytes, 0, side), "{before_end} {bytes}");
                }
            }
            let good = if side == Side::Source { 0 } else { 2 * system_page() };
            assert!(dst.is_filled(UNTOUCHED, good, 4 * system_page()), "{side}");
        }
    }
}

/// Both sides fail in one block: the lower offset counts. Where they are equal, the source counts.
#[test]
fn both_sides_are_bad() {
    let (mut src, mut dst) = (Region::patterned(4), Region::new(4));
    src.spoil(2, Bad::Cut);
    dst.spoil(2, Bad::Cut);
    for before_src in 0..150 {
        for before_dst in 0..150 {
            let bad = 2 * system_page();
            let (from, to) = (bad - before_src, bad - before_dst);
            clear(&dst, to, bad);
            let error = memory_error(copy(&dst, to, &src, from, 400));
            let side = if before_src <= before_dst { Side::Source } else { Side::Destination };
            let copied = before_src.min(before_dst);
            assert_eq!((error.bytes_copied, error.side), (copied, side), "{before_src} {before_dst}");
            assert!(
                dst.bytes(to, to + copied) == src.bytes(from, from + copied),
                "{before_src} {before_dst}"
            );
        }
    }
}

#[test]
fn bad_input_is_refused_and_nothing_is_copied() {
    let mut memory = [UNTOUCHED; 64];
    let start = memory.as_mut_ptr();
    let at = |address: usize| ptr::without_provenance_mut::<u8>(address);
    let high = 1_usize << 47;
    let overflow = |bytes| CopyError::ByteOverflow { bytes };
    let not_canonical = |address| CopyError::NotCanonical { address };
    // SAFETY: each copy is refused, or empty.
    unsafe {
        let refused =
            |dst, src, bytes, error| assert_eq!(copy_mc(dst, src, bytes), Err(CopyMcError::Refused(error)));
        refused(ptr::null_mut(), start, 1, CopyError::Null);
        refused(start, ptr::null(), 1, CopyError::Null);
        for (to, from, bytes) in [(0, 0, 1), (1, 0, 2), (0, 1, 2), (0, 31, 32), (31, 0, 32)] {
            refused(start.add(to), start.add(from), bytes, CopyError::Overlap);
        }
        refused(start, at(usize::MAX - 7), 9, overflow(9));
        refused(at(usize::MAX - 7), start, 9, overflow(9));
        refused(start, start.wrapping_add(128), usize::MAX, overflow(usize::MAX));
        // Aarch64 ignores the top byte of an address.
        let not_canonical_here = [high << 9, 1 << 63, usize::MAX - 63];
        for address in not_canonical_here.into_iter().filter(|_| cfg!(target_arch = "x86_64")) {
            for bytes in [1, 2, 4, 8, 64] {
                refused(start, at(address), bytes, not_canonical(address));
                refused(at(address), start, bytes, not_canonical(address));
            }
        }
        assert_eq!(copy_mc(ptr::null_mut(), at(usize::MAX), 0), Ok(()));

        assert_eq!(ByteRange::new(ptr::null(), 1), Err(CopyError::Null));
        if cfg!(target_arch = "x86_64") {
            assert_eq!(ByteRangeMut::new(at(1 << 63), 1), Err(not_canonical(1 << 63)));
        }
        let misaligned = CopyError::Misaligned { address: start.addr() | 1, alignment: 4 };
        assert_eq!(read_mc::<u32>(at(start.addr() | 1).cast()), Err(misaligned.into()));
        assert_eq!(write_mc::<i32>(at(start.addr() | 1).cast(), 1), Err(misaligned.into()));
    }
    let (dst, src) = memory.split_at_mut(32);
    let mismatch = CopyError::ByteLengthMismatch { dst: 32, src: 31 };
    assert_eq!(copy_mc_bytes(dst.into(), (&src[..31]).into()), Err(mismatch.into()));
    assert_eq!(copy_mc_skipping(dst.into(), (&src[..31]).into(), |_| {}), Err(mismatch.into()));
    assert_eq!(memory, [UNTOUCHED; 64]);
}

/// 1, 2, 4 and 8 aligned bytes are one load and one store, as the CPU's own breakpoints count them.
#[test]
fn aligned_integers_are_one_access() {
    let (src, mut dst) = ([0x5a_u64; 2], [0_u64; 2]);
    let [from, to] = [src.as_ptr().cast::<u8>(), dst.as_mut_ptr().cast::<u8>().cast_const()];
    let counters = Accesses::to(from).and_then(|source| Ok([source, Accesses::to(to)?]));
    let [source, destination] = match counters {
        Ok(counters) => counters,
        Err(error) => return eprintln!("not tested on this kernel: breakpoints that count, {error}"),
    };
    // SAFETY: the first byte of the array.
    unsafe { from.read_volatile() };
    if source.count() != 1 {
        return eprintln!("not tested on this machine: breakpoints that count, they miss an access");
    }
    let check = |what: &str, loads: u64, stores: u64, copy: &dyn Fn()| {
        let before = (source.count(), destination.count());
        copy();
        assert_eq!((source.count() - before.0, destination.count() - before.1), (loads, stores), "{what}");
    };
    for bytes in [1, 2, 4, 8] {
        for offset in (0..8).step_by(bytes) {
            // SAFETY: aligned places within the two arrays.
            let copy = || unsafe { copy_mc(to.cast_mut().add(offset), from.add(offset), bytes) }.unwrap();
            check(&format!("{bytes} bytes at {offset}"), 1, 1, &copy);
        }
    }
    macro_rules! check {
        ($($integer:ty),*) => { $(
            // SAFETY: the first integer of each array.
            let read = || unsafe { _ = read_mc::<$integer>(from.cast()).unwrap() };
            check(concat!("read_mc ", stringify!($integer)), 1, 0, &read);
            // SAFETY: the first integer of each array.
            let write = || unsafe { write_mc::<$integer>(to.cast_mut().cast(), 7) }.unwrap();
            check(concat!("write_mc ", stringify!($integer)), 0, 1, &write);
        )* };
    }
    check!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize);
}

/// Counts accesses of this thread to 8 bytes.
struct Accesses(File);

impl Accesses {
    fn to(address: *const u8) -> io::Result<Self> {
        // The prefix of `struct perf_event_attr` (`include/uapi/linux/perf_event.h`) that the first kernel with breakpoints knew.
        const BREAKPOINT: u64 = 5;
        const READ_OR_WRITE: u64 = 3;
        const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 0b11 << 5;
        let mut attributes = [0_u64; 9];
        attributes[0] = BREAKPOINT | (size_of_val(&attributes) as u64) << 32;
        attributes[5] = EXCLUDE_KERNEL_AND_HYPERVISOR;
        attributes[6] = READ_OR_WRITE << 32;
        attributes[7] = address.expose_provenance() as u64;
        attributes[8] = 8;
        // SAFETY: the kernel reads the attributes, and makes a descriptor that is ours.
        unsafe {
            match libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(Self(File::from_raw_fd(descriptor as i32))),
            }
        }
    }

    fn count(&self) -> u64 {
        let mut count = [0; 8];
        (&self.0).read_exact(&mut count).expect("a counter can be read");
        u64::from_ne_bytes(count)
    }
}

#[test]
fn integers_are_read_and_written_up_to_a_bad_page() {
    let (mut src, mut dst) = (Region::patterned(2), Region::new(2));
    src.spoil(1, Bad::Cut);
    dst.spoil(1, Bad::Cut);
    macro_rules! check {
        ($($integer:ty),*) => { $(
            let size = size_of::<$integer>();
            let last = (system_page() / size) - 1;
            let (from, to) = (src.start().cast::<$integer>(), dst.start().cast::<$integer>());
            // SAFETY: aligned, and within the regions, of which the second page raises SIGBUS.
            unsafe {
                let value = read_mc(from.add(last)).unwrap();
                assert_eq!(value.to_ne_bytes(), src.bytes(system_page() - size, system_page()));
                write_mc(to.add(last), value).unwrap();
                assert_eq!(dst.bytes(system_page() - size, system_page()), value.to_ne_bytes());
                let error = memory_error(read_mc(from.add(last + 1)).map(|_| ()));
                assert_eq!((error.bytes_copied, error.bytes_left, error.side), (0, size, Side::Source));
                let error = memory_error(write_mc(to.add(last + 1), value));
                assert_eq!((error.bytes_copied, error.bytes_left, error.side), (0, size, Side::Destination));
            }
        )* };
    }
    check!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize);
}

fn ranges<'a>(
    dst: &'a Region,
    to: usize,
    src: &'a Region,
    from: usize,
    bytes: usize,
) -> (ByteRangeMut<'a>, ByteRange<'a>) {
    // SAFETY: within the regions, of which some pages raise SIGBUS, and to which no reference is kept.
    unsafe {
        (
            ByteRangeMut::new(dst.start().cast::<u8>().add(to), bytes).unwrap(),
            ByteRange::new(src.start().cast::<u8>().add(from), bytes).unwrap(),
        )
    }
}

/// Bad pages of the source are zeroed and reported, as far as they lie in the range. Everything else is copied.
#[test]
fn skipping_zeroes_what_is_lost_and_copies_the_rest() {
    const LOST: [usize; 4] = [0, 3, 4, 7];
    let page_bytes = system_page();
    let all = 8 * page_bytes;
    for bad in ways() {
        let (mut src, dst) = (Region::patterned(8), Region::new(9));
        LOST.iter().for_each(|index| src.spoil(*index, *bad));
        for (from, to, bytes) in [
            (0, 0, all),
            (0, 7, all),
            (1, 64, all - 2),
            (page_bytes - 1, 0, 2),
            (page_bytes + 1, 3, 3 * page_bytes),
            (all - 1, 9, 1),
            (page_bytes, 1, 2 * page_bytes),
        ] {
            dst.fill(UNTOUCHED);
            let (mut expected, mut lost) = (vec![0; bytes], Vec::<(usize, usize)>::new());
            for page in from / page_bytes..=(from + bytes - 1) / page_bytes {
                let (start, end) =
                    ((page * page_bytes).max(from), ((page + 1) * page_bytes).min(from + bytes));
                if LOST.contains(&page) {
                    lost.push((start - from, end - start));
                } else {
                    expected[start - from..end - from].copy_from_slice(src.bytes(start, end));
                }
            }
            let mut reported = Vec::new();
            let (dst_range, src_range) = ranges(&dst, to, &src, from, bytes);
            let skipped = copy_mc_skipping(dst_range, src_range, |skipped: &SkippedBytes| {
                assert_eq!((skipped.error.side, skipped.error.bytes_copied), (Side::Source, skipped.offset));
                assert_eq!(skipped.error.bytes_left, bytes - skipped.offset);
                reported.push((skipped.offset, skipped.bytes));
            });
            assert_eq!(reported, lost, "{from} {to} {bytes}");
            assert_eq!(skipped, Ok(lost.iter().map(|lost| lost.1).sum()), "{from} {to} {bytes}");
            assert!(dst.bytes(to, to + bytes) == expected, "{from} {to} {bytes}");
            assert!(dst.is_filled(UNTOUCHED, 0, to) && dst.is_filled(UNTOUCHED, to + bytes, 9 * page_bytes));
        }
    }
}

#[test]
fn skipping_stops_at_a_bad_destination() {
    for lost_in_source in [None, Some(2)] {
        let (mut src, mut dst) = (Region::patterned(4), Region::new(4));
        dst.spoil(2, Bad::Cut);
        lost_in_source.into_iter().for_each(|index| src.spoil(index, Bad::Cut));
        let mut reports = 0;
        let (to, from) = ranges(&dst, 3, &src, 3, 4 * system_page() - 3);
        let answer = copy_mc_skipping(to, from, |_| reports += 1);
        let Err(CopyMcError::Memory(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.side, error.page_index, reports), (Side::Destination, 2 * unit(), 0));
        assert_eq!((error.bytes_copied, error.bytes_left), (2 * system_page() - 3, 2 * system_page()));
        assert!(dst.bytes(3, 2 * system_page()) == src.bytes(3, 2 * system_page()));
    }
}

#[test]
fn eight_threads_fault_at_once() {
    const THREADS: usize = 8;
    const FAULTS: usize = 10_000;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let (mut src, dst) = (Region::patterned(3), Region::new(3));
                src.spoil(1, ways()[thread % ways().len()]);
                for round in 0..FAULTS / THREADS {
                    let (before, to) = (round % 400, 64 + round % 61);
                    let error =
                        memory_error(copy(&dst, to, &src, system_page() - before, before + 1 + round % 200));
                    assert_eq!(error.bytes_copied, before);
                    assert!(dst.bytes(to, to + before) == src.bytes(system_page() - before, system_page()));
                    copy(&dst, to, &src, round % 128, 200).unwrap();
                    assert!(dst.bytes(to, to + 200) == src.bytes(round % 128, round % 128 + 200));
                }
            });
        }
    });
}
