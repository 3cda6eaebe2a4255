//! Copies pages and folios as fast as this CPU can, and survives poisoned memory in copies of pages and of bytes.
//!
//! | you want to | start here |
//! |---|---|
//! | [copy fast](#copy-fast) | [`copy_pages`], [`copy_folios`], [`CopyOptions`] |
//! | [survive bad memory](#survive-bad-memory) | [`copy_mc_pages`](fn.copy_mc_pages.html), [`copy_mc_bytes`](fn.copy_mc_bytes.html), [`sigbus`](sigbus/index.html) |
//! | [decide how it copies](#decide-how-it-copies) | [`Policy`], [`Row`], the feature `profile` |
//! | [build a kernel on it](#in-a-kernel) | [`folio`] |
//!
//! The folder `examples/` has whole programs: `copy`, `own_policy`, `own_handler`, `checksum` and `snapshot`.
//!
//! # Copy fast
//!
//! [`copy_pages`] picks the instruction by CPU, by length, and by where the source is:
//!
//! ```
//! use foliocopy::{CopyOptions, Locality, Page, copy_pages};
//!
//! let source = vec![Page::filled(0xa5); 64];
//! let mut destination = vec![Page::zeroed(); 64];
//! copy_pages(&mut destination, &source)?;
//!
//! // Nobody reads the destination soon: leave the cache to others.
//! CopyOptions::new().locality(Locality::NonTemporal).copy_pages(&mut destination, &source)?;
//! assert!(source == destination);
//! # Ok::<(), foliocopy::CopyError>(())
//! ```
//!
//! [`copy_folios`] copies many scattered ranges as one piece of work. [`copy_pages_parallel`](fn.copy_pages_parallel.html)
//! copies one very large range by several threads. [`copy_pages_raw`] takes pointers, and [`Page::from_bytes`] makes pages of
//! aligned bytes.
//!
//! # Survive bad memory
//!
//! The kernel poisons a page whose memory went bad, and kills the process that reads it. A mapped file that somebody cuts short
//! kills its reader too. These copies return an error instead. Memory that may fault is a [`PageRange`] or a
//! [`ByteRange`](struct.ByteRange.html), never a reference:
//!
//! ```
//! # #[cfg(feature = "std")] {
//! use foliocopy::{CopyMcError, Page, PageRange, PageRangeMut, copy_mc_pages};
//!
//! # let mut guest = vec![Page::filled(7); 64];
//! # let mut buffer = vec![Page::zeroed(); 64];
//! # let (guest, buffer) = (guest.as_mut_ptr(), buffer.as_mut_ptr());
//! // SAFETY: 64 mapped pages each, to which no reference exists.
//! let (source, destination) = unsafe { (PageRange::new(guest, 64)?, PageRangeMut::new(buffer, 64)?) };
//! match copy_mc_pages(destination, source) {
//!     Ok(()) => {}
//!     Err(CopyMcError::Memory(bad)) => println!("page {} is lost: {}", bad.page_index, bad.cause),
//!     Err(error) => return Err(error.into()),
//! }
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`copy_mc_bytes`](fn.copy_mc_bytes.html) takes bytes of any address and length, and [`read_mc`](fn.read_mc.html) an integer
//! by one access. [`copy_mc_pages_skipping`](fn.copy_mc_pages_skipping.html) goes on behind lost pages.
//! [`sigbus`](sigbus/index.html) says how faults are caught, and what a program does that has a handler of its own.
//!
//! # Decide how it copies
//!
//! [`Policy::host`] is the policy of this process: a table for each [`Locality`], which names the instruction for each length.
//! It explains itself:
//!
//! ```
//! use foliocopy::{Locality, Policy};
//!
//! let policy = Policy::host();
//! println!("{}", policy.explain(Locality::Auto, 2 << 20));
//! for (up_to, step) in policy.bands(Locality::Auto) {
//!     println!("up to {up_to} bytes: {step}");
//! }
//! ```
//!
//! The program `foliocopy` measures. `foliocopy bench` shows what there is to gain, and `foliocopy tune` writes a profile of the
//! CPU. With the feature `profile` every process follows it. A program that knows better brings a table of its own
//! ([`Policy::with_row`]) and names it in [`CopyOptions::policy`].
//!
//! # In a kernel
//!
//! The module [`folio`] has Linux's functions over a [`folio::Platform`]. Without `std` the crate needs neither an operating
//! system nor a dependency, and its policy keeps to [general-purpose registers](Registers::GeneralPurpose):
//!
//! ```
//! use foliocopy::{Cpu, Locality, Policy, Registers};
//!
//! let policy = Policy::new(Cpu::detect(), Registers::GeneralPurpose);
//! println!("{}", policy.explain(Locality::Temporal, 4096));
//! ```
//!
//! # Features
//!
//! - `std`, on by default: threads, the environment variables, and on Linux the copies that survive SIGBUS.
//! - `profile`: [`Policy::host`] follows the profile that `foliocopy tune` wrote.

