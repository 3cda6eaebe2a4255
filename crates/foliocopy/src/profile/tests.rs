use super::*;
use crate::cpu::Caches;
use crate::locality::Residence;

const ZEN_3: Cpu = Cpu {
    vendor: Vendor::Amd,
    family: 0x19,
    model: 1,
    stepping: 1,
    features: DECISIVE.without(Features::AVX512F).without(Features::MOVDIR64B),
    caches: Caches { l1d: 32 << 10, l2: 512 << 10, l3: 32 << 20 },
};

fn profile() -> Profile {
    Profile {
        version: PROFILE_VERSION,
        program: "foliocopy 0.1.0".into(),
        measured: "2026-11-23T09:00:00Z".into(),
        cpu: ProfiledCpu {
            vendor: "AMD".into(),
            family: 0x19,
            model: 1,
            stepping: 1,
            features: ZEN_3.features,
            model_name: "AMD EPYC 7713".into(),
            microcode: Some("0xa0011d5".into()),
        },
        process: Decisions {
            temporal: Primitive::RepMovsq,
            page: Primitive::Avx2,
            page_up_to: 4 << 10,
            in_l1: Some(Primitive::Avx2),
            in_l1_up_to: 8 << 10,
            prefetch_up_to: 8 << 10,
            non_temporal: Primitive::Movnti,
            prefetch_distance: 512,
            long_prefetch_distance: None,
            no_prefetch_from: Some(2 << 20),
            non_temporal_from: Some(128 << 10),
        },
        kernel: Decisions {
            temporal: Primitive::RepMovsb,
            page: Primitive::RepMovsb,
            page_up_to: 4 << 10,
            in_l1: None,
            in_l1_up_to: 0,
            prefetch_up_to: 0,
            non_temporal: Primitive::Movnti,
            prefetch_distance: 1024,
            long_prefetch_distance: None,
            no_prefetch_from: None,
            non_temporal_from: None,
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

/// The reason for which the text of the profile is refused, changed in one place.
fn refused(what: &str, by: &str) -> String {
    let text = profile().to_string();
    assert!(text.contains(what), "`{what}` is not in\n{text}");
    text.replacen(what, by, 1).parse::<Profile>().expect_err("must be refused").to_string()
}

/// The reason for which a CPU refuses it.
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
    let policy = policy(ZEN_3).with_profile(&profile()).unwrap();
    let chosen = policy.choose(Locality::NonTemporal, 1 << 20);
    assert_eq!((chosen.primitive, chosen.prefetch_distance), (Primitive::Movnti, 512));
    assert_eq!(chosen.reason(), "a profile of this CPU says so");
    assert_eq!(policy.choose(Locality::Auto, 1 << 14).primitive, Primitive::RepMovsq);
    let in_memory = |bytes| policy.choose_seen(Locality::Auto, bytes, Residence::Memory).primitive;
    assert_eq!((in_memory(128 << 10), in_memory(124 << 10)), (Primitive::Movnti, Primitive::RepMovsq));
    assert_eq!(
        policy.explain(Locality::Temporal, 4096).to_string(),
        "avx2, since a profile of this CPU says so"
    );
    let kernel = Policy::new(ZEN_3, Registers::GeneralPurpose).with_profile(&profile()).unwrap();
    assert_eq!(kernel.choose(Locality::Auto, 4096).primitive, Primitive::RepMovsb);
    assert!(!kernel.looks(1 << 30));
}

#[test]
fn another_cpu_refuses_it() {
    for cpu in [
        Cpu { vendor: Vendor::Hygon, ..ZEN_3 },
        Cpu { family: 0x1a, ..ZEN_3 },
        Cpu { model: 0x11, ..ZEN_3 },
        Cpu { stepping: 2, ..ZEN_3 },
    ] {
        let reason = refused_by(cpu);
        assert!(reason.contains("another CPU, AMD family 0x19 model 0x1 stepping 1; this is "), "{reason}");
        assert!(reason.contains(&cpu.to_string()) && reason.contains("foliocopy tune"), "{reason}");
    }
    let reason = refused_by(Cpu { vendor: Vendor::Other, ..ZEN_3 });
    assert!(reason.contains("vendor is unknown"), "{reason}");
}

#[test]
fn a_cpu_that_lacks_what_decided_refuses_it() {
    for missing in [Features::AVX2, Features::ERMS, Features::FSRM | Features::REP_GOOD] {
        let reason = refused_by(ZEN_3.without(missing));
        assert!(reason.contains(&std::format!("measured with {missing}, which this CPU lacks")), "{reason}");
    }
    let more = Cpu { features: ZEN_3.features | Features::TSC | Features::AVX512F, ..ZEN_3 };
    assert!(policy(more).with_profile(&profile()).is_ok(), "more does no harm");
    let mut virtual_machine = profile();
    virtual_machine.cpu.features = ZEN_3.features | Features::HYPERVISOR | Features::TSC;
    assert!(policy(ZEN_3).with_profile(&virtual_machine).is_ok(), "nor a hypervisor less");
}

/// Who changes a profile by hand may name what was never there.
#[test]
fn a_primitive_that_the_cpu_lacks_is_refused() {
    let mut profile = profile();
    profile.process.non_temporal = Primitive::Avx512Nt;
    let reason = policy(ZEN_3).with_profile(&profile).unwrap_err().to_string();
    assert!(reason.contains("avx512f, which this CPU lacks"), "{reason}");
}

#[test]
fn unknown_fields_and_names_are_refused() {
    let reason = refused("[process]", "[process]\nspeed = 11");
    assert!(reason.contains("line ") && reason.contains("unknown field `speed`"), "{reason}");
    let reason = refused("program = ", "colour = \"red\"\nprogram = ");
    assert!(reason.contains("line 2: unknown field `colour`"), "{reason}");
    let reason = refused("temporal = \"rep_movsq\"", "temporal = \"memcpy\"");
    assert!(reason.contains("unknown primitive; known are rep_movsb"), "{reason}");
    let reason = refused("\"erms\"", "\"sse9\"");
    assert!(reason.contains("unknown CPU feature; known are erms"), "{reason}");
}

#[test]
fn damaged_ones_are_refused() {
    let text = profile().to_string();
    for (end, _) in text.char_indices() {
        if let Ok(short) = text[..end].parse::<Profile>() {
            // What is cut off is evidence, or a line's end.
            assert_eq!((short.process, short.kernel), (profile().process, profile().kernel), "cut at {end}");
        }
    }
    assert!(refused("version = 1", "version = 1 1").contains("the profile is damaged: line 1: "));
    assert!(refused("page = \"avx2\"\n", "").contains("missing field `page`"));
    assert!(refused("family = 25", "family = -1").contains("damaged: line "));
    assert!("".parse::<Profile>().unwrap_err().to_string().contains("missing field `version`"));
}

#[test]
fn another_version_says_so_before_its_fields() {
    let reason = refused("version = 1\n", "version = 2\nshape = \"round\"\n");
    assert!(reason.contains("has version 2, and this program reads version 1"), "{reason}");
}

#[test]
fn decisions_that_make_no_sense_are_refused() {
    for (what, by, expected) in [
        (
            "temporal = \"rep_movsq\"",
            "temporal = \"movnti\"",
            "process.temporal is movnti, which stores past",
        ),
        ("in_l1 = \"avx2\"", "in_l1 = \"avx2_nt\"", "process.in_l1 is avx2_nt"),
        (
            "non_temporal = \"movnti\"",
            "non_temporal = \"avx2\"",
            "process.non_temporal is avx2, which stores through",
        ),
        ("prefetch_distance = 512", "prefetch_distance = 500", "prefetch_distance is 500: a multiple of 64"),
        ("prefetch_distance = 512", "prefetch_distance = 1048576", "65536 at most"),
        ("in_l1_up_to = 8192", "in_l1_up_to = 8000", "in_l1_up_to is 8000: a multiple of 4096"),
        ("in_l1_up_to = 8192", "in_l1_up_to = 0", "in_l1 needs an in_l1_up_to"),
        ("page_up_to = 4096", "page_up_to = 0", "page_up_to is 0: a page at least"),
        ("page_up_to = 4096", "page_up_to = 6000", "page_up_to is 6000: a multiple of 4096"),
        ("prefetch_up_to = 8192", "prefetch_up_to = 100", "prefetch_up_to is 100: a multiple of 4096"),
        ("prefetch_up_to = 8192", "prefetch_up_to = 12288", "prefetch_up_to is 12288, and in_l1_up_to 8192"),
        (
            "no_prefetch_from = 2097152",
            "no_prefetch_from = 2097153",
            "no_prefetch_from is 2097153: a multiple of 4096",
        ),
        ("non_temporal_from = 131072", "non_temporal_from = 131073", "non_temporal_from is 131073"),
        ("page = \"rep_movsb\"", "page = \"avx2\"", "kernel.page is avx2: its vector registers"),
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
