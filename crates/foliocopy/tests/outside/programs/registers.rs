//! Copies in the midst of vector arithmetic. Prints every kind of copy that changes values of its caller.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};
use std::hint::black_box;
use std::num::NonZero;

use foliocopy::{
    CopyOptions, Cpu, FolioPair, Locality, Page, PageRange, PageRangeMut, Primitive, copy_folios,
    copy_mc_folios, copy_mc_pages_parallel, copy_mc_pages_raw, copy_pages, copy_pages_parallel,
    copy_pages_raw,
};

/// As many floats as fill `NR_VALUES` registers.
const NR_FLOATS: usize = 8 * NR_VALUES;
const NR_VALUES: usize = 14;

/// The ranges of a copy, and its primitive and locality.
struct Work<'a> {
    dst: &'a mut [Page],
    src: &'a [Page],
    locality: Locality,
    primitive: Primitive,
}

impl Work<'_> {
    fn raw(&mut self) -> (*mut Page, *const Page, usize) {
        (self.dst.as_mut_ptr(), self.src.as_ptr(), self.src.len())
    }

    fn pair(&mut self) -> [FolioPair; 1] {
        let (dst, src, nr_pages) = self.raw();
        [FolioPair { dst, src, nr_pages }]
    }
}

type Caller = fn(&[f32; NR_FLOATS], &mut Work) -> [f32; NR_FLOATS];

/// Functions that have `NR_VALUES` values of 256 bits live while they copy.
macro_rules! callers {
    ($($name:ident: |$work:ident| $copy:expr;)*) => {
        $(#[inline(never)]
        fn $name(numbers: &[f32; NR_FLOATS], $work: &mut Work) -> [f32; NR_FLOATS] {
            let mut sums = [0.0; NR_FLOATS];
            // SAFETY: the CPU has AVX, for which this program is compiled; both arrays are that long.
            unsafe {
                let mut values = [_mm256_setzero_ps(); NR_VALUES];
                for (index, value) in values.iter_mut().enumerate() {
                    let number: __m256 = _mm256_loadu_ps(numbers.as_ptr().add(8 * index));
                    *value = _mm256_add_ps(number, _mm256_set1_ps(1.0));
                }
                $copy.expect("a request that can be met");
                for (index, value) in values.iter().enumerate() {
                    _mm256_storeu_ps(sums.as_mut_ptr().add(8 * index), *value);
                }
            }
            sums
        })*

        const CALLERS: &[(&str, Caller)] = &[$((stringify!($name), $name)),*];
    };
}

callers! {
    pages: |work| copy_pages(work.dst, work.src);
    one_page: |work| copy_pages(&mut work.dst[..1], &work.src[..1]);
    pages_raw: |work| { let (dst, src, nr_pages) = work.raw(); copy_pages_raw(dst, src, nr_pages) };
    pages_parallel: |work| {
        let (dst, src, nr_pages) = work.raw();
        copy_pages_parallel(dst, src, nr_pages, NonZero::<usize>::MIN)
    };
    locality: |work| CopyOptions::new().locality(work.locality).copy_pages(work.dst, work.src);
    temporal: |work| CopyOptions::new().locality(Locality::Temporal).copy_pages(work.dst, work.src);
    primitive: |work| CopyOptions::new().primitive(work.primitive).copy_pages(work.dst, work.src);
    avx2: |work| CopyOptions::new().primitive(Primitive::Avx2).copy_pages(work.dst, work.src);
    folios: |work| copy_folios(&work.pair());
    mc_pages: |work| { let (dst, src, nr_pages) = work.raw(); copy_mc_pages_raw(dst, src, nr_pages) };
    mc_pages_parallel: |work| {
        let (dst, src) = (PageRangeMut::from(&mut *work.dst), PageRange::from(work.src));
        copy_mc_pages_parallel(dst, src, NonZero::<usize>::MIN)
    };
    mc_folios: |work| copy_mc_folios(&work.pair());
    mc_primitive: |work| {
        let (dst, src, nr_pages) = work.raw();
        CopyOptions::new().primitive(work.primitive).copy_mc_pages_raw(dst, src, nr_pages)
    };
    loop_itself: |work| {
        let (dst, src, nr_pages) = work.raw();
        work.primitive.copy(dst.cast(), src.cast(), 4096 * nr_pages);
        Some(())
    };
    mc_loop_itself: |work| {
        let (dst, src, nr_pages) = work.raw();
        work.primitive.copy_mc(dst.cast(), src.cast(), 4096 * nr_pages)
    };
    avx2_loop: |work| {
        let (dst, src, nr_pages) = work.raw();
        Primitive::Avx2.copy(dst.cast(), src.cast(), 4096 * nr_pages);
        Some(())
    };
    avx2_mc_loop: |work| {
        let (dst, src, nr_pages) = work.raw();
        Primitive::Avx2.copy_mc(dst.cast(), src.cast(), 4096 * nr_pages)
    };
}

/// How many values of the caller are wrong after copies of `nr_pages` pages.
fn count_wrong(caller: Caller, primitive: Primitive, locality: Locality, nr_pages: usize) -> usize {
    let numbers = std::array::from_fn(|index| index as f32);
    let src = vec![Page::filled(1); nr_pages];
    let mut dst = vec![Page::zeroed(); nr_pages];
    let mut work = Work { dst: &mut dst, src: &src, locality, primitive };
    let sums = caller(black_box(&numbers), black_box(&mut work));
    assert!(dst[0] == src[0], "it copies");
    sums.iter().zip(numbers).filter(|(sum, number)| **sum != number + 1.0).count()
}

fn main() {
    foliocopy::sigbus::install().unwrap();
    let cpu = Cpu::detect();
    let usable = |one: &&Primitive| one.is_available(&cpu) && one.is_machine_check_safe();
    for (name, caller) in CALLERS {
        for primitive in Primitive::ALL.iter().filter(usable).copied() {
            let localities = [Locality::Auto, Locality::Temporal, Locality::NonTemporal];
            let counts = localities.iter().flat_map(|locality| {
                [1, 2, 16].map(|nr_pages| count_wrong(*caller, primitive, *locality, nr_pages))
            });
            let worst = counts.max().unwrap_or(0);
            if worst != 0 {
                println!("{name}, {primitive}: {worst} of {NR_FLOATS} floats of the caller are wrong");
            }
        }
    }
    println!("<end>");
}
