//! Prints the SHA-256 of files, like `sha256sum`, by mapping them. A file that somebody cuts short meanwhile is an error and no
//! death.
//!
//! ```console
//! $ checksum *.img
//! ```

use std::env;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use foliocopy::{ByteRange, CopyMcError, copy_mc_bytes};
use mapping::Mapping;
use sha2::{Digest, Sha256};

#[path = "mapping/mod.rs"]
mod mapping;

/// How much is hashed at once: what stays in a cache.
const STEP: usize = 128 << 10;

fn main() -> ExitCode {
    let files: Vec<_> = env::args_os().skip(1).collect();
    if files.is_empty() {
        eprintln!("checksum FILE…");
        return ExitCode::from(2);
    }
    let mut status = ExitCode::SUCCESS;
    for file in &files {
        let name = file.display();
        match checksum(file.as_ref()) {
            Ok(digest) => println!("{digest}  {name}"),
            Err(error) => {
                eprintln!("{name}: {error}");
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}

/// The digest of a file, in hexadecimal.
fn checksum(path: &Path) -> Result<String, Box<dyn Error>> {
    let file = File::open(path)?;
    let bytes = usize::try_from(file.metadata()?.len())?;
    let mut hash = Sha256::new();
    if bytes != 0 {
        let mapping = Mapping::of(&file, bytes, libc::PROT_READ)?;
        // SAFETY: mapped as long as the range is used. Whoever cuts the file makes reads raise SIGBUS.
        let source = unsafe { ByteRange::new(mapping.start(), bytes) }?;
        let mut buffer = vec![0; STEP.min(bytes)];
        for start in (0..bytes).step_by(STEP) {
            let part = source.part(start, STEP.min(bytes - start)).ok_or("a part of the file")?;
            let buffer = &mut buffer[..part.bytes()];
            match copy_mc_bytes((&mut *buffer).into(), part) {
                Ok(()) => hash.update(buffer),
                Err(CopyMcError::Memory(bad)) => {
                    let good = start + bad.bytes_copied;
                    return Err(format!("only {good} of {bytes} bytes can be read: {}", bad.cause).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    // The rest of the last page of a file that was cut reads as zeros.
    let left = file.metadata()?.len();
    if left < bytes as u64 {
        return Err(format!("cut from {bytes} to {left} bytes while it was read").into());
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
