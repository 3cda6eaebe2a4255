//! The debugfs files with random and wrong input.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Ending, Scenario};
use crate::guest::{DEBUGFS, Guest};
use crate::machine::Machine;

pub(super) const GARBAGE: Scenario = Scenario {
    name: "garbage",
    proves: "100,000 random writes to the benchmark are refused or served, and each refusal says why",
    machine: Machine::ERMS,
    limit: Duration::from_secs(180),
    ending: Ending::Verdict,
    run,
};

/// Requests that must be refused, each with a part of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("\n", "no contenders"),
    ("order=0", "no contenders"),
    ("contenders=memcpy", "no contender memcpy"),
    ("contenders=", "empty or too long"),
    ("contenders=page:", "no contender page:"),
    ("contenders=movdir64b", "no contender movdir64b"),
    ("contenders=avx2", "no contender avx2"),
    ("contenders=a\"b\\c", "no contender a/b/c"),
    ("contenders=rep_movsb order=11", "order is not a number from 0 to 10"),
    ("contenders=rep_movsb order=-1", "order is not a number from 0 to 10"),
    ("contenders=rep_movsb folios=0", "folios is not a number from 1"),
    ("contenders=rep_movsb src_node=3", "node 3 has no memory"),
    ("contenders=rep_movsb dst_node=99999", "dst_node is not a number"),
    ("contenders=rep_movsb rounds=0", "rounds is not a number from 1"),
    ("contenders=rep_movsb order=10 folios=1000", "half of what is available"),
    ("contenders=rep_movsb each=2", "each is not a number from 0 to 1"),
    ("contenders=rep_movsb evict_each=1", "evict_each=1 goes with evict=BYTES"),
    ("contenders=rep_movsb times=1 passes=1000000 folios=2", "up to 1048576 copies"),
    ("contenders=rep_movsb warmup=many", "warmup is not a number from 0"),
    ("contenders=rep_movsb colour=green", "an unknown key"),
    ("contenders=rep_movsb green", "key=value"),
];

fn run(guest: &Guest) -> Result<()> {
    let module = guest.load("foliocopy", "")?;
    for (request, reason) in REFUSED {
        let refusal = guest.benchmark(request).err().map(|error| format!("{error:#}"));
        let why = refusal.as_deref().unwrap_or("accepted");
        ensure!(why.contains(reason), "{request:?}: {why}, not {reason:?}");
    }

    let path = format!("{DEBUGFS}/benchmark");
    let mut random = 0x0123_4567_89ab_cdef_u64;
    let mut next = move || {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let words = [
        "contenders=",
        "rep_movsb",
        "page:",
        "-mc",
        ",",
        " ",
        "=",
        "order=",
        "folios=",
        "rounds=",
        "seed=",
        "src_node=",
        "dst_node=",
        "evict=",
        "each=",
        "evict_each=",
        "times=",
        "warmup=",
        "0",
        "1",
        "2",
        "18446744073709551615",
        "-1",
        "0x",
        "foliocopy",
        "\n",
        "\"",
    ];
    let mut refused = 0;
    let mut answer = [0; 8192];
    for _ in 0..1000 {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        for _ in 0..100 {
            let mut request = Vec::new();
            for _ in 0..next() % 12 {
                if next() % 4 == 0 {
                    request.extend_from_slice(&next().to_le_bytes());
                } else {
                    request.extend_from_slice(words[next() as usize % words.len()].as_bytes());
                }
            }
            refused += u32::from(file.write_all(&request).is_err());
        }
        // A random request may be valid: then read one round.
        let _ = file.read(&mut answer)?;
    }
    ensure!(refused > 90_000, "only {refused} of 100,000 random writes were refused");

    // Only one process may open it.
    let first = OpenOptions::new().read(true).write(true).open(&path)?;
    let second = OpenOptions::new().read(true).write(true).open(&path);
    ensure!(second.is_err_and(|error| error.raw_os_error() == Some(16)), "a second opening was not -EBUSY");
    drop(first);
    let lines = guest.benchmark("contenders=rep_movsb,page:rep_movsq-mc order=1 rounds=3")?;
    ensure!(lines.len() == 6, "the benchmark no longer works: {lines:?}");
    module.unload()
}
