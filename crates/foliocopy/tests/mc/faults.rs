//! Copies from and to memory that really faults, exact to the byte.

use crate::memory::{Bad, Region, pattern, safe_primitives, system_page, unit, ways};
use foliocopy::{
    Cause, CopyMcError, CopyOptions, Locality, MemoryError, PAGE_SIZE, Page, Primitive, Side, Skipped,
    copy_mc_pages, copy_mc_pages_skipping, sigbus,
};

const LINE: usize = 64;
const UNTOUCHED: u8 = 0xee;
const SIDES: [Side; 2] = [Side::Source, Side::Destination];

fn copy(primitive: Primitive, dst: &Region, src: &Region) -> Result<(), CopyMcError> {
    CopyOptions::new().primitive(primitive).copy_mc_pages(dst.destination(), src.source())
}

fn memory_error(answer: Result<(), CopyMcError>) -> MemoryError {
    match answer {
        Err(CopyMcError::Memory(error)) => error,
        other => panic!("{other:?} where memory is bad"),
    }
}

/// Makes a page of one side bad, copies with every primitive, and checks all promises.
fn check_bad_page(dst: &mut Region, src: &mut Region, nr_pages: usize, index: usize, bad: Bad, side: Side) {
    let spoilt = if side == Side::Source { &mut *src } else { &mut *dst };
    spoilt.spoil(index, bad);
    let address = spoilt.address() + index * system_page();
    let page = system_page();
    let (bytes, bad_start, bad_end) = (nr_pages * page, index * page, (index + 1) * page);
    for primitive in safe_primitives() {
        let error = memory_error(copy(primitive, dst, src));
        let context = format!("{primitive}, {bad:?} page {index} of the {side}: {error:?}");
        assert_eq!(error.bytes_copied, bad_start, "{context}");
        assert_eq!(error.bytes_left, bytes - bad_start, "{context}");
        assert_eq!(error.page_index, index * unit(), "{context}");
        assert_eq!(error.address & !(PAGE_SIZE - 1), address, "{context}");
        assert_eq!(error.side, side, "{context}");
        match bad {
            Bad::Cut => assert_eq!(error.cause, Cause::BeyondEnd, "{context}"),
            Bad::Poisoned => {
                assert!(matches!(error.cause, Cause::BeyondEnd | Cause::HardwareMemoryError), "{context}");
            }
        }
        assert!(dst.bytes(0, bad_start) == src.bytes(0, bad_start), "{context}: wrong bytes before it");
        let after = if side == Side::Source { bad_start } else { bad_end };
        assert!(dst.is_filled(UNTOUCHED, after, bytes), "{context}: written after it");
        assert!(dst.canaries_live() && src.canaries_live(), "{context}: written outside");
        clear(dst, 0, bad_start);
    }
    match side {
        Side::Source => src.mend(index, pattern),
        Side::Destination => dst.mend(index, untouched),
    }
}

fn clear(dst: &Region, start: usize, end: usize) {
    (start / system_page()..end / system_page()).for_each(|index| dst.write(index, untouched));
}

fn untouched(_: usize) -> Page {
    Page::filled(UNTOUCHED)
}

#[test]
fn every_page_of_a_huge_page() {
    const BYTES: usize = 2 << 20;
    let nr_pages = BYTES / system_page();
    for bad in ways() {
        for side in SIDES {
            let (mut src, mut dst) = (Region::patterned(nr_pages), Region::new(nr_pages));
            dst.fill(UNTOUCHED);
            for index in 0..nr_pages {
                check_bad_page(&mut dst, &mut src, nr_pages, index, *bad, side);
            }
            for primitive in safe_primitives() {
                copy(primitive, &dst, &src).expect("all pages are good again");
                assert!(dst.bytes(0, BYTES) == src.bytes(0, BYTES));
                dst.fill(UNTOUCHED);
            }
        }
    }
}

/// The policy's own steps, with a first page or a glance that faults: the copy still finds the error. Each length takes another
/// step, with the memory in the cache and out of it.
#[test]
fn every_page_of_a_range_as_the_policy_copies_it() {
    for nr_pages in [1, 2, 4, 16, 63, 512].map(|nr_pages: usize| nr_pages.div_ceil(unit())) {
        let (mut src, dst) = (Region::patterned(nr_pages), Region::new(nr_pages));
        for bad in ways() {
            for index in 0..nr_pages {
                src.spoil(index, *bad);
                for (locality, flush) in Locality::ALL.iter().flat_map(|one| [(*one, false), (*one, true)]) {
                    dst.fill(0);
                    if flush {
                        src.flush(0, index * system_page());
                        dst.flush(0, nr_pages * system_page());
                    }
                    let options = CopyOptions::new().locality(locality);
                    let answer = options.copy_mc_pages(dst.destination(), src.source());
                    let error = memory_error(answer);
                    let found = (error.bytes_copied, error.page_index, error.side);
                    let good = index * system_page();
                    assert_eq!(
                        found,
                        (good, index * unit(), Side::Source),
                        "{nr_pages} {locality} {flush}: {error:?}"
                    );
                    assert!(dst.bytes(0, good) == src.bytes(0, good), "{nr_pages} {locality} {flush}");
                    assert!(
                        dst.is_filled(0, good, nr_pages * system_page()),
                        "{nr_pages} {locality} {flush}"
                    );
                }
                src.mend(index, pattern);
            }
        }
    }
}

