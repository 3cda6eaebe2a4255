//! The C ABI of foliocopy.
