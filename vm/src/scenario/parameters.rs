//! The module's parameters, good and bad, at load and at run time.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rustix::io::Errno;

use super::{Ending, Scenario};
use crate::guest::Guest;
use crate::machine::Machine;

pub(super) const PARAMETERS: Scenario = Scenario {
    name: "parameters",
    proves: "good parameters take effect on the next copy, bad ones are refused with a line that says why",
    machine: Machine::ERMS,
    limit: Duration::from_secs(120),
    ending: Ending::Verdict,
    run,
};

/// A parameter, its value, and the value that it reads back.
const GOOD: &[(&str, &str, &str)] = &[
    ("primitive_temporal", "movq", "movq"),
    ("primitive_temporal", "rep_movsq\n", "rep_movsq"),
    ("primitive_nontemporal", "rep_movsb", "rep_movsb"),
    ("chunk_bytes", "4096", "4096"),
    ("chunk_bytes", "0x200000", "2097152"),
    ("nontemporal_nodes", "none", "none"),
    ("nontemporal_nodes", "0,2", "0,2"),
    ("nontemporal_nodes", "0-2", "0-2"),
    ("nontemporal_nodes", "auto", "auto"),
    ("sampling", "1", "Y"),
    ("sampling", "n", "N"),
    ("primitive_temporal", "auto", "auto"),
    ("primitive_nontemporal", "auto", "auto"),
];

/// Longer than the longest list of nodes that is accepted.
const LONG: &str = match std::str::from_utf8(&[b'0'; 300]) {
    Ok(long) => long,
    Err(_) => unreachable!(),
};

/// A parameter, a bad value, and the log's message.
const BAD: &[(&str, &str, &str)] = &[
    (
        "primitive_temporal",
        "memcpy",
        "no primitive `memcpy`; this CPU has auto, rep_movsb, rep_movsq, movq, movnti",
    ),
    ("primitive_temporal", "\n", "no primitive ``"),
    ("primitive_temporal", "avx2", "`avx2` needs what this CPU lacks"),
    ("primitive_nontemporal", "movdir64b", "`movdir64b` needs what this CPU lacks"),
    ("primitive_nontemporal", "portable", "`portable` needs what this CPU lacks"),
    ("chunk_bytes", "0", "`0` is not a positive multiple of 4096"),
    ("chunk_bytes", "4097", "`4097` is not a positive multiple of 4096"),
    ("chunk_bytes", "-4096", "`-4096` is not a positive multiple of 4096"),
    ("chunk_bytes", "18446744073709551616", "`18446744073709551616` is not a positive multiple of 4096"),
    ("chunk_bytes", "much", "`much` is not a positive multiple of 4096"),
    ("nontemporal_nodes", "3", "there is no node 3; online are 0-2"),
    ("nontemporal_nodes", "0,17", "there is no node 17; online are 0-2"),
    ("nontemporal_nodes", "2-0", "`2-0` is not auto, none or a list of nodes"),
    ("nontemporal_nodes", "left", "`left` is not auto, none or a list of nodes"),
    ("nontemporal_nodes", "\n", "`` is not auto, none or a list of nodes"),
    ("nontemporal_nodes", LONG, "is not auto, none or a list of nodes"),
    ("nontemporal_nodes", "99999999", "`99999999` is not auto, none or a list of nodes"),
];

/// A parameter, a table, and the table that it reads back.
const TABLES: &[(&str, &str, &str)] = &[
    ("table_temporal", "8K:rep_movsb,32768:rep_movsq@0,movq", "8K:rep_movsb,32K:rep_movsq,movq"),
    (
        "table_nontemporal",
        "60K:movnti@1024,1M:movnti,movnti@4096",
        "60K:movnti@1024,1024K:movnti,movnti@4096",
    ),
    ("table_sampling", "252K:movq,glance:movq:movnti@1K", "252K:movq,glance:movq:movnti@1024"),
];

/// A parameter, a bad table, and the log's message.
const BAD_TABLES: &[(&str, &str, &str)] = &[
    ("table_temporal", "memcpy", "`memcpy`, band 1: there is no such primitive"),
    ("table_temporal", "4K:movq,peek:movq:movq,movq", "band 2: a step is PRIMITIVE@DISTANCE"),
    ("table_temporal", "4Q:movq,movq", "band 1: a length or a distance is a number of bytes"),
    ("table_temporal", "4096:movq", "band 1: the last band has no length"),
    ("table_temporal", "movq,movq", "band 1: only the last band has no length"),
    ("table_temporal", "5000:movq,movq", "band 1: a length is a positive multiple of 4096"),
    ("table_temporal", "8K:movq,8K:movq,movq", "band 2: a length is above that of the band before"),
    (
        "table_temporal",
        "movq,movq,movq,movq,movq,movq,movq,movq,movq",
        "band 9: a table has eight bands at most",
    ),
    ("table_temporal", "movnti", "band 1: a loop past the cache in a table for copies through it"),
    ("table_temporal", "avx2", "band 1: it needs vector registers"),
    ("table_temporal", "rep_movsb@64", "band 1: a loop past the cache prefetches a multiple of 64"),
    ("table_nontemporal", "movq", "band 1: a loop through the cache in a table for copies past it"),
    ("table_nontemporal", "movdir64b", "band 1: this CPU lacks what the primitive needs"),
    (
        "table_nontemporal",
        "4K:movnti,movnti@100",
        "band 2: a loop past the cache prefetches a multiple of 64",
    ),
];