/// A fault after each number of lines, from none to more than a page of them.
#[test]
fn every_line_of_a_page() {
    sigbus::install().unwrap();
    for bad in ways() {
        for side in SIDES {
            let (mut src, mut dst) = (Region::patterned(4), Region::new(4));
            let spoilt = if side == Side::Source { &mut src } else { &mut dst };
            spoilt.spoil(2, *bad);
            for primitive in safe_primitives() {
                for lines_before in 0..=2 * system_page() / LINE {
                    check_line(primitive, &dst, &src, side, lines_before * LINE);
                }
            }
        }
    }
}

/// Copies so that the bad page 2 begins `before` bytes after the start of the range, and ends after it.
fn check_line(primitive: Primitive, dst: &Region, src: &Region, side: Side, before: usize) {
    let page = system_page();
    let bad = 2 * page;
    // The other side starts at another place in its page.
    let (start, other) = (bad - before, LINE);
    let (from, to) = if side == Side::Source { (start, other) } else { (other, start) };
    let bytes = before + page / 2;
    let good_pages = (0..4).filter(|index| side == Side::Source || *index != 2);
    good_pages.for_each(|index| dst.write(index, untouched));
    // SAFETY: within the two regions, multiples of 64, and the handler is installed.
    let fault = unsafe {
        let (dst, src) = (dst.start().byte_add(to).cast(), src.start().byte_add(from).cast());
        primitive.copy_mc(dst, src, bytes).expect_err("memory is bad")
    };
    let context = format!("{primitive}, {before} bytes before the {side}'s bad page: {fault:?}");
    assert_eq!(fault.bytes_left, bytes - before, "{context}");
    let signal = fault.signal.expect("a signal told of it");
    let spoilt = if side == Side::Source { src } else { dst };
    assert_eq!(signal.address & !(PAGE_SIZE - 1), spoilt.address() + bad, "{context}");
    assert!(dst.bytes(to, to + before) == src.bytes(from, from + before), "{context}: wrong bytes");
    assert!(dst.is_filled(UNTOUCHED, 0, to), "{context}: written before");
    let after = if side == Side::Source { to + before } else { 3 * page };
    assert!(dst.is_filled(UNTOUCHED, after, 4 * page), "{context}: written after");
    assert!(dst.canaries_live() && src.canaries_live(), "{context}: written outside");
}

/// Aarch64 ignores the top byte of an address, and the kernel leaves it out of `si_addr`.
#[cfg(target_arch = "aarch64")]
#[test]
fn addresses_with_a_tag() {
    for (tag, side) in [0x0f, 0xa5_usize].into_iter().flat_map(|tag| SIDES.map(|side| (tag, side))) {
        let tagged = |start: *mut Page| start.map_addr(|address| address | tag << 56);
        let (mut src, mut dst) = (Region::patterned(4), Region::new(4));
        let spoilt = if side == Side::Source { &mut src } else { &mut dst };
        spoilt.spoil(2, Bad::Cut);
        for primitive in safe_primitives() {
            let options = CopyOptions::new().primitive(primitive);
            // SAFETY: within the two regions, whichever their tag.
            let answer =
                unsafe { options.copy_mc_pages_raw(tagged(dst.start()), tagged(src.start()), 4 * unit()) };
            let error = memory_error(answer);
            assert_eq!((error.page_index, error.side), (2 * unit(), side), "{primitive} {tag:#x}");
        }
    }
}

/// A fault in a later chunk counts from the start of the range.
#[test]
fn a_fault_behind_a_yield() {
    for primitive in safe_primitives() {
        let (mut src, dst) = (Region::patterned(16), Region::new(16));
        src.spoil(11, Bad::Cut);
        let mut yields = 0;
        let options = CopyOptions::new().primitive(primitive).chunk_bytes(4 * system_page());
        let answer = options.yield_with(|| yields += 1).copy_mc_pages(dst.destination(), src.source());
        let error = memory_error(answer);
        assert_eq!((error.page_index, error.bytes_copied), (11 * unit(), 11 * system_page()));
        assert_eq!(error.bytes_left, 5 * system_page());
        assert_eq!(yields, 2, "the fault is in the third chunk");
        assert!(dst.bytes(0, 11 * system_page()) == src.bytes(0, 11 * system_page()));
    }
}

