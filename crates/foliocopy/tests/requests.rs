//! Requests that can't be met: an error that says why, and nothing copied.

use foliocopy::{
    CopyError, CopyOptions, Cpu, Features, Locality, PAGE_SIZE, Page, Policy, Primitive, Registers,
    copy_pages, copy_pages_raw,
};

/// Asks for a copy within one buffer, and checks that the buffer stays as it was.
fn refused(dst_offset: usize, src_offset: usize, nr_pages: usize) -> CopyError {
    let mut pages: Vec<Page> = (0..8).map(Page::filled).collect();
    let before = pages.clone();
    let start = pages.as_mut_ptr();
    // SAFETY: memory within the buffer is readable and writable. The rest must not be touched, which is what is tested.
    let answer = unsafe {
        copy_pages_raw(start.wrapping_byte_add(dst_offset), start.wrapping_byte_add(src_offset), nr_pages)
    };
    assert!(pages == before, "a refused copy changed memory");
    answer.expect_err("must be refused")
}

#[test]
fn overlapping_ranges() {
    assert_eq!(refused(0, 0, 1), CopyError::Overlap);
    assert_eq!(refused(PAGE_SIZE, 0, 2), CopyError::Overlap);
    assert_eq!(refused(0, 3 * PAGE_SIZE, 4), CopyError::Overlap);
}

#[test]
fn misaligned_ranges() {
    assert!(matches!(refused(64, 4 * PAGE_SIZE, 1), CopyError::Misaligned { alignment: PAGE_SIZE, .. }));
    assert!(matches!(refused(0, 4 * PAGE_SIZE + 1, 1), CopyError::Misaligned { alignment: PAGE_SIZE, .. }));
}

#[test]
fn null_is_refused_where_there_is_something_to_copy() {
    let mut page = Page::filled(1);
    let (null, page) = (std::ptr::null_mut(), &raw mut page);
    // SAFETY: refused before anything is touched, which is what is tested, or nothing is copied.
    unsafe {
        assert_eq!(copy_pages_raw(null, page, 1), Err(CopyError::Null));
        assert_eq!(copy_pages_raw(page, null, 1), Err(CopyError::Null));
        assert_eq!(copy_pages_raw(null, null, 0), Ok(()));
    }
}

#[test]
fn page_counts_that_overflow() {
    for nr_pages in [usize::MAX, usize::MAX / PAGE_SIZE, usize::MAX / PAGE_SIZE + 1, 1 << 52] {
        assert_eq!(refused(0, 4 * PAGE_SIZE, nr_pages), CopyError::Overflow { nr_pages });
    }
}

#[test]
fn slices_of_different_length() {
    let mut dst = [Page::zeroed(); 2];
    let answer = copy_pages(&mut dst, &[Page::filled(1); 3]);
    assert_eq!(answer, Err(CopyError::LengthMismatch { dst: 2, src: 3 }));
    assert!(dst == [Page::zeroed(); 2]);
}

#[test]
fn nothing_is_nothing_to_copy() {
    assert_eq!(copy_pages(&mut [], &[]), Ok(()));
    let page = Page::zeroed();
    // SAFETY: no page is copied.
    let answer = unsafe { copy_pages_raw((&raw const page).cast_mut(), &page, 0) };
    assert_eq!(answer, Ok(()));
}

/// On a CPU that lacks everything, each primitive that needs something names it.
#[test]
fn a_primitive_this_cpu_lacks() {
    let policy = Policy::new(Cpu::detect().without(Features::ALL), Registers::Vector);
    let mut dst = [Page::zeroed()];
    for primitive in Primitive::ALL.iter().filter(|primitive| !primitive.requires().is_empty()) {
        let answer =
            CopyOptions::new().policy(&policy).primitive(*primitive).copy_pages(&mut dst, &[Page::filled(1)]);
        let missing = primitive.requires();
        assert_eq!(answer, Err(CopyError::Unavailable { primitive: *primitive, missing }));
        assert!(answer.unwrap_err().to_string().ends_with(&missing.to_string()));
    }
    assert!(dst == [Page::zeroed()]);
}

/// A CPU may be described with features that this machine's lacks. Its policy explains, and copies nothing.
#[test]
fn a_policy_for_another_cpu() {
    let here = Cpu::detect();
    let signature = [here.family(), here.model(), here.stepping()];
    let described = Cpu::foreign(here.vendor(), signature, Features::ALL, here.caches());
    let policy = Policy::new(described, Registers::Vector);
    let src = [Page::filled(1); 4];
    for locality in Locality::ALL {
        for nr_pages in [1, 4] {
            let mut dst = [Page::zeroed(); 4];
            let options = CopyOptions::new().policy(&policy).locality(*locality);
            let answer = options.copy_pages(&mut dst[..nr_pages], &src[..nr_pages]);
            assert_eq!(answer, Err(CopyError::ForeignCpu));
            let named = options.primitive(Primitive::Movdir64b).copy_pages(&mut dst[..1], &src[..1]);
            assert_eq!(named, Err(CopyError::ForeignCpu));
            assert!(dst == [Page::zeroed(); 4]);
        }
    }
    assert!(!policy.explain(Locality::Auto, 4096).to_string().is_empty());
    assert!(CopyError::ForeignCpu.to_string().contains("another CPU"));
}

/// Every path that a mask can force here copies correctly.
#[test]
fn masks_force_every_path() {
    let erms_and_rep_good = Features::ERMS | Features::REP_GOOD;
    for mask in [Features::NONE, Features::ERMS, Features::REP_GOOD, erms_and_rep_good] {
        let policy = Policy::new(Cpu::detect().without(mask), Registers::GeneralPurpose);
        for locality in Locality::ALL {
            let (src, mut dst) = (vec![Page::filled(0x5a); 5], vec![Page::zeroed(); 5]);
            let options = CopyOptions::new().policy(&policy).locality(*locality);
            options.copy_pages(&mut dst, &src).unwrap();
            assert!(dst == src);
        }
    }
}