#![cfg_attr(not(feature = "std"), no_std)]

mod arch;
mod batch;
mod by_name;
#[cfg(feature = "std")]
mod byte_range;
#[cfg(feature = "std")]
mod bytes;
mod chunks;
mod cpu;
mod error;
mod execute;
#[doc(hidden)]
pub mod extable;
pub mod folio;
mod host;
mod locality;
mod name;
mod once;
mod options;
mod page;
mod pages;
mod pair;
#[cfg(feature = "std")]
mod parallel;
mod policy;
mod primitive;
mod probe;
mod step;
mod tuning;

#[cfg(feature = "std")]
mod environment;
#[cfg(feature = "std")]
mod memory_error;
#[cfg(feature = "profile")]
pub mod profile;
#[cfg(feature = "std")]
pub mod sigbus;
#[cfg(feature = "std")]
mod skip;

// What the C of the kernel module calls, in the one build that has such a thing.
#[cfg(foliocopy_kernel)]
#[path = "../../../kmod/kernel.rs"]
mod kernel;

pub use batch::{BatchError, copy_folios};
pub use chunks::{DEFAULT_CHUNK_BYTES, NoYield, Yield};
pub use cpu::{Caches, Cpu, Features, Microarchitecture, Vendor};
pub use error::{CopyError, RowError, RowProblem, Unsupported};
pub use extable::Fault;
pub use locality::Locality;
pub use name::UnknownName;
pub use options::CopyOptions;
pub use page::{PAGE_SHIFT, PAGE_SIZE, Page, PageRange, PageRangeMut};
pub use pages::{copy_pages, copy_pages_raw};
pub use pair::FolioPair;
pub use policy::{Policy, Source};
pub use primitive::Primitive;
pub use step::{Band, Bands, Limit, MOST_BANDS, Row, Step};
pub use tuning::Registers;

#[cfg(not(foliocopy_kernel))]
#[doc(hidden)]
pub use pages::{function_for, function_of};

#[cfg(feature = "std")]
pub use batch::copy_mc_folios;
#[cfg(feature = "std")]
pub use byte_range::{ByteRange, ByteRangeMut};
#[cfg(feature = "std")]
pub use bytes::{Integer, SkippedBytes, copy_mc, copy_mc_bytes, copy_mc_skipping, read_mc, write_mc};
#[cfg(feature = "std")]
pub use error::EnvironmentError;
#[cfg(feature = "std")]
pub use host::HostReport;
#[cfg(feature = "std")]
pub use memory_error::{Cause, CopyMcError, MemoryError, Side};
#[cfg(feature = "std")]
pub use pages::{Skipped, copy_mc_pages, copy_mc_pages_raw, copy_mc_pages_skipping};
#[cfg(feature = "std")]
pub use parallel::{copy_mc_pages_parallel, copy_pages_parallel, threads_for};
#[cfg(feature = "profile")]
pub use profile::Profile;

/// The guide's Rust, compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/surviving-bad-memory.md")]
#[doc = include_str!("../docs/choosing-a-locality.md")]
struct Guide;
