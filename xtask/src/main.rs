//! Developer commands, run as `cargo xtask COMMAND`.

mod dist;
mod imports;
mod lanes;
mod length;
mod need;
mod programs;
mod release_check;
mod source;
mod test;
mod upstream;
mod verdicts;
mod vm;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of foliocopy")]
enum Command {
    /// Make the tarball and the Debian package
    Dist(dist::Args),
    /// Package what is published, and test it where nothing of the repository is
    ReleaseCheck(release_check::Args),
    /// Run every check and every test
    Test(test::Args),
    /// Apply the patch series of kmod/upstream to Debian's Linux source, compile what it touches, and check it
    Upstream(upstream::Args),
    /// Find out how often the verdicts of this machine are wrong, for hours
    Verdicts(verdicts::Args),
    /// Test the kernel modules in a stock Debian kernel under QEMU
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    let shell = xshell::Shell::new()?;
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    shell.change_dir(repository.expect("xtask lies in the repository"));
    match Command::parse() {
        Command::Dist(args) => dist::run(&shell, args),
        Command::ReleaseCheck(args) => release_check::run(&shell, args),
        Command::Test(args) => test::run(&shell, args),
        Command::Upstream(args) => upstream::run(&shell, args),
        Command::Verdicts(args) => verdicts::run(&shell, args),
        Command::Vm(args) => vm::run(&shell, args),
    }
}
