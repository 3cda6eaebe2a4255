//! The running kernel's exception tables: the instructions that may fault, as `/proc/kcore` shows them.

use std::fs;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, elf};

use crate::guest::Guest;

/// The bytes of an entry: three 32-bit numbers, the first of which is the distance from itself to the instruction.
const ENTRY: usize = 12;

/// The byte of an entry that holds its type.
const KIND: usize = 8;

/// `EX_TYPE_DEFAULT_MCE_SAFE` and `EX_TYPE_FAULT_MCE_SAFE` (arch/x86/include/asm/extable_fixup_types.h).
const MCE_SAFE: [u8; 2] = [14, 15];

/// The instructions in the table of a loaded module. `file` is the module's file.
pub fn of_module(guest: &Guest, name: &str, file: &str) -> Result<Vec<u64>> {
    let start = guest.read(format!("/sys/module/{name}/sections/__ex_table"))?;
    let start = u64::from_str_radix(start.trim_start_matches("0x"), 16)?;
    let contents = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let section =
        object::File::parse(&*contents)?.section_by_name("__ex_table").map(|section| section.size());
    let bytes = section.with_context(|| format!("{file} has no exception table"))? as usize;
    Ok(entries(start, bytes)?.into_iter().map(|(instruction, _)| instruction).collect())
}

/// The instructions of the kernel's function of that name whose entries survive a machine check.
pub fn of_function(guest: &Guest, name: &str) -> Result<Vec<u64>> {
    let symbols = guest.read("/proc/kallsyms")?;
    let function = extent(&symbols, name)?;
    let (start, stop) = (symbol(&symbols, "__start___ex_table")?, symbol(&symbols, "__stop___ex_table")?);
    let mut found = entries(start, (stop - start) as usize)?;
    found.retain(|(instruction, kind)| function.contains(instruction) && MCE_SAFE.contains(kind));
    let found: Vec<u64> = found.into_iter().map(|(instruction, _)| instruction).collect();
    ensure!(!found.is_empty(), "{name}() has no entry in the kernel's exception table");
    Ok(found)
}

/// The machine code of the kernel's own function of that name, after patching.
pub fn code_of_function(guest: &Guest, name: &str) -> Result<Vec<u8>> {
    let function = extent(&guest.read("/proc/kallsyms")?, name)?;
    let mut code = vec![0; usize::try_from(function.end - function.start)?];
    read_kernel(function.start, &mut code)?;
    Ok(code)
}

/// The addresses of a function: up to the next symbol.
fn extent(symbols: &str, name: &str) -> Result<Range<u64>> {
    let start = symbol(symbols, name)?;
    let after = addresses(symbols).map(|(address, _)| address).filter(|address| *address > start);
    Ok(start..after.min().context("the kernel ends with a function")?)
}

/// The address at which the kernel maps all memory: `page_offset_base`, which changes at each boot.
pub fn direct_map(guest: &Guest) -> Result<u64> {
    let base = symbol(&guest.read("/proc/kallsyms")?, "page_offset_base")?;
    let mut bytes = [0; 8];
    read_kernel(base, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The instructions of a table and the types of their entries.
fn entries(start: u64, bytes: usize) -> Result<Vec<(u64, u8)>> {
    let mut table = vec![0; bytes];
    read_kernel(start, &mut table)?;
    let read = |(index, entry): (usize, &[u8; ENTRY])| {
        let distance = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        ((start + (index * ENTRY) as u64).wrapping_add_signed(distance.into()), entry[KIND])
    };
    let (entries, []) = table.as_chunks() else { anyhow::bail!("{bytes} bytes are no exception table") };
    Ok(entries.iter().enumerate().map(read).collect())
}

/// Reads the kernel's memory.
fn read_kernel(address: u64, bytes: &mut [u8]) -> Result<()> {
    let kcore = File::open("/proc/kcore")?;
    // The headers: one for the file, and a few dozen for the program.
    let mut start = [0; 4096];
    let length = kcore.read_at(&mut start, 0)?;
    let header = elf::FileHeader64::<LittleEndian>::parse(&start[..length])?;
    let segments = header.program_headers(LittleEndian, &start[..length])?;
    let offset = segments.iter().find_map(|segment| {
        let into = address.checked_sub(segment.p_vaddr(LittleEndian))?;
        let holds = into + bytes.len() as u64 <= segment.p_memsz(LittleEndian);
        holds.then(|| segment.p_offset(LittleEndian) + into)
    });
    let offset = offset.with_context(|| format!("/proc/kcore does not show {address:#x}"))?;
    kcore
        .read_exact_at(bytes, offset)
        .with_context(|| format!("cannot read the kernel's memory at {address:#x}"))
}

fn symbol(symbols: &str, name: &str) -> Result<u64> {
    let found = addresses(symbols).find(|(_, other)| *other == name);
    Ok(found.with_context(|| format!("the kernel has no symbol {name}"))?.0)
}

/// Address and name of each line of `/proc/kallsyms`.
fn addresses(symbols: &str) -> impl Iterator<Item = (u64, &str)> {
    symbols.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((address, words.nth(1)?))
    })
}
