use super::*;
use crate::cpu::Caches;
use crate::primitive::Primitive::{Avx2, Avx512Nt, Movnti, RepMovsb, RepMovsq};
use crate::step::{Band, Bands, Limit, Step};

const FEATURES: Features =
    DECISIVE.without(Features::AVX512F).without(Features::MOVDIR64B).union(Features::TSC);

fn cpu(vendor: Vendor, signature: [u32; 3], features: Features) -> Cpu {
    Cpu::foreign(vendor, signature, features, Caches { l1d: 32 << 10, l2: 512 << 10, l3: 32 << 20 })
}

fn zen_3() -> Cpu {
    cpu(Vendor::Amd, [0x19, 1, 1], FEATURES)
}

fn profile() -> Profile {
    let glance = Step::Glance { near: RepMovsq, far: Movnti, distance: 512 };
    Profile {
        version: PROFILE_VERSION,
        program: "foliocopy 0.1.0".into(),
        measured: "2026-11-23T09:00:00Z".into(),
        cpu: ProfiledCpu {
            vendor: "AMD".into(),
            family: 0x19,
            model: 1,
            stepping: 1,
            features: FEATURES,
            model_name: "AMD EPYC 7713".into(),
            microcode: Some("0xa0011d5".into()),
        },
        process: Row {
            temporal: Bands::of(&[
                Band::up_to(4096, Step::copy(Avx2)),
                Band::up_to(8192, Step::TimeFirstPage { first: Avx2, rest: RepMovsq, burst: 8192 }),
                Band::rest(Step::copy(RepMovsq)),
            ]),
            non_temporal: Bands::always(Step::Copy { by: Movnti, distance: 512 }),
            auto: Bands::of(&[
                Band::up_to(124 << 10, Step::copy(RepMovsq)),
                Band { up_to: Limit::LastLevelCache, step: glance },
                Band::rest(Step::copy(Movnti)),
            ]),
        },
        kernel: Row {
            temporal: Bands::always(Step::copy(RepMovsb)),
            non_temporal: Bands::always(Step::Copy { by: Movnti, distance: 1024 }),
            auto: Bands::always(Step::copy(RepMovsb)),
        },
        gains: vec![Gain {
            locality: Locality::NonTemporal,
            cache: "cold".into(),
            bytes: 64 << 10,
            ratio: [1.03, 1.01, 1.05],
        }],
        evidence: vec![Evidence {
            decision: "process.non_temporal".into(),
            cache: "cold".into(),
            bytes: 64 << 10,
            with_read: false,
            rounds: 41,
            baseline: "avx2_nt, 1024 ahead".into(),
            ratios: BTreeMap::from([("movnti, 512 ahead".into(), [1.03, 1.01, 1.05])]),
        }],
    }
}

fn policy(cpu: Cpu) -> Policy {
    Policy::new(cpu, Registers::Vector)
}

/// The reason why the profile is refused after one change of its text.
fn refused(what: &str, by: &str) -> String {
    let text = profile().to_string();
    assert!(text.contains(what), "`{what}` is not in\n{text}");
    text.replacen(what, by, 1).parse::<Profile>().expect_err("must be refused").to_string()
}

/// The reason why a profile is refused on a CPU.
fn refused_by(cpu: Cpu) -> String {
    policy(cpu).with_profile(&profile()).expect_err("must be refused").to_string()
}

#[test]
fn what_is_written_reads_back() {
    let written = profile();
    assert_eq!(written.to_string().parse(), Ok(written));
}

#[test]
fn a_policy_decides_by_it() {
    let policy = policy(zen_3()).with_profile(&profile()).unwrap();
    assert_eq!(policy.step(Locality::NonTemporal, 1 << 20), Step::Copy { by: Movnti, distance: 512 });
    assert_eq!(policy.step(Locality::Auto, 124 << 10), Step::copy(RepMovsq));
    assert_eq!(policy.step(Locality::Auto, 32 << 20).far(), Step::Copy { by: Movnti, distance: 512 });
    assert_eq!(policy.step(Locality::Auto, 33 << 20), Step::copy(Movnti));
    assert_eq!(policy.explain(Locality::Temporal, 4096).to_string(), "avx2 (a profile of this CPU)");
    let kernel = Policy::new(zen_3(), Registers::GeneralPurpose).with_profile(&profile()).unwrap();
    assert_eq!(kernel.step(Locality::Auto, 1 << 30), Step::copy(RepMovsb));
}

