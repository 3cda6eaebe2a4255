//! Copies memory in whole pages and folios, as fast as the CPU under it allows.
//!
//! ```
//! use foliocopy::{Page, copy_pages};
//!
//! let source = vec![Page::filled(0xa5); 64];
//! let mut destination = vec![Page::zeroed(); 64];
//! copy_pages(&mut destination, &source)?;
//! assert!(source == destination);
//! # Ok::<(), foliocopy::CopyError>(())
//! ```
//!
//! [`copy_pages`] asks the [`Policy`] which [`Primitive`] suits this CPU, this size and this
//! [`Locality`], and runs it. [`CopyOptions`] names any of the three, the size of a chunk and what to
//! do between chunks.
//!
//! The crate has no operating system in it and no dependency: without the feature `std` it runs in a
//! kernel. With `std` (the default) it also reads the environment and, on Linux, survives SIGBUS. With
//! `profile` a [`Policy`] may decide by what `foliocopy tune` has measured of this CPU.

#![cfg_attr(not(feature = "std"), no_std)]

mod arch;
mod batch;
mod chunk;
mod clock;
mod cpu;
mod error;
pub mod extable;
mod fence;
pub mod folio;
mod locality;
mod once;
mod page;
mod pages;
#[cfg(feature = "std")]
mod parallel;
mod policy;
mod primitive;
#[cfg(all(target_arch = "x86_64", not(foliocopy_kernel)))]
mod shortcut;
#[cfg(not(all(target_arch = "x86_64", not(foliocopy_kernel))))]
#[path = "shortcut/none.rs"]
mod shortcut;

#[cfg(feature = "std")]
mod environment;
#[cfg(feature = "std")]
mod memory_error;
#[cfg(feature = "profile")]
pub mod profile;
#[cfg(feature = "std")]
pub mod sigbus;

// What the C of the kernel module calls, in the one build that has such a thing.
#[cfg(foliocopy_kernel)]
#[path = "../../../kmod/kernel.rs"]
mod kernel;

pub use batch::{BatchError, FolioPair, copy_folios};
pub use chunk::{DEFAULT_CHUNK_BYTES, NoYield, Yield};
pub use cpu::{Caches, Cpu, Features, Microarchitecture, Vendor};
pub use error::{CopyError, UnknownName, Unsupported};
pub use extable::Fault;
pub use locality::{Locality, Residence};
pub use page::{PAGE_SHIFT, PAGE_SIZE, Page, PageRange};
#[doc(hidden)]
pub use pages::shortcut;
pub use pages::{CopyOptions, copy_pages, copy_pages_raw};
#[cfg(feature = "std")]
pub use parallel::{copy_pages_parallel, threads_for};
pub use policy::{Choice, Decisions, Explanation, Policy, Registers};
pub use primitive::Primitive;

#[cfg(feature = "std")]
pub use environment::EnvironmentError;
#[cfg(feature = "std")]
pub use memory_error::{Cause, CopyMcError, MemoryError, Side};
#[cfg(feature = "std")]
pub use pages::{Skipped, copy_mc_folios, copy_mc_pages, copy_mc_pages_raw, copy_mc_pages_skipping};
#[cfg(feature = "profile")]
pub use profile::Profile;

/// The guide's Rust, compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/surviving-bad-memory.md")]
#[doc = include_str!("../docs/choosing-a-locality.md")]
struct Guide;
