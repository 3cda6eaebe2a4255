//! What the linker has to know of the shared library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // The number changes when a program that was linked before would no longer work.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libfoliocopy.so.0");
    // The handler of SIGBUS is in it, and there is no way to be sure that nobody calls that any more.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
