//! Developer commands, run as `cargo xtask COMMAND`.

mod test;
mod vm;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of foliocopy")]
enum Command {
    /// Run every check and every test
    Test(test::Args),
    /// Test the kernel modules in a stock Debian kernel under QEMU
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    let shell = xshell::Shell::new()?;
    shell.change_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match Command::parse() {
        Command::Test(args) => test::run(&shell, args),
        Command::Vm(args) => vm::run(&shell, args),
    }
}
