//! Every primitive that this CPU has, against a byte loop.

use foliocopy::{CopyOptions, Cpu, PAGE_SIZE, Page, Primitive};
use proptest::prelude::*;

const LINE: usize = 64;
const CANARY: u8 = 0xee;

/// The primitives that this CPU can run. Those that it lacks are named in the output.
fn available() -> Vec<Primitive> {
    let cpu = Cpu::detect();
    let (available, lacking): (Vec<Primitive>, Vec<Primitive>) = Primitive::ALL
        .iter()
        .copied()
        .filter(|one| one.is_built())
        .partition(|primitive| primitive.is_available(&cpu));
    for primitive in lacking {
        eprintln!("not tested on this CPU: {primitive}, it lacks {}", primitive.missing(&cpu));
    }
    available
}

/// Pages in which no two lines, and no two of the first pages, are alike.
fn pattern(nr_pages: usize, seed: u64) -> Vec<Page> {
    let mut state = seed | 1;
    let mut pages = vec![Page::zeroed(); nr_pages];
    for byte in pages.iter_mut().flat_map(|page| page.as_bytes_mut()) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    pages
}

fn bytes(pages: &[Page]) -> &[u8] {
    pages.as_flattened_bytes()
}

/// The bytes of pages that lie side by side.
trait AsFlattenedBytes {
    fn as_flattened_bytes(&self) -> &[u8];
}

impl AsFlattenedBytes for [Page] {
    fn as_flattened_bytes(&self) -> &[u8] {
        // SAFETY: a page is 4096 bytes and has no padding.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), size_of_val(self)) }
    }
}

/// Copies `length` bytes from `src_offset` of one buffer to `dst_offset` of another, and checks every
/// byte of the destination, those around the range included.
fn check_bytes(primitive: Primitive, dst_offset: usize, src_offset: usize, length: usize) {
    let src = pattern((src_offset + length).div_ceil(PAGE_SIZE) + 1, length as u64);
    let mut dst = vec![Page::filled(CANARY); (dst_offset + length).div_ceil(PAGE_SIZE) + 2];
    // SAFETY: both buffers are long enough, the offsets multiples of 64, and the CPU has the primitive.
    unsafe {
        let (to, from) = (dst.as_mut_ptr().byte_add(dst_offset), src.as_ptr().byte_add(src_offset));
        primitive.copy(to.cast(), from.cast(), length);
    }
    let (dst, src) = (bytes(&dst), bytes(&src));
    assert!(dst[..dst_offset].iter().all(|byte| *byte == CANARY), "{primitive} wrote before the range");
    assert!(dst[dst_offset..][..length] == src[src_offset..][..length], "{primitive} copied wrong bytes");
    assert!(dst[dst_offset + length..].iter().all(|byte| *byte == CANARY), "{primitive} wrote past the end");
}

#[test]
fn every_length_in_lines_up_to_past_the_unrolling() {
    for primitive in available() {
        for lines in 0..=72 {
            check_bytes(primitive, PAGE_SIZE, 0, lines * LINE);
        }
    }
}

#[test]
fn every_relative_position_in_lines() {
    for primitive in available() {
        for dst_line in 0..64 {
            for src_line in 0..64 {
                check_bytes(primitive, dst_line * LINE, src_line * LINE, 5 * LINE);
            }
        }
    }
}

/// Page counts around the prefetch distance, around a chunk, and in between.
#[test]
fn every_page_count_in_chunks_of_every_length() {
    for primitive in available() {
        for nr_pages in (0..=20).chain([31, 32, 33, 511, 512, 513]) {
            let src = pattern(nr_pages, 3);
            for chunk_bytes in [0, 1, PAGE_SIZE, 3 * PAGE_SIZE, 16 * PAGE_SIZE, usize::MAX] {
                let mut dst = vec![Page::filled(CANARY); nr_pages + 2];
                let mut yields = 0;
                CopyOptions::new()
                    .primitive(primitive)
                    .chunk_bytes(chunk_bytes)
                    .yield_with(|| yields += 1)
                    .copy_pages(&mut dst[1..=nr_pages], &src)
                    .expect("the primitive is available");
                let chunk_pages = chunk_bytes.div_ceil(PAGE_SIZE).max(1);
                assert_eq!(yields, nr_pages.div_ceil(chunk_pages).saturating_sub(1), "{primitive}");
                assert!(dst[1..=nr_pages] == src, "{primitive}, {nr_pages} pages");
                assert!(dst[0] == Page::filled(CANARY) && dst[nr_pages + 1] == Page::filled(CANARY));
            }
        }
    }
}

/// At every yield all earlier chunks are in place.
#[test]
fn a_yield_comes_after_whole_chunks() {
    for primitive in available() {
        let src = pattern(8, 9);
        let mut dst = vec![Page::filled(CANARY); 8];
        let to = dst.as_mut_ptr();
        let mut copied = 0;
        let check = || {
            copied += 2;
            // SAFETY: the copy stands still while it yields, and reads of both are in bounds.
            let so_far = unsafe { std::slice::from_raw_parts(to, 8) };
            assert!(so_far[..copied] == src[..copied]);
            assert!(so_far[copied..].iter().all(|page| *page == Page::filled(CANARY)));
        };
        let options = CopyOptions::new().primitive(primitive).chunk_bytes(2 * PAGE_SIZE).yield_with(check);
        // SAFETY: two buffers of eight pages.
        unsafe { options.copy_pages_raw(to, src.as_ptr(), 8) }.expect("the primitive is available");
        assert_eq!(copied, 6);
    }
}

/// A panic in the callback leaves only the earlier chunks in place.
#[test]
fn a_yield_may_unwind() {
    for primitive in available() {
        let src = pattern(4, 5);
        let mut dst = vec![Page::filled(CANARY); 4];
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            CopyOptions::new()
                .primitive(primitive)
                .chunk_bytes(PAGE_SIZE)
                .yield_with(|| std::panic::resume_unwind(Box::new(())))
                .copy_pages(&mut dst, &src)
        }));
        assert!(unwound.is_err());
        assert!(dst[0] == src[0] && dst[1..] == [Page::filled(CANARY); 3], "{primitive}");
    }
}

proptest! {
    #[test]
    fn any_range(
        primitive in prop::sample::select(available()),
        dst_line in 0..128_usize,
        src_line in 0..128_usize,
        lines in 0..1024_usize,
    ) {
        check_bytes(primitive, dst_line * LINE, src_line * LINE, lines * LINE);
    }

    #[test]
    fn any_pages(
        primitive in prop::sample::select(available()),
        nr_pages in 0..300_usize,
        chunk_bytes in 0..(400 * PAGE_SIZE),
        seed: u64,
    ) {
        let src = pattern(nr_pages, seed);
        let mut dst = vec![Page::filled(CANARY); nr_pages];
        CopyOptions::new().primitive(primitive).chunk_bytes(chunk_bytes).copy_pages(&mut dst, &src).unwrap();
        prop_assert!(dst == src);
    }
}
