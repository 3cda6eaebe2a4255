//! The folio layer on three platforms: memory that is always mapped, memory that is mapped a page at a time, and an
//! architecture that copies tags with its pages.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod platform;

use foliocopy::folio::{self, Folio, McError, PageFrame, Platform, explain_mc};
use foliocopy::{Features, PAGE_SIZE, Page, Primitive, sigbus};
use platform::{DRAM, Direct, Highmem, SLOW, Tagged};

/// Frames of the source and of the destination in every platform here.
const FROM: u64 = 8;
const TO: u64 = 600;

fn folio(pfn: u64, order: u32) -> Folio {
    Folio { first: PageFrame { pfn, node: DRAM }, order }
}

fn folio_copy(platform: &impl Platform, dst: Folio, src: Folio) {
    // SAFETY: frames of the test's own memory, which don't overlap.
    unsafe { folio::folio_copy(platform, dst, src) }
}

fn folio_mc_copy(platform: &impl Platform, dst: Folio, src: Folio) -> Result<(), McError> {
    // SAFETY: frames of the test's own memory, which don't overlap.
    unsafe { folio::folio_mc_copy(platform, dst, src) }
}

/// The contents of a page of the source.
fn contents(pfn: u64) -> Page {
    Page::filled(pfn as u8 ^ 0x5a)
}

/// Fills the source of a folio, copies it, and checks the destination and the pages around it.
fn check_copy<P: Platform>(platform: &P, order: u32, copy: impl FnOnce(Folio, Folio)) {
    let (from, to) = (folio(FROM, order), folio(TO, order));
    let frame = |pfn| PageFrame { pfn, node: DRAM };
    // SAFETY: mapped, and nobody else's.
    let write = |pfn, page: Page| platform.map_page(frame(pfn), |mapped| unsafe { mapped.write(page) });
    // SAFETY: mapped, and nobody else's.
    let read = |pfn| platform.map_page(frame(pfn), |mapped| unsafe { mapped.read() });
    let nr_pages = from.nr_pages();
    (FROM..FROM + nr_pages).for_each(|pfn| write(pfn, contents(pfn)));
    (TO - 1..=TO + nr_pages).for_each(|pfn| write(pfn, Page::filled(0xee)));
    copy(to, from);
    for index in 0..nr_pages {
        assert!(read(TO + index) == contents(FROM + index), "page {index} of order {order}");
    }
    assert!(read(TO - 1) == Page::filled(0xee) && read(TO + nr_pages) == Page::filled(0xee));
}

#[test]
fn a_folio_is_two_to_its_order_pages_long() {
    assert_eq!(folio(0, 0).nr_pages(), 1);
    assert_eq!(folio(0, 9).nr_pages(), 512);
    assert_eq!(folio(0, 40).nr_pages(), 1 << 40);
    assert_eq!(folio(0, 64).nr_pages(), 0, "no machine has it");
}

#[test]
fn mapped_memory_is_copied_in_one_piece() {
    for order in 0..=9 {
        let direct = Direct::new(1200);
        check_copy(&direct, order, |to, from| folio_copy(&direct, to, from));
        assert_eq!(direct.yields(), 0, "2 MiB is less than a chunk");
        assert_eq!(direct.metadata(), (0..1 << order).map(|i| (TO + i, FROM + i)).collect::<Vec<_>>());
    }
}

#[test]
fn it_yields_between_chunks_and_never_for_a_page() {
    let direct = Direct::new(1200).chunk_bytes(4 * PAGE_SIZE);
    check_copy(&direct, 4, |to, from| folio_copy(&direct, to, from));
    assert_eq!(direct.yields(), 3, "between four chunks");
    let single = Direct::new(1200).chunk_bytes(1);
    check_copy(&single, 0, |to, from| folio_copy(&single, to, from));
    assert_eq!(single.yields(), 0);
}

#[test]
fn high_memory_is_mapped_a_page_at_a_time() {
    let highmem = Highmem::new(1200);
    check_copy(&highmem, 3, |to, from| folio_copy(&highmem, to, from));
    assert_eq!(highmem.yields(), 7, "between eight pages");
    assert_eq!(highmem.most_mapped(), 2, "a page of the source and one of the destination");
    assert_eq!(highmem.metadata().len(), 8);
}

#[test]
fn an_architecture_of_its_own_copies_tags_along() {
    let tagged = Tagged::new(1200);
    (0..4).for_each(|index| tagged.set_tag(FROM + index, 0x10 + index as u8));
    check_copy(&tagged, 2, |to, from| folio_copy(&tagged, to, from));
    check_copy(&tagged, 2, |to, from| folio_mc_copy(&tagged, to, from).unwrap());
    assert_eq!((0..4).map(|index| tagged.tag(TO + index)).collect::<Vec<_>>(), [0x10, 0x11, 0x12, 0x13]);
    assert_eq!(tagged.copies(), 8, "every page went through the architecture's own copy, twice");
}

#[test]
fn slower_memory_is_written_past_the_cache() {
    let direct = Direct::new(1200);
    let to = |node| explain_mc(&direct, PageFrame { pfn: TO, node }, 512).to_string();
    assert!(to(SLOW).starts_with("movnti, prefetching"), "{}", to(SLOW));
    assert!(!to(DRAM).contains("movnti"), "{}", to(DRAM));
    let slow = Folio { first: PageFrame { pfn: TO, node: SLOW }, order: 4 };
    check_copy(&direct, 4, |_, from| folio_copy(&direct, slow, from));
}

