//! The handler of SIGBUS on Linux.

mod chain;
mod frame;
mod handler;
mod installed_handler;
mod mask;
mod previous;
mod table;

pub use handler::try_handle;
pub use installed_handler::{catch_sigsegv, handled_by_caller, install, is_installed};
pub(crate) use installed_handler::{ensure, suspect};
