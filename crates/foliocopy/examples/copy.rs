//! Copies a range of pages in each of the ways that the crate has, and says how each length is copied on this CPU.
//!
//! ```console
//! $ copy
//! ```

use std::error::Error;
use std::num::NonZeroUsize;

use foliocopy::{
    CopyOptions, FolioPair, Locality, Page, Policy, copy_folios, copy_pages, copy_pages_parallel,
};

fn main() -> Result<(), Box<dyn Error>> {
    let source: Vec<Page> = (0..512).map(|number| Page::filled(number as u8)).collect();
    let mut destination = vec![Page::zeroed(); 512];

    // The usual copy: foliocopy picks the instruction.
    copy_pages(&mut destination, &source)?;
    check("copy_pages", &destination, &source);

    // Nobody reads the destination soon, so it need not fill the cache.
    destination.fill(Page::zeroed());
    CopyOptions::new().locality(Locality::NonTemporal).copy_pages(&mut destination, &source)?;
    check("past the cache", &destination, &source);

    // Scattered folios, as one piece of work: each of 16 pages, in reverse order.
    destination.fill(Page::zeroed());
    let folios: Vec<FolioPair> = (0..512 / 16)
        .map(|index| FolioPair {
            dst: destination[index * 16..].as_mut_ptr(),
            src: source[512 - (index + 1) * 16..].as_ptr(),
            nr_pages: 16,
        })
        .collect();
    // SAFETY: each pair is 16 pages of either vector, and no two destinations meet.
    unsafe { copy_folios(&folios) }?;
    check("copy_folios", &destination[..16], &source[496..]);

    // A very large range, by several threads. One of 2 MiB is left to the caller's.
    let threads = NonZeroUsize::new(4).expect("four");
    // SAFETY: 512 pages of either vector.
    unsafe { copy_pages_parallel(destination.as_mut_ptr(), source.as_ptr(), 512, threads) }?;
    check("copy_pages_parallel", &destination, &source);

    for bytes in [4 << 10, 64 << 10, 2 << 20] {
        println!("{:>4} KiB: {}", bytes >> 10, Policy::host().explain(Locality::Auto, bytes));
    }
    Ok(())
}

fn check(what: &str, destination: &[Page], source: &[Page]) {
    assert!(destination == source, "{what}");
    println!("{what}: {} pages are right", source.len());
}
