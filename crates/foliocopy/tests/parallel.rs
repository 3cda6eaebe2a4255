//! Very large ranges by several threads.

use std::num::NonZeroUsize;

use foliocopy::{CopyError, Page, copy_pages_parallel, threads_for};

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn pattern(nr_pages: usize) -> Vec<Page> {
    let mut pages = vec![Page::zeroed(); nr_pages];
    for (index, page) in pages.iter_mut().enumerate() {
        page.as_bytes_mut()[..8].copy_from_slice(&index.to_le_bytes());
        page.as_bytes_mut()[4088..].copy_from_slice(&(!index).to_le_bytes());
    }
    pages
}

#[test]
fn every_page_arrives_and_none_beside_them() {
    for nr_pages in [0, 1, 512, 3 * 4096, 3 * 4096 + 77] {
        let src = pattern(nr_pages);
        for count in [1, 2, 3, 8] {
            let mut dst = vec![Page::filled(0xee); nr_pages + 2];
            // SAFETY: two buffers of ours.
            unsafe { copy_pages_parallel(dst[1..].as_mut_ptr(), src.as_ptr(), nr_pages, threads(count)) }
                .unwrap();
            assert!(dst[1..=nr_pages] == src, "{nr_pages} pages by {count}");
            assert!(dst[0] == Page::filled(0xee) && dst[nr_pages + 1] == Page::filled(0xee));
        }
    }
    assert_eq!(threads_for(3 * 4096 * 4096, threads(8)).get(), 3, "several threads were really used");
}

#[test]
fn ranges_that_overlap_are_refused_whole() {
    let mut pages = pattern(8192);
    let before = pages.clone();
    let start = pages.as_mut_ptr();
    // SAFETY: refused before anything is touched, which is what is tested.
    let answer = unsafe { copy_pages_parallel(start.add(1), start, 8191, threads(2)) };
    assert_eq!(answer, Err(CopyError::Overlap));
    assert!(pages == before);
}
