//! SIGBUS turned into a `Result`, by the same [exception table](crate::extable) that a kernel uses.
//!
//! A process that reads poisoned memory, or a mapping whose file was cut short, gets SIGBUS and dies.
//! [`install`] puts one handler in place, once for the process; [`copy_mc_pages`](crate::copy_mc_pages)
//! does so by itself. Nothing is set up or taken down around a copy.
//!
//! # Which signals are ours
//!
//! A SIGBUS is taken for a fault of a copy if all three hold; otherwise it is forwarded:
//!
//! - the interrupted instruction is in the crate's exception table;
//! - the signal is a synchronous one (`BUS_MCEERR_AR`, `BUS_ADRERR` or `BUS_OBJERR`): `BUS_MCEERR_AO`
//!   and a `kill(2)` can arrive while we happen to be copying;
//! - the address, rounded to the granule that the kernel reports, meets one of the ranges of that copy.
//!
//! # Everybody else's signals
//!
//! They go to the action that was installed before ours. A handler is called with the arguments that it asked for (`SA_SIGINFO`
//! or not), with its `SA_RESTART`, and once only with `SA_RESETHAND`. The default kills the process with this very SIGBUS. A
//! signal that was ignored stays ignored, except for a fault, which the kernel doesn't let a process ignore. One thing differs:
//! with an alternate signal stack a handler runs there (`SA_ONSTACK`), since the runtimes of Go and of Java need it so.
//!
//! While our handler works, every signal is blocked. Before it calls another handler it blocks the signals that the kernel
//! would have blocked for that one: the mask of the interrupted code, the handler's `sa_mask`, and SIGBUS unless it has
//! `SA_NODEFER`.
//!
//! The action before ours is the one that the installing `sigaction` returns. A signal that comes before that
//! call has returned waits for it.
//!
//! # Programs that own SIGBUS
//!
//! A runtime that insists on its own handler (a JVM, Go, a VMM) calls [`try_handle`] from it and says so with
//! [`handled_by_caller`]. If another handler merely replaces ours, faults no longer reach it. [`is_installed`] tells.
//! Machine-check-safe copies then return [`Unsupported::HandlerReplaced`](crate::Unsupported::HandlerReplaced) instead of
//! dying.
//!
//! To ask the kernel which handler is installed takes a system call, longer than to copy a page. So not every copy asks. The
//! first 256 copies of a process do, and the 256 after a memory error or after a signal that was forwarded. Later, one copy
//! asks in every tick of the kernel's clock (1 to 10 ms). Copies of fewer than 64 KiB of bytes take about as long as to read
//! that clock: of them one asks in every second. A handler that is replaced during a copy, or in the tick or second before it,
//! goes unnoticed.
//!
//! # Blocked signals
//!
//! A thread that blocks SIGBUS dies at the fault like any other program: the kernel can't keep a fault
//! for later, so it restores the default action and kills (`force_sig_info_to_task()` in Linux's
//! `kernel/signal.c`). It isn't unblocked for the copy, since that would take two system calls a copy.
//!
//! # SIGSEGV
//!
//! An address without memory, or without the right to access it, raises SIGSEGV. That is a bug in nearly every program, so it
//! is not caught. [`catch_sigsegv`] is for the other programs. The rules of SIGBUS hold for its handler too.
//!
//! # Shared objects
//!
//! A shared object with this crate in it stays loaded once the handler is in place: link it with
//! `-z nodelete`, as `libfoliocopy.so` is, or never close it.
//!
//! # Several copies of this crate
//!
//! A program may hold several: two versions, or one of its own and one in a shared object. Each has its own table
//! and its own handler, and each handler forwards to the one before it.
//!
//! The handler of the earlier copy looks replaced, but faults still come to it. So a handler of this crate starts with bytes by
//! which the others recognise it, and with the place where it keeps the handler before it. The earlier copy follows these
//! places from the installed handler until it comes to its own. A handler that it doesn't recognise counts as a replacement,
//! since nothing tells whether that one forwards.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod linux;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
use linux as platform;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod absent;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
use absent as platform;

pub use platform::{catch_sigsegv, install, is_installed};
pub(crate) use platform::{ensure, suspect};
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use platform::{handled_by_caller, try_handle};