#[test]
fn another_cpu_refuses_it() {
    for other in [
        cpu(Vendor::Hygon, [0x19, 1, 1], FEATURES),
        cpu(Vendor::Amd, [0x1a, 1, 1], FEATURES),
        cpu(Vendor::Amd, [0x19, 0x11, 1], FEATURES),
        cpu(Vendor::Amd, [0x19, 1, 2], FEATURES),
    ] {
        let reason = refused_by(other);
        assert!(reason.contains("another CPU, AMD family 0x19 model 0x1 stepping 1; this is "), "{reason}");
        assert!(reason.contains(&other.to_string()) && reason.contains("foliocopy tune"), "{reason}");
    }
    let reason = refused_by(cpu(Vendor::Other, [0x19, 1, 1], FEATURES));
    assert!(reason.contains("vendor is unknown"), "{reason}");
}

#[test]
fn a_cpu_that_lacks_what_decided_refuses_it() {
    for missing in [Features::AVX2, Features::ERMS, Features::FSRM | Features::REP_GOOD] {
        let reason = refused_by(zen_3().without(missing));
        assert!(reason.contains(&std::format!("measured with {missing}, which this CPU lacks")), "{reason}");
    }
    let more = cpu(Vendor::Amd, [0x19, 1, 1], FEATURES | Features::AVX512F);
    assert!(policy(more).with_profile(&profile()).is_ok(), "more does no harm");
    let mut virtual_machine = profile();
    virtual_machine.cpu.features = FEATURES | Features::HYPERVISOR;
    assert!(policy(zen_3()).with_profile(&virtual_machine).is_ok(), "nor a hypervisor less");
}

/// A profile that was changed by hand may name a primitive that the CPU never had.
#[test]
fn a_primitive_that_the_cpu_lacks_is_refused() {
    let mut profile = profile();
    profile.process.non_temporal = Bands::always(Step::copy(Avx512Nt));
    let reason = policy(zen_3()).with_profile(&profile).unwrap_err().to_string();
    assert!(reason.contains("avx512f, which this CPU lacks"), "{reason}");
}

#[test]
fn unknown_fields_and_names_are_refused() {
    let reason = refused("program = ", "colour = \"red\"\nprogram = ");
    assert!(reason.contains("line 2: unknown field `colour`"), "{reason}");
    let reason = refused("\"rep_movsq\"", "\"memcpy\"");
    assert!(reason.contains("unknown primitive; known are rep_movsb"), "{reason}");
    let reason = refused("\"erms\"", "\"sse9\"");
    assert!(reason.contains("unknown CPU feature; known are erms"), "{reason}");
    let reason = refused("first = \"avx2\"", "first = \"avx2\"\nspeed = 11");
    assert!(reason.contains("line ") && reason.contains("unexpected keys in table: speed"), "{reason}");
}

#[test]
fn damaged_ones_are_refused() {
    let text = profile().to_string();
    for (end, _) in text.char_indices() {
        if let Ok(short) = text[..end].parse::<Profile>() {
            // The part that is cut off is evidence, or the end of a line.
            assert_eq!((short.process, short.kernel), (profile().process, profile().kernel), "cut at {end}");
        }
    }
    assert!(refused("version = 2", "version = 2 2").contains("the profile is damaged: line 1: "));
    assert!(refused("family = 25", "family = -1").contains("damaged: line "));
    assert!("".parse::<Profile>().unwrap_err().to_string().contains("missing field `version`"));
}

#[test]
fn another_version_says_so_before_its_fields() {
    let reason = refused("version = 2\n", "version = 1\nshape = \"round\"\n");
    assert!(reason.contains("has version 1, and this program reads version 2: measure anew"), "{reason}");
}

#[test]
fn rows_that_make_no_sense_are_refused() {
    for (what, by, expected) in [
        ("first = \"avx2\"", "first = \"movnti\"", "process.temporal, band 1: movnti stores past the cache"),
        ("distance = 512", "distance = 500", "can't prefetch 500 bytes ahead"),
        ("up_to = 8192", "up_to = 8000", "process.temporal, band 1: its limit is 8000"),
        ("up_to = 8192", "up_to = 4096", "more than 4096"),
        ("by = \"rep_movsb\"", "by = \"avx2\"", "kernel.temporal, band 0: the vector registers of avx2"),
    ] {
        let reason = refused(what, by);
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_file_is_named() {
    let reason = Profile::read(Path::new("/nonexistent/profile.toml")).unwrap_err().to_string();
    assert!(
        reason.starts_with("the profile `/nonexistent/profile.toml` can't be read: No such file"),
        "{reason}"
    );
}

#[test]
fn only_a_file_is_read() {
    for (file, reason) in [("/dev/zero", "it is no regular file"), ("/tmp", "it is no regular file")] {
        let refused = Profile::read(Path::new(file)).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}
