//! Tests that users of foliocopy run under Miri: copies of their own memory, by every function that copies pages.

#![cfg(test)]

use std::num::NonZero;

use foliocopy::{
    ByteRange, ByteRangeMut, CopyOptions, Cpu, FolioPair, Locality, Page, PageRange, PageRangeMut, Policy,
    Primitive, Registers, copy_folios, copy_mc, copy_mc_bytes, copy_mc_folios, copy_mc_pages,
    copy_mc_pages_parallel, copy_mc_pages_raw, copy_mc_pages_skipping, copy_mc_skipping, copy_pages,
    copy_pages_parallel, copy_pages_raw, read_mc, sigbus, write_mc,
};

const NR_PAGES: usize = 3;
const LOCALITIES: [Locality; 3] = [Locality::Auto, Locality::Temporal, Locality::NonTemporal];

/// Copies different pages by a function that returns whether it copied, and checks the copy.
fn check(copy: impl FnOnce(&mut [Page], &[Page]) -> bool) {
    let source: Vec<_> = (1..).map(Page::filled).take(NR_PAGES).collect();
    let mut destination = vec![Page::zeroed(); NR_PAGES];
    assert!(copy(&mut destination, &source));
    assert!(source == destination);
}

/// The arguments of the functions that take addresses.
fn raw(dst: &mut [Page], src: &[Page]) -> (*mut Page, *const Page, usize) {
    (dst.as_mut_ptr(), src.as_ptr(), src.len())
}

fn pair(dst: &mut [Page], src: &[Page]) -> [FolioPair; 1] {
    let (dst, src, nr_pages) = raw(dst, src);
    [FolioPair { dst, src, nr_pages }]
}

fn ranges<'a>(dst: &'a mut [Page], src: &'a [Page]) -> (PageRangeMut<'a>, PageRange<'a>) {
    (PageRangeMut::from(dst), PageRange::from(src))
}

#[test]
fn pages() {
    check(|dst, src| copy_pages(dst, src).is_ok());
}

#[test]
fn pages_with_every_locality() {
    for locality in LOCALITIES {
        check(|dst, src| CopyOptions::new().locality(locality).copy_pages(dst, src).is_ok());
    }
}

#[test]
fn pages_in_chunks() {
    let mut yields = 0;
    check(|dst, src| {
        CopyOptions::new().chunk_bytes(4096).yield_with(|| yields += 1).copy_pages(dst, src).is_ok()
    });
    assert_eq!(yields, NR_PAGES - 1);
}

#[test]
fn pages_by_address() {
    check(|dst, src| {
        let (dst, src, nr_pages) = raw(dst, src);
        // SAFETY: both are this test's.
        unsafe { copy_pages_raw(dst, src, nr_pages) }.is_ok()
    });
}

#[test]
fn pages_by_threads() {
    check(|dst, src| {
        let (dst, src, nr_pages) = raw(dst, src);
        // SAFETY: both are this test's.
        unsafe { copy_pages_parallel(dst, src, nr_pages, NonZero::new(2).unwrap()) }.is_ok()
    });
}

#[test]
fn folios() {
    // SAFETY: both are the test's.
    check(|dst, src| unsafe { copy_folios(&pair(dst, src)) }.is_ok());
}

/// Nothing faults under Miri, so there is nothing to survive.
#[test]
fn copies_that_would_survive_faults() {
    assert_eq!(sigbus::install(), Ok(()));
    assert!(sigbus::is_installed());
    // SAFETY: all of them are the test's.
    unsafe {
        check(|dst, src| {
            let (dst, src) = ranges(dst, src);
            copy_mc_pages(dst, src).is_ok()
        });
        check(|dst, src| {
            let (dst, src, nr_pages) = raw(dst, src);
            copy_mc_pages_raw(dst, src, nr_pages).is_ok()
        });
        check(|dst, src| {
            let (dst, src) = ranges(dst, src);
            copy_mc_pages_parallel(dst, src, NonZero::new(2).unwrap()).is_ok()
        });
        check(|dst, src| {
            let (dst, src) = ranges(dst, src);
            copy_mc_pages_skipping(dst, src, |_| panic!("nothing is lost")) == Ok(0)
        });
        check(|dst, src| copy_mc_folios(&pair(dst, src)).is_ok());
    }
}

#[test]
fn the_portable_copy_itself() {
    check(|dst, src| {
        let (dst, src, nr_pages) = raw(dst, src);
        // SAFETY: both are this test's, and every CPU has it.
        unsafe { Primitive::Portable.copy(dst.cast(), src.cast(), 4096 * nr_pages) };
        true
    });
}

#[test]
fn the_policy_has_nothing_but_the_portable_copy() {
    let cpu = Cpu::detect();
    let available: Vec<_> = Primitive::ALL.iter().filter(|primitive| primitive.is_available(&cpu)).collect();
    assert_eq!(available, [&Primitive::Portable]);
    let policy = Policy::host();
    for locality in LOCALITIES {
        assert!(policy.explain(locality, 1 << 20).to_string().contains("portable"));
    }
    let _ = Policy::new(cpu, Registers::Vector);
}

/// Any address and length, by every function that copies bytes.
#[test]
fn bytes() {
    let source: Vec<u8> = (0..100).collect();
    for from in [0, 1, 4, 8] {
        for to in [0, 1, 4, 8] {
            for bytes in (0..20).chain([63, 64, 65]) {
                let mut destination = [0; 100];
                // SAFETY: within the array.
                unsafe { copy_mc(destination.as_mut_ptr().add(to), source.as_ptr().add(from), bytes) }
                    .unwrap();
                assert_eq!(destination[to..to + bytes], source[from..from + bytes]);
                let mut destination = [0; 100];
                let (dst, src) = (&mut destination[to..to + bytes], &source[from..from + bytes]);
                copy_mc_bytes(ByteRangeMut::from(dst), ByteRange::from(src)).unwrap();
                assert_eq!(destination[to..to + bytes], source[from..from + bytes]);
            }
        }
    }
    let mut destination = [0; 100];
    assert_eq!(copy_mc_skipping(destination.as_mut_slice().into(), source.as_slice().into(), |_| {}), Ok(0));
    assert_eq!(destination, source[..]);
    let mut number = 7_u32;
    // SAFETY: a number of ours.
    unsafe {
        write_mc(&raw mut number, 9).unwrap();
        assert_eq!(read_mc(&raw const number), Ok(9));
    }
}
