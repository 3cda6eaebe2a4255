//! Copies by a table of the program's own: through the cache up to 256 KiB, and past it beyond.
//!
//! A program that knows its data better than any measured table writes one like this. It prints the table as `foliocopy info`
//! does, and copies by it.
//!
//! ```console
//! $ own_policy
//! ```

use std::error::Error;

use foliocopy::{Band, Bands, CopyOptions, Locality, Page, Policy, Primitive, Registers, Row, Step};

/// Past the cache: the fastest loop that this CPU has.
fn past_the_cache(policy: &Policy) -> Primitive {
    let has = |primitive: &Primitive| primitive.is_available(policy.cpu()) && primitive.is_non_temporal();
    let preferred = [Primitive::Avx2Nt, Primitive::Movnti, Primitive::LdpStnp];
    preferred.into_iter().find(has).unwrap_or(Primitive::Portable)
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = Policy::host();
    // Whatever the built-in table does with short copies, this one does as well.
    let near = host.step(Locality::Temporal, 4096);
    let far = Step::copy(past_the_cache(host));
    let row = Row {
        temporal: Bands::always(near),
        non_temporal: Bands::always(far),
        auto: Bands::of(&[Band::up_to(256 << 10, near), Band::rest(far)]),
    };
    // A row that this CPU can't follow is refused here, with the band and the reason.
    let policy = Policy::with_row(*host.cpu(), Registers::Vector, &row)?;

    for (up_to, step) in policy.bands(Locality::Auto) {
        match up_to {
            usize::MAX => println!("longer: {step}"),
            bytes => println!("up to {} KiB: {step}", bytes >> 10),
        }
    }
    let source = vec![Page::filled(7); 512];
    let mut destination = vec![Page::zeroed(); 512];
    CopyOptions::new().policy(&policy).copy_pages(&mut destination, &source)?;
    assert!(destination == source);
    println!("2 MiB were copied by it");
    Ok(())
}