fn run(guest: &Guest) -> Result<()> {
    let module = guest.load("foliocopy", "")?;
    let file = |name: &str| format!("/sys/module/foliocopy/parameters/{name}");
    for (name, value, reads) in GOOD {
        guest.write(file(name), value)?;
        let back = guest.read(file(name))?;
        ensure!(back == *reads, "{name}={value:?} reads back as {back:?}, not {reads:?}");
    }
    for (name, value, reason) in BAD {
        let before = guest.read(file(name))?;
        let logged = guest.log_of(|| match guest.write(file(name), value) {
            Ok(()) => bail!("{name}={value:?} was accepted"),
            Err(error) => is_invalid(&error),
        })?;
        ensure!(logged.contains(reason), "{name}={value:?} was refused with {logged:?}, without {reason:?}");
        let after = guest.read(file(name))?;
        ensure!(after == before, "{name}={value:?} was refused, but it is now {after:?}, and was {before:?}");
    }

    // The parameters decide which primitive copies, to a listed node and to another, against the policy too.
    guest.write(file("nontemporal_nodes"), "0")?;
    copies(guest, 0, "movnti")?;
    copies(guest, 2, "rep_movsb")?;
    guest.write(file("nontemporal_nodes"), "none")?;
    copies(guest, 0, "rep_movsb")?;
    guest.write(file("primitive_temporal"), "movq")?;
    copies(guest, 2, "movq")?;
    guest.write(file("nontemporal_nodes"), "auto")?;
    guest.write(file("primitive_nontemporal"), "rep_movsq")?;
    copies(guest, 2, "rep_movsq")?;
    copies(guest, 1, "movq")?;
    module.unload()?;

    // The parameters as arguments of the load.
    let module =
        guest.load("foliocopy", "primitive_temporal=rep_movsq nontemporal_nodes=1 chunk_bytes=65536")?;
    copies(guest, 0, "rep_movsq")?;
    copies(guest, 1, "movnti")?;
    module.unload()?;
    for (name, value, reason) in BAD.iter().filter(|(_, value, _)| *value != "\n") {
        let logged = guest.log_of(|| match guest.load("foliocopy", &format!("{name}={value}")) {
            Ok(_) => bail!("loaded with {name}={value}"),
            Err(error) => is_invalid(&error),
        })?;
        ensure!(logged.contains(reason), "loading with {name}={value} was refused with {logged:?}");
    }

    // Tables are read only at load, and read back as the tables in force. A primitive overrides them.
    let parameters = |tables: &[(&str, &str, &str)]| {
        tables.iter().map(|(name, table, _)| format!("{name}={table} ")).collect::<String>()
    };
    let module = guest.load("foliocopy", &parameters(TABLES))?;
    for (name, table, reads) in TABLES {
        let back = guest.read(file(name))?;
        ensure!(back == *reads, "{name}={table} reads back as {back:?}");
    }
    copies(guest, 0, "rep_movsq")?;
    guest.write(file("primitive_temporal"), "rep_movsb")?;
    copies(guest, 0, "rep_movsb")?;
    module.unload()?;
    for (name, table, reason) in BAD_TABLES {
        let logged = guest.log_of(|| match guest.load("foliocopy", &format!("{name}={table}")) {
            Ok(_) => bail!("loaded with {name}={table}"),
            Err(error) => is_invalid(&error),
        })?;
        ensure!(logged.contains(reason), "{name}={table} was refused with {logged:?}, without {reason:?}");
    }
    // The built-in tables can be given as parameters.
    let module = guest.load("foliocopy", "")?;
    let built_in: Vec<_> =
        TABLES.iter().map(|(name, ..)| Ok((*name, guest.read(file(name))?))).collect::<Result<_>>()?;
    module.unload()?;
    let built_in: Vec<_> =
        built_in.iter().map(|(name, table)| (*name, table.as_str(), table.as_str())).collect();
    let module = guest.load("foliocopy", &parameters(&built_in))?;
    for (name, table, _) in &built_in {
        ensure!(guest.read(file(name))? == *table, "{name}: the built-in table reads back otherwise");
    }
    module.unload()?;

    // Without its CPUs a node is a slower tier: copies to it go past the cache.
    let module = guest.load("foliocopy", "")?;
    copies(guest, 1, "rep_movsb")?;
    guest.write("/sys/devices/system/cpu/cpu1/online", "0")?;
    copies(guest, 1, "movnti")?;
    guest.write("/sys/devices/system/cpu/cpu1/online", "1")?;
    copies(guest, 1, "rep_movsb")?;
    module.unload()
}

/// Checks that the error is `EINVAL`.
fn is_invalid(error: &anyhow::Error) -> Result<()> {
    let written = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    let loaded = error.downcast_ref::<Errno>().map(|errno| errno.raw_os_error());
    ensure!(written.or(loaded) == Some(libc::EINVAL), "refused otherwise than with EINVAL: {error:#}");
    Ok(())
}

/// Copies folios to a node, which must be by that primitive and no other.
fn copies(guest: &Guest, node: usize, primitive: &str) -> Result<()> {
    for (contender, path) in [("foliocopy", "plain"), ("foliocopy-mc", "machine-check-safe")] {
        let before = guest.folios_copied(path, primitive)?;
        guest.benchmark(&format!("contenders={contender} order=2 dst_node={node}"))?;
        let copied = guest.folios_copied(path, primitive)? - before;
        // One copy verifies, one warms up, and one is timed.
        ensure!(copied == 3, "{copied} of 3 folios to node {node} were copied by {primitive} ({path})");
    }
    Ok(())
}