#[test]
fn every_path_that_a_mask_can_force() {
    for mask in [Features::NONE, Features::ERMS, Features::ERMS | Features::REP_GOOD] {
        let direct = Direct::new(1200).mask(mask);
        check_copy(&direct, 6, |to, from| folio_copy(&direct, to, from));
    }
}

#[test]
fn nothing_is_nothing_to_copy() {
    let direct = Direct::new(1200);
    let frame = |pfn| PageFrame { pfn, node: DRAM };
    // SAFETY: no page is copied.
    unsafe { folio::copy_highpages(&direct, frame(TO), frame(FROM), 0) };
    assert_eq!((direct.yields(), direct.metadata().len()), (0, 0));
}

fn contents_of<P: Platform>(platform: &P, pfn: u64) -> Page {
    // SAFETY: mapped, and nobody else's.
    platform.map_page(PageFrame { pfn, node: DRAM }, |mapped| unsafe { mapped.read() })
}

/// Poison in every page of a folio, which is copied in one piece and in chunks.
#[test]
fn poison_is_reported_once_by_its_frame() {
    sigbus::install().unwrap();
    for chunk_pages in [1, 3, 64] {
        for bad in 0..32 {
            let direct =
                Direct::new(1200).chunk_bytes(chunk_pages * PAGE_SIZE).spoilt(&[FROM + bad, FROM + 31]);
            let good = |pfn| PageFrame { pfn, node: DRAM };
            // SAFETY: mapped, and nobody else's.
            let write = |pfn| direct.map_page(good(pfn), |page| unsafe { page.write(contents(pfn)) });
            (FROM..FROM + bad).for_each(write);
            assert_eq!(folio_mc_copy(&direct, folio(TO, 5), folio(FROM, 5)), Err(McError::HwPoison));
            assert_eq!(direct.failures(), [FROM + bad], "the first bad one, once");
            assert_eq!(direct.metadata(), [], "the copy didn't go through");
            assert_eq!(direct.yields(), bad as usize / chunk_pages);
            (0..bad).for_each(|index| assert!(contents_of(&direct, TO + index) == contents(FROM + index)));
            (bad..32).for_each(|index| assert!(contents_of(&direct, TO + index) == Page::zeroed()));
        }
    }
}

#[test]
fn poison_in_high_memory() {
    sigbus::install().unwrap();
    let highmem = Highmem::new(1200);
    check_copy(&highmem, 3, |to, from| {
        highmem.spoil(FROM + 8);
        folio_mc_copy(&highmem, to, from).expect("it lies behind the folio");
    });
    highmem.spoil(FROM + 5);
    highmem.spoil(FROM + 6);
    let before = highmem.metadata().len();
    assert_eq!(folio_mc_copy(&highmem, folio(TO, 3), folio(FROM, 3)), Err(McError::HwPoison));
    assert_eq!(highmem.failures(), [FROM + 5]);
    assert_eq!(highmem.metadata().len() - before, 5, "the pages before it went through, one by one");
}

#[test]
fn a_single_page_never_yields_nor_does_a_poisoned_one() {
    sigbus::install().unwrap();
    let direct = Direct::new(1200).chunk_bytes(1).spoilt(&[FROM]);
    assert_eq!(folio_mc_copy(&direct, folio(TO, 0), folio(FROM, 0)), Err(McError::HwPoison));
    assert_eq!((direct.yields(), direct.failures()), (0, vec![FROM]));
}

#[test]
fn good_memory_is_copied_safely_too() {
    sigbus::install().unwrap();
    for order in 0..=9 {
        let direct = Direct::new(1200);
        check_copy(&direct, order, |to, from| folio_mc_copy(&direct, to, from).unwrap());
        assert_eq!(direct.metadata().len(), 1 << order);
        assert_eq!(direct.failures(), []);
    }
}

/// A platform that recovers never falls back to a copy that can't.
#[test]
fn what_can_not_survive_is_refused() {
    let direct = Direct::new(1200).forcing(Primitive::Portable);
    // SAFETY: mapped, and nobody else's.
    direct.map_page(PageFrame { pfn: FROM, node: DRAM }, |page| unsafe { page.write(contents(FROM)) });
    assert_eq!(folio_mc_copy(&direct, folio(TO, 2), folio(FROM, 2)), Err(McError::Unsupported));
    assert!(contents_of(&direct, TO) == Page::zeroed(), "nothing is copied");
    assert_eq!((direct.metadata().len(), direct.failures().len()), (0, 0));
    let explanation = explain_mc(&direct, PageFrame { pfn: TO, node: DRAM }, 4);
    assert!(explanation.to_string().contains("refused"), "{explanation}");
}

#[test]
fn without_recovery_it_says_that_it_is_the_plain_copy() {
    let tagged = Tagged::new(16);
    let explanation = explain_mc(&tagged, PageFrame { pfn: 0, node: DRAM }, 1);
    assert!(!explanation.is_machine_check_safe());
    let text = explanation.to_string();
    assert!(text.starts_with("page by page, ") && text.ends_with("this is the plain copy"), "{text}");
}
