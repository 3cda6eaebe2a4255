//! Copies pages and folios as fast as the CPU under it allows, and survives poisoned memory in copies of pages and of bytes.
//!
//! # Copy pages
//!
//! [`copy_pages`] picks the instruction by CPU, length and the place of the source:
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
//! [`copy_pages_raw`] takes pointers, [`copy_folios`] many scattered ranges, and
//! [`copy_pages_parallel`](fn.copy_pages_parallel.html) several threads.
//! [`Page::from_bytes`] turns aligned bytes into pages.
//!
//! # Survive bad memory
//!
//! [`copy_mc_pages`](fn.copy_mc_pages.html) answers with an error where memory is poisoned, or where a file was cut short
//! under its mapping. Memory that may fault, or that others write, is a [`PageRange`], never a reference:
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
//! [`copy_mc_bytes`](fn.copy_mc_bytes.html) takes bytes of any address and length, and
//! [`read_mc`](fn.read_mc.html) an integer by one access.
//! [`copy_mc_pages_skipping`](fn.copy_mc_pages_skipping.html) goes on behind lost pages.
//! [`sigbus`](sigbus/index.html) says how faults are caught.
//!
//! # Say more about a copy
//!
//! [`CopyOptions`] names the [`Locality`] of the destination, the [`Policy`], the [`Primitive`], and what happens between
//! chunks:
//!
//! ```
//! use foliocopy::{CopyOptions, Locality, Page};
//!
//! # let source = vec![Page::filled(7); 16];
//! # let mut destination = vec![Page::zeroed(); 16];
//! // Nobody reads the destination soon: leave the cache to others.
//! CopyOptions::new().locality(Locality::NonTemporal).copy_pages(&mut destination, &source)?;
//! # Ok::<(), foliocopy::CopyError>(())
//! ```
//!
//! [`Policy::host`] is the policy of this process. It shows its tables ([`Policy::bands`]) and explains its choices
//! ([`Policy::explain`]).
//!
//! # Features
//!
//! - `std`, on by default: threads, the environment variables, and on Linux the copies that survive SIGBUS.
//! - `profile`: [`Policy::host`] follows what `foliocopy tune` has measured of this CPU.
//!
//! Without `std` the crate needs neither an operating system nor a dependency. The module [`folio`] has the functions of a
//! kernel.

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
