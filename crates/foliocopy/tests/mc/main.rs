//! Machine-check-safe copies in a process, of memory that really faults.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod bytes;
mod case;
mod corpus;
mod faults;
mod memory;
mod sigbus;
mod sigsegv;
