//! CPUs and rows that safe code invents. Copies by them run no instruction that this machine's CPU lacks, and leave no stores
//! past the cache without their fence.

#![forbid(unsafe_code)]

use foliocopy::{
    Band, Bands, Caches, CopyError, CopyOptions, Cpu, Features, Locality, Page, Policy, Primitive, Registers,
    Row, Step, Vendor,
};

/// Copies by `options` and returns the error. Nothing may have been copied then.
#[track_caller]
fn refusal(options: CopyOptions<'_>) -> CopyError {
    let src = vec![Page::filled(1); 4];
    let mut dst = vec![Page::zeroed(); 4];
    let error = options.copy_pages(&mut dst, &src).expect_err("it copied");
    assert!(dst.iter().all(|page| *page == Page::zeroed()), "something was copied");
    error
}

#[test]
fn a_cpu_that_was_made_up_copies_nothing() {
    let host = Cpu::detect();
    let signature = [host.family(), host.model(), host.stepping()];
    for features in [Features::ALL, host.features()] {
        for vendor in [Vendor::Amd, Vendor::Intel, host.vendor()] {
            let cpu = Cpu::foreign(vendor, signature, features, Caches::default());
            let policy = Policy::new(cpu, Registers::Vector);
            assert_eq!(refusal(CopyOptions::new().policy(&policy)), CopyError::ForeignCpu);
            for primitive in Primitive::ALL {
                refusal(CopyOptions::new().policy(&policy).primitive(*primitive));
                let Ok(policy) = policy.forcing(*primitive) else { continue };
                assert_eq!(refusal(CopyOptions::new().policy(&policy)), CopyError::ForeignCpu);
            }
        }
    }
}

#[test]
fn what_the_cpu_lacks_is_refused_by_every_way_to_ask_for_it() {
    let cpu = Cpu::detect().without(Features::ALL);
    let policy = Policy::new(cpu, Registers::Vector);
    for primitive in Primitive::ALL.iter().filter(|primitive| !primitive.missing(&cpu).is_empty()) {
        let lacks = CopyError::Unavailable { primitive: *primitive, missing: primitive.missing(&cpu) };
        assert_eq!(refusal(CopyOptions::new().policy(&policy).primitive(*primitive)), lacks);
        assert_eq!(policy.forcing(*primitive).unwrap_err(), lacks);
        assert!(Policy::with_row(cpu, Registers::Vector, &Row::always(*primitive)).is_err());
    }
}

/// A step past the cache would go unfenced in a table for copies through the cache.
#[test]
fn rows_that_bypass_the_cache_where_it_is_asked_for_are_refused() {
    let (through, past) = match cfg!(target_arch = "aarch64") {
        true => (Primitive::LdpStp, Primitive::LdpStnp),
        false => (Primitive::RepMovsb, Primitive::Movnti),
    };
    let cpu = Cpu::detect();
    if !past.is_available(&cpu) {
        println!("not tested on this CPU: it lacks {past}");
        return;
    }
    let row = Row { non_temporal: Bands::always(Step::copy(past)), ..Row::always(through) };
    let by = |step| Row { temporal: Bands::of(&[Band::rest(step)]), ..row };
    let timed = [
        Step::TimeFirstPage { first: past, rest: through, burst: 0 },
        Step::TimeFirstPage { first: through, rest: past, burst: 0 },
    ];
    // A step that times something wants a counter in the first place.
    for step in timed.into_iter().filter(|_| cpu.has(Features::TSC)).chain([Step::copy(past)]) {
        let refused = Policy::with_row(cpu, Registers::Vector, &by(step)).expect_err("it was accepted");
        assert!(refused.to_string().contains(&format!("{past} stores past the cache")), "{refused}");
    }
    let policy = Policy::with_row(cpu, Registers::Vector, &by(Step::copy(through))).expect("it is sound");
    let src = vec![Page::filled(1); 4];
    let mut dst = vec![Page::zeroed(); 4];
    CopyOptions::new()
        .policy(&policy)
        .locality(Locality::Temporal)
        .copy_pages(&mut dst, &src)
        .expect("it copies");
    assert!(dst == src);
}
