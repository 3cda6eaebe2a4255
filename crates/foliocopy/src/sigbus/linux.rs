//! The handler of SIGBUS on Linux, and what keeps it in place.

mod chain;
mod frame;
mod handler;
mod mask;
mod previous;
mod sigsegv;
mod standing;
mod table;

pub use handler::try_handle;
pub use sigsegv::catch_sigsegv;
pub(crate) use standing::{ensure, ensure_short, suspect};
pub use standing::{handled_by_caller, install, is_installed};
