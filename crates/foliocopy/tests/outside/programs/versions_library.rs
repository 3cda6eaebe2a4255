//! A shared object with copies of its own.

#[allow(unused)]
mod copies;

#[unsafe(no_mangle)]
extern "C" fn this_survives() {
    copies::this::survives();
}

#[unsafe(no_mangle)]
extern "C" fn this_is_installed() -> bool {
    copies::this::sigbus::is_installed()
}