#[test]
fn a_whole_range_that_is_lost() {
    for bad in ways() {
        let (mut src, dst) = (Region::new(3), Region::new(3));
        (0..3).for_each(|index| src.spoil(index, *bad));
        let error = memory_error(copy_mc_pages(dst.destination(), src.source()));
        assert_eq!((error.bytes_copied, error.bytes_left), (0, 3 * system_page()));
    }
}

#[test]
fn skipping_zeroes_what_is_lost_and_copies_the_rest() {
    const LOST: [usize; 6] = [0, 3, 4, 9, 14, 15];
    for bad in ways() {
        for primitive in safe_primitives() {
            let (mut src, dst) = (Region::patterned(16), Region::new(16));
            dst.fill(UNTOUCHED);
            LOST.iter().for_each(|index| src.spoil(*index, *bad));
            let mut reported = Vec::new();
            let options = CopyOptions::new().primitive(primitive);
            let report = |skipped: &Skipped| reported.push(*skipped);
            let skipped = options.copy_mc_pages_skipping(dst.destination(), src.source(), report);
            assert_eq!(skipped, Ok(LOST.len() * unit()), "{primitive}");
            assert_eq!(
                reported.iter().map(|skipped| skipped.page_index).collect::<Vec<_>>(),
                LOST.map(|index| index * unit())
            );
            for skipped in &reported {
                assert_eq!(skipped.nr_pages, unit());
                assert_eq!(skipped.error.page_index, skipped.page_index);
                assert_eq!(skipped.error.bytes_copied, skipped.page_index * PAGE_SIZE);
                assert_eq!(skipped.error.bytes_left, 16 * system_page() - skipped.page_index * PAGE_SIZE);
                assert_eq!(skipped.error.side, Side::Source);
            }
            for index in 0..16 * unit() {
                let expected = if LOST.contains(&(index / unit())) { Page::zeroed() } else { pattern(index) };
                let (start, end) = (index * PAGE_SIZE, (index + 1) * PAGE_SIZE);
                assert!(dst.bytes(start, end) == expected.as_bytes(), "{primitive}: page {index}");
            }
            assert!(dst.canaries_live());
        }
    }
}

/// A destination that can't be written ends the copy, even where it would only have been zeroed.
#[test]
fn skipping_stops_at_a_bad_destination() {
    for lost_in_source in [None, Some(5)] {
        let (mut src, mut dst) = (Region::patterned(8), Region::new(8));
        dst.spoil(5, Bad::Cut);
        lost_in_source.into_iter().for_each(|index| src.spoil(index, Bad::Cut));
        let mut reports = 0;
        let answer = copy_mc_pages_skipping(dst.destination(), src.source(), |_| reports += 1);
        let Err(CopyMcError::Memory(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.side, error.page_index), (Side::Destination, 5 * unit()));
        assert_eq!((error.bytes_copied, error.bytes_left), (5 * system_page(), 3 * system_page()));
        assert_eq!(reports, 0);
        assert!(dst.bytes(0, 5 * system_page()) == src.bytes(0, 5 * system_page()));
    }
}

/// 10,000 faults on 8 threads at once. Each returns an error, and each thread's next copy is right.
#[test]
fn eight_threads_fault_at_once() {
    const THREADS: usize = 8;
    const FAULTS: usize = 10_000;
    let primitives = safe_primitives();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let primitives = &primitives;
            scope.spawn(move || {
                let (mut src, dst) = (Region::patterned(8), Region::new(8));
                let bad = 1 + thread % 7;
                src.spoil(bad, ways()[thread % ways().len()]);
                for round in 0..FAULTS / THREADS {
                    let primitive = primitives[(thread + round) % primitives.len()];
                    let error = memory_error(copy(primitive, &dst, &src));
                    assert_eq!((error.page_index, error.bytes_copied), (bad * unit(), bad * system_page()));
                    let good = CopyOptions::new().primitive(primitive);
                    // SAFETY: the pages before the bad one.
                    unsafe { good.copy_mc_pages_raw(dst.start(), src.start(), bad * unit()) }.unwrap();
                    assert!(dst.bytes(0, bad * system_page()) == src.bytes(0, bad * system_page()));
                    dst.write(0, untouched);
                }
            });
        }
    });
}
