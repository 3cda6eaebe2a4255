//! The C ABI of foliocopy. What a caller has to know is in the header, which is made of these comments.

#![expect(unreachable_pub, reason = "cbindgen puts what is public into the header")]

mod batch;
mod copy;
mod failure;
mod host;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod mc;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sigbus;
