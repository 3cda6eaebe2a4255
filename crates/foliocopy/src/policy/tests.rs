use super::*;
use crate::cpu::{Caches, Vendor};
use crate::step::{Band, Bands};
use Primitive::{
    Avx2, Avx2Nt, Avx512, Avx512Nt, LdpStnp, LdpStp, Mops, Movdir64b, Movnti, Movq, Portable, RepMovsb,
    RepMovsq,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const ROW_AND_TSC: Features = Features::ROW.union(Features::TSC);
const REP_GOOD: Features = Features::REP_GOOD.union(ROW_AND_TSC);
const FAST_STRINGS: Features = Features::ERMS.union(Features::FSRM).union(REP_GOOD);
const VECTORS: Features = Features::AVX2.union(Features::AVX512F);

const fn cpu(vendor: Vendor, family: u32, model: u32, features: Features) -> Cpu {
    let caches = Caches { l1d: 32 * KIB, l2: MIB, l3: 32 * MIB };
    Cpu::foreign(vendor, [family, model, 0], features, caches)
}

const ZEN_2: Cpu = cpu(Vendor::Amd, 0x17, 0x31, REP_GOOD.union(Features::AVX2));
const ZEN_3: Cpu = cpu(Vendor::Amd, 0x19, 0x01, FAST_STRINGS.union(Features::AVX2));
const ZEN_4: Cpu = cpu(Vendor::Amd, 0x19, 0x11, FAST_STRINGS.union(VECTORS));
const ZEN_5: Cpu = cpu(Vendor::Amd, 0x1a, 0x02, FAST_STRINGS.union(VECTORS));
const NEWER: Cpu = cpu(Vendor::Amd, 0x1b, 0x02, FAST_STRINGS.union(VECTORS));
const SKYLAKE: Cpu = cpu(Vendor::Intel, 6, 0x55, Features::ERMS.union(REP_GOOD).union(VECTORS));
const ICE_LAKE: Cpu = cpu(Vendor::Intel, 6, 0x6a, FAST_STRINGS.union(VECTORS));
const ALDER_LAKE: Cpu =
    cpu(Vendor::Intel, 6, 0x97, FAST_STRINGS.union(Features::AVX2).union(Features::MOVDIR64B));
const TIGER_LAKE: Cpu = cpu(Vendor::Intel, 6, 0x8c, GRANITE_RAPIDS.features());
const ICE_LAKE_CLIENT: Cpu = cpu(Vendor::Intel, 6, 0x7e, ICE_LAKE.features());
const NOVA_LAKE: Cpu = cpu(Vendor::Intel, 0x12, 0x01, GRANITE_RAPIDS.features());
const GRANITE_RAPIDS: Cpu =
    cpu(Vendor::Intel, 6, 0xad, FAST_STRINGS.union(VECTORS).union(Features::MOVDIR64B));
const NEWER_XEON: Cpu = cpu(Vendor::Intel, 0x13, 0x01, GRANITE_RAPIDS.features());
const NEOVERSE: Cpu =
    cpu(Vendor::Arm, 0x41, 0xd4f, Features::ROW.union(Features::ASIMD).union(Features::MOPS));
const UNKNOWN: Cpu = cpu(Vendor::Other, 6, 1, VECTORS.union(ROW_AND_TSC));
const ALL_FEATURES: Cpu = cpu(Vendor::Amd, 0x1a, 0x02, Features::ALL);
/// CPUs of Intel that are no servers since Ice Lake. Three of them have the features of one.
const NO_SERVERS: [Cpu; 5] = [SKYLAKE, ICE_LAKE_CLIENT, TIGER_LAKE, ALDER_LAKE, NOVA_LAKE];
const X86_64: [Cpu; 12] = [
    ZEN_2,
    ZEN_3,
    ZEN_4,
    ZEN_5,
    NEWER,
    SKYLAKE,
    ICE_LAKE,
    ALDER_LAKE,
    NOVA_LAKE,
    GRANITE_RAPIDS,
    NEWER_XEON,
    UNKNOWN,
];

/// The primitive in a process for a source that is near, and for one that is far.
fn ways(cpu: Cpu, locality: Locality, bytes: usize) -> (Primitive, Primitive) {
    let step = Policy::new(cpu, Registers::Vector).step(locality, bytes);
    (step.near().primitives()[0], step.far().primitives()[0])
}

/// Every built-in row passes the check of a program's own row, with and without a mask.
#[test]
fn built_in_rows_are_valid() {
    for cpu in X86_64.into_iter().chain([NEOVERSE]) {
        for mask in [Features::NONE, Features::AVX512F, VECTORS, Features::ERMS, Features::ROW, Features::TSC]
        {
            let cpu = cpu.without(mask);
            for registers in [Registers::Vector, Registers::GeneralPurpose] {
                let (rows, _) = tuning::measured(&cpu, registers);
                assert!(rows.iter().all(|row| validate(&ALL_FEATURES, registers, row).is_ok()), "{cpu}");
                let row = tuning::general(&cpu, registers);
                let policy =
                    Policy::with_row(cpu, registers, &row).unwrap_or_else(|error| panic!("{cpu}: {error}"));
                for locality in Locality::ALL {
                    let last = policy.bands(*locality).last().map(|(up_to, _)| up_to);
                    assert_eq!(last, Some(usize::MAX), "{cpu}");
                    let probes = policy.bands(*locality).any(|(_, step)| step.is_probe());
                    assert!(!probes || cpu.has(Features::TSC), "{cpu}");
                }
            }
        }
    }
}

#[test]
fn long_copies_use_fast_strings_by_erms_then_rep_good_and_never_by_fsrm() {
    let fsrm_alone = cpu(Vendor::Intel, 6, 0x6a, Features::FSRM);
    let rows = [
        (ZEN_2, RepMovsq),
        (ZEN_3, RepMovsb),
        (ZEN_3.without(Features::ERMS | Features::FSRM), RepMovsq),
        (ZEN_4, RepMovsb),
        (ZEN_5, RepMovsb),
        (NEWER, RepMovsb),
        (SKYLAKE, RepMovsb),
        (GRANITE_RAPIDS, RepMovsb),
        (fsrm_alone, Movq),
        (UNKNOWN, Movq),
    ];
    for (cpu, expected) in rows {
        for registers in [Registers::GeneralPurpose, Registers::Vector] {
            let step = Policy::new(cpu, registers).step(Locality::Temporal, 2 * MIB);
            assert_eq!(step, Step::copy(expected), "{cpu}");
        }
    }
    let zen_2_with_erms = cpu(Vendor::Amd, 0x17, 0x31, FAST_STRINGS.union(Features::AVX2));
    assert_eq!(ways(zen_2_with_erms, Locality::Temporal, MIB).0, RepMovsq, "microcoded there, and slow");
}

#[test]
fn short_copies_use_vectors_where_that_was_best() {
    let rows = [
        (ZEN_2, Avx2),
        (ZEN_3, Avx2),
        (ZEN_4, Avx2),
        (ZEN_4.without(Features::ROW), Avx2),
        (ZEN_5, Avx512),
        (ZEN_5.without(Features::AVX512F), Avx2),
        (ZEN_5.without(VECTORS), RepMovsb),
        (NEWER, Avx512),
        (SKYLAKE, Avx2),
        (ICE_LAKE, RepMovsb),
        (GRANITE_RAPIDS, Avx512),
        (GRANITE_RAPIDS.without(Features::AVX512F), RepMovsb),
        (GRANITE_RAPIDS.without(Features::ROW), RepMovsb),
        (UNKNOWN, Movq),
    ];
    for (cpu, expected) in rows {
        for locality in [Locality::Temporal, Locality::Auto] {
            assert_eq!(ways(cpu, locality, 4 * KIB), (expected, expected), "{cpu} {locality}");
        }
    }
}

#[test]
fn auto_goes_past_the_cache_where_the_source_is_in_memory() {
    for (cpu, bytes, expected) in [
        (ZEN_3, 128 * KIB, (RepMovsb, RepMovsb)),
        (ZEN_3, 256 * KIB, (RepMovsb, Avx2Nt)),
        (ZEN_4, 64 * KIB, (RepMovsb, Avx2Nt)),
        (ZEN_4, 32 * KIB, (RepMovsb, RepMovsb)),
        (ZEN_4.without(Features::ROW), 64 * KIB, (RepMovsb, Avx2Nt)),
        (ZEN_4, 64 * MIB, (RepMovsb, Avx2Nt)),
        (ZEN_5, 16 * KIB, (RepMovsb, RepMovsb)),
        (ZEN_5, 64 * KIB, (RepMovsb, Avx512Nt)),
        (GRANITE_RAPIDS, 256 * KIB, (RepMovsb, RepMovsb)),
        (GRANITE_RAPIDS, 512 * KIB, (RepMovsb, Avx512Nt)),
        (GRANITE_RAPIDS.without(Features::AVX512F), 512 * KIB, (RepMovsb, Avx2Nt)),
        (NEWER_XEON, 512 * KIB, (RepMovsb, Avx512Nt)),
        (ICE_LAKE, 256 * KIB, (RepMovsb, RepMovsb)),
        (ICE_LAKE, 512 * KIB, (RepMovsb, Avx2Nt)),
        (UNKNOWN, MIB, (Movq, Movq)),
    ] {
        assert_eq!(ways(cpu, Locality::Auto, bytes), expected, "{cpu} {bytes}");
    }
    // Others of Intel go past the cache only for copies longer than the last-level cache.
    for cpu in NO_SERVERS {
        assert_eq!(ways(cpu, Locality::Auto, 32 * MIB), (RepMovsb, RepMovsb), "{cpu}");
        assert_eq!(ways(cpu, Locality::Auto, 33 * MIB), (Avx2Nt, Avx2Nt), "{cpu}");
    }
}

#[test]
fn a_newer_cpu_gets_the_newest_row_of_its_vendor() {
    assert_eq!(Policy::new(NEWER, Registers::Vector).source().text(), "measured on Zen 5");
    assert_eq!(Policy::new(NEWER.without(Features::ROW), Registers::Vector).source(), Source::GENERAL);
    assert_eq!(Policy::new(NEWER_XEON, Registers::Vector).source().text(), "measured on Emerald Rapids");
    for without_row in NO_SERVERS.into_iter().chain([ICE_LAKE]) {
        assert_eq!(Policy::new(without_row, Registers::Vector).source(), Source::GENERAL, "{without_row}");
    }
}

#[test]
fn kernels_use_no_vectors() {
    for cpu in X86_64 {
        let policy = Policy::new(cpu, Registers::GeneralPurpose);
        for locality in Locality::ALL {
            for (_, step) in policy.bands(*locality) {
                assert!(step.primitives().iter().all(|one| one.is_kernel()), "{cpu} {step}");
            }
        }
        let has_direct_stores = cpu.has(Features::MOVDIR64B) && policy.source() != Source::GENERAL;
        let past = if has_direct_stores { Movdir64b } else { Movnti };
        assert_eq!(policy.step(Locality::NonTemporal, MIB).primitives()[0], past, "{cpu}");
    }
}

/// The length alone decides, whatever else the CPU has. MOPS is slow on some cores.
#[test]
fn aarch64_goes_past_the_cache_where_the_length_exceeds_it() {
    assert_eq!(ways(NEOVERSE, Locality::Temporal, MIB), (LdpStp, LdpStp));
    assert_eq!(ways(NEOVERSE, Locality::NonTemporal, 4 * KIB), (LdpStnp, LdpStnp));
    assert_eq!(ways(NEOVERSE, Locality::Auto, 32 * MIB), (LdpStp, LdpStp));
    assert_eq!(ways(NEOVERSE, Locality::Auto, 33 * MIB), (LdpStnp, LdpStnp));
    let caches = Caches { l3: 0, ..NEOVERSE.caches() };
    let unknown = Cpu::foreign(Vendor::Other, [0, 0, 0], NEOVERSE.features(), caches);
    assert_eq!(ways(unknown, Locality::Auto, 33 * MIB), (LdpStp, LdpStp));
    assert_eq!(Policy::new(NEOVERSE, Registers::Vector).source(), Source::GENERAL);
    for without_vectors in [
        Policy::new(NEOVERSE, Registers::GeneralPurpose),
        Policy::new(NEOVERSE.without(Features::ASIMD), Registers::Vector),
    ] {
        assert_eq!(without_vectors.step(Locality::NonTemporal, MIB), Step::copy(Portable));
    }
    assert!(Policy::new(NEOVERSE, Registers::Vector).forcing(Mops).is_ok());
}

/// Without a counter a copy longer than the last-level cache counts as far, and any other as near.
#[test]
fn without_a_counter_the_length_decides() {
    let blind = ZEN_5.without(Features::TSC);
    assert_eq!(ways(blind, Locality::Auto, MIB), (RepMovsb, RepMovsb));
    assert_eq!(ways(blind, Locality::Auto, 32 * MIB), (RepMovsb, RepMovsb));
    assert_eq!(ways(blind, Locality::Auto, 32 * MIB + 4096), (Avx2Nt, Avx2Nt));
    let kernel = Policy::new(blind, Registers::GeneralPurpose).step(Locality::Auto, 64 * MIB);
    assert_eq!(kernel, Step::copy(RepMovsb), "a kernel's engine knows no caches");
    let caches = Caches { l3: 0, ..ZEN_5.caches() };
    let unknown = Cpu::foreign(Vendor::Amd, [0x1a, 2, 0], ZEN_5.features().without(Features::TSC), caches);
    assert_eq!(ways(unknown, Locality::Auto, 64 * MIB), (RepMovsb, RepMovsb));
}

/// Each kind of row that no CPU could follow, or that this one could not.
#[test]
fn invalid_rows_are_refused_with_the_reason() {
    extern crate std;
    use std::string::ToString;

    let host = |row: &Row| Policy::with_row(ZEN_4, Registers::Vector, row).map(|_| ());
    let row = |temporal: &[Band]| Row {
        temporal: Bands::of(temporal),
        ..tuning::general(&ZEN_4, Registers::Vector)
    };
    let copy = |by| Band::rest(Step::copy(by));
    assert_eq!(host(&row(&[copy(RepMovsb)])), Ok(()));
    let refused = |row: &Row| host(row).unwrap_err().to_string();
    assert_eq!(
        refused(&row(&[copy(Movnti)])),
        "temporal, band 0: movnti stores past the cache, which this table is not for"
    );
    let first = Step::TimeFirstPage { first: Movnti, rest: RepMovsb, burst: 0 };
    assert!(refused(&row(&[Band::rest(first)])).contains("movnti stores past the cache"));
    assert!(
        refused(&Row { non_temporal: Bands::always(Step::copy(Avx2)), ..row(&[copy(Avx2)]) })
            .starts_with("non_temporal, band 0: avx2 stores through the cache")
    );
    let glance = Step::Glance { near: RepMovsb, far: Avx2, distance: 0 };
    assert!(
        refused(&Row { auto: Bands::always(glance), ..row(&[copy(Avx2)]) }).contains("through the cache")
    );
    let ahead = Step::Copy { by: Avx2, distance: 1024 };
    assert!(refused(&row(&[Band::rest(ahead)])).contains("can't prefetch 1024 bytes ahead"));
    assert!(refused(&row(&[Band::up_to(4096, Step::copy(Avx2))])).contains("must be unlimited"));
    assert!(refused(&row(&[copy(Avx2), copy(Avx2)])).contains("only the last band"));
    assert!(refused(&row(&[Band::up_to(5000, Step::copy(Avx2)), copy(Avx2)])).contains("limit is 5000"));
    let twice = [Band::up_to(8192, Step::copy(Avx2)), Band::up_to(8192, Step::copy(Avx2)), copy(Avx2)];
    assert!(refused(&row(&twice)).contains("more than 8192"));
    assert!(refused(&row(&[copy(Primitive::Movdir64b)])).contains("lacks movdir64b"));
    let blind = ZEN_4.without(Features::TSC);
    let probing = Row {
        auto: Bands::always(Step::Glance { near: RepMovsb, far: Avx2Nt, distance: 0 }),
        ..row(&[copy(Avx2)])
    };
    let reason = Policy::with_row(blind, Registers::Vector, &probing).map(|_| ()).unwrap_err().to_string();
    assert!(reason.starts_with("auto, band 0: it reads the time-stamp counter"), "{reason}");
    let kernel = Policy::with_row(ZEN_4, Registers::GeneralPurpose, &row(&[copy(Avx2)])).map(|_| ());
    let reason = kernel.unwrap_err().to_string();
    assert!(reason.contains("the vector registers of avx2 belong to processes"), "{reason}");
}

#[test]
fn forcing_is_a_row_of_one_band() {
    let forced = Policy::new(ZEN_4, Registers::Vector).forcing(Movq).unwrap();
    for locality in Locality::ALL {
        assert!(forced.bands(*locality).eq([(usize::MAX, Step::copy(Movq))]));
    }
    assert_eq!(forced.source(), Source::FORCED);
    let lacking = Policy::new(ZEN_3, Registers::Vector).forcing(Avx512);
    let error = CopyError::Unavailable { primitive: Avx512, missing: Features::AVX512F };
    assert_eq!(lacking.map(|_| ()), Err(error));
}

#[test]
fn a_named_primitive_takes_the_distance_that_the_table_has_for_it() {
    let kernel = Policy::new(ZEN_5, Registers::GeneralPurpose);
    assert_eq!(kernel.named(Movnti, MIB), Ok(Step::Copy { by: Movnti, distance: 8192 }));
    assert_eq!(kernel.named(RepMovsb, MIB), Ok(Step::copy(RepMovsb)));
}

#[test]
fn a_policy_for_another_cpu_refuses_to_copy() {
    assert_eq!(Policy::new(ZEN_5, Registers::Vector).check_usable(), Err(CopyError::ForeignCpu));
    assert_eq!(Policy::new(Cpu::detect(), Registers::Vector).check_usable(), Ok(()));
}
