//! Writes the memory of a guest to a sparse file, past pages that are lost, and writes it back.
//!
//! The memory is the file behind it: `/proc/PID/fd/N` of a memfd, a file in `/dev/shm` or on hugetlbfs. The snapshot is the
//! image of that memory, byte for byte, with holes for zeros. Lost pages are zeros too, and are listed on standard output.
//!
//! ```console
//! $ snapshot save /proc/4711/fd/12 guest.img
//! $ snapshot restore guest.img /proc/4712/fd/12
//! ```

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::ExitCode;

use foliocopy::{ByteRange, ByteRangeMut, PAGE_SIZE, copy_mc_bytes, copy_mc_skipping};
use mapping::Mapping;

#[path = "mapping/mod.rs"]
mod mapping;

const USAGE: &str = "snapshot save MEMORY SNAPSHOT [BYTES]\nsnapshot restore SNAPSHOT MEMORY\n\n\
    MEMORY is the file behind a guest's memory, such as /proc/PID/fd/N of a memfd. BYTES is how much memory the guest has, where \
    that is more than the file has: a file that was cut short.\n\
    The exit status is 0 for a whole snapshot, 3 where pages are lost, and 1 for an error.";

/// How much is copied at once: a huge page.
const STEP: usize = 2 << 20;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let answer = match words[..] {
        ["save", memory, snapshot] => save(memory, snapshot, None),
        ["save", memory, snapshot, bytes] => bytes
            .parse()
            .map_err(|_| format!("{bytes} is no number of bytes").into())
            .and_then(|bytes| save(memory, snapshot, Some(bytes))),
        ["restore", snapshot, memory] => restore(snapshot, memory),
        _ => Err(USAGE.into()),
    };
    match answer {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(3),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Saves the memory, and answers how many bytes of it are lost.
fn save(memory: &str, snapshot: &str, bytes: Option<usize>) -> Result<usize, Box<dyn Error>> {
    let file = File::open(memory).map_err(|error| format!("{memory}: {error}"))?;
    let bytes = bytes.map_or_else(|| length(&file), Ok)?;
    let mapping = Mapping::of(&file, bytes, libc::PROT_READ).map_err(|error| format!("{memory}: {error}"))?;
    // SAFETY: mapped as long as the range is used. Poison, and whoever cuts the file, make reads raise SIGBUS.
    let source = unsafe { ByteRange::new(mapping.start(), bytes) }?;
    let image = File::create(snapshot).map_err(|error| format!("{snapshot}: {error}"))?;
    image.set_len(bytes as u64)?;

    let (mut buffer, mut progress, mut lost) = (vec![0; STEP.min(bytes)], Progress::of(bytes), 0);
    for start in (0..bytes).step_by(STEP) {
        let part = source.part(start, STEP.min(bytes - start)).ok_or("a part of the memory")?;
        let buffer = &mut buffer[..part.bytes()];
        lost += copy_mc_skipping((&mut *buffer).into(), part, |skipped| {
            println!(
                "lost: {} bytes at {:#x}: {}",
                skipped.bytes,
                start + skipped.offset,
                skipped.error.cause
            );
        })?;
        write_sparsely(&image, buffer, start as u64)?;
        progress.reach(start + buffer.len(), lost);
    }
    Ok(lost)
}

/// Writes the pages that are not all zeros, those that follow each other at once.
fn write_sparsely(image: &File, buffer: &[u8], offset: u64) -> io::Result<()> {
    let is_zero = |page: &&[u8]| page.iter().all(|byte| *byte == 0);
    let mut start = 0;
    while start < buffer.len() {
        let zeros = buffer[start..].chunks(PAGE_SIZE).take_while(is_zero).map(<[u8]>::len).sum::<usize>();
        let data = buffer[start + zeros..].chunks(PAGE_SIZE).take_while(|page| !is_zero(page));
        let data = data.map(<[u8]>::len).sum::<usize>();
        start += zeros;
        image.write_all_at(&buffer[start..start + data], offset + start as u64)?;
        start += data;
    }
    Ok(())
}

/// Writes the snapshot back into memory of its length.
fn restore(snapshot: &str, memory: &str) -> Result<usize, Box<dyn Error>> {
    let image = File::open(snapshot).map_err(|error| format!("{snapshot}: {error}"))?;
    let file = OpenOptions::new().read(true).write(true).open(memory);
    let file = file.map_err(|error| format!("{memory}: {error}"))?;
    let bytes = length(&image)?;
    if length(&file)? < bytes {
        return Err(format!("{memory} has {} bytes, and the snapshot {bytes}", length(&file)?).into());
    }
    let mapping = Mapping::of(&file, bytes, libc::PROT_READ | libc::PROT_WRITE);
    let mapping = mapping.map_err(|error| format!("{memory}: {error}"))?;
    // SAFETY: mapped as long as the range is used, and without a reference to it. Writes may raise SIGBUS.
    let mut target = unsafe { ByteRangeMut::new(mapping.start(), bytes) }?;
    let (mut buffer, mut progress) = (vec![0; STEP.min(bytes)], Progress::of(bytes));
    for start in (0..bytes).step_by(STEP) {
        let part = target.reborrow().part(start, STEP.min(bytes - start)).ok_or("a part of the memory")?;
        let buffer = &mut buffer[..part.bytes()];
        image.read_exact_at(buffer, start as u64)?;
        copy_mc_bytes(part, (&*buffer).into())?;
        progress.reach(start + buffer.len(), 0);
    }
    Ok(0)
}

fn length(file: &File) -> Result<usize, Box<dyn Error>> {
    Ok(usize::try_from(file.metadata()?.size())?)
}

/// Says on standard error how far it is, at each tenth.
struct Progress {
    bytes: usize,
    tenths: usize,
}

impl Progress {
    fn of(bytes: usize) -> Self {
        Self { bytes, tenths: 0 }
    }

    fn reach(&mut self, done: usize, lost: usize) {
        let tenths = done * 10 / self.bytes;
        if tenths != self.tenths {
            eprintln!("{} %: {} of {} KiB, {lost} bytes lost", tenths * 10, done >> 10, self.bytes >> 10);
            self.tenths = tenths;
        }
    }
}
