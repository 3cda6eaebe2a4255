//! The guest as a scenario sees it.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::system::{delete_module, finit_module};

/// The folder of the module's files.
pub const DEBUGFS: &str = "/sys/kernel/debug/foliocopy";

/// The second argument of the guest's program, if systemd started it.
pub const BELOW_SYSTEMD: &str = "--below-systemd";

/// The booted guest: file systems are mounted, and no other process runs.
pub struct Guest {
    _private: (),
}

/// A loaded module, which is unloaded when this is dropped.
pub struct Module {
    name: &'static str,
}

impl Guest {
    /// Only the init calls this, after it has mounted the file systems.
    pub fn booted() -> Self {
        Self { _private: () }
    }

    /// Reads a file, without the white space at its end.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// Writes to a file of the kernel, in one piece.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> Result<()> {
        let path = path.as_ref();
        fs::write(path, text).with_context(|| format!("cannot write {text:?} to {}", path.display()))
    }

    /// The kernel's log from now on: one record a read, and an error where there is none yet.
    pub fn log_from_now(&self) -> Result<fs::File> {
        let mut log = fs::OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open("/dev/kmsg")?;
        log.seek(SeekFrom::End(0))?;
        Ok(log)
    }

    /// The kernel's log while `action` runs.
    pub fn log_of(&self, action: impl FnOnce() -> Result<()>) -> Result<String> {
        let mut log = self.log_from_now()?;
        action()?;
        let mut lines = String::new();
        let mut record = [0; 8192];
        while let Ok(bytes) = log.read(&mut record) {
            lines.push_str(&String::from_utf8_lossy(&record[..bytes]));
        }
        Ok(lines)
    }

    /// Writes a note for the host, beside the verdict.
    pub fn note(&self, note: &str) -> Result<()> {
        crate::verdict::to_port(format_args!("{}{note}", crate::verdict::NOTE))
    }

    /// Loads `/lib/NAME.ko`, with parameters as insmod takes them.
    pub fn load(&self, name: &'static str, parameters: &str) -> Result<Module> {
        self.load_file(name, &format!("/lib/{name}.ko"), parameters)
    }

    /// Loads the module of that name from a file.
    pub fn load_file(&self, name: &'static str, path: &str, parameters: &str) -> Result<Module> {
        let file = fs::File::open(path).with_context(|| format!("cannot open {path}"))?;
        finit_module(&file, &CString::new(parameters)?, 0)
            .with_context(|| format!("cannot load {path} {parameters}"))?;
        Ok(Module { name })
    }

    /// Sends a request to the module's benchmark, and returns the lines that come back.
    pub fn benchmark(&self, request: &str) -> Result<Vec<String>> {
        let mut file = fs::OpenOptions::new().read(true).write(true).open(format!("{DEBUGFS}/benchmark"))?;
        let accepted = file.write_all(request.as_bytes());
        let mut answer = String::new();
        file.read_to_string(&mut answer)?;
        accepted.with_context(|| format!("{request:?} was refused: {}", answer.trim_end()))?;
        Ok(answer.lines().map(str::to_owned).collect())
    }

    /// How many folios were copied on that path (`plain`, `machine-check-safe`) by that primitive.
    pub fn folios_copied(&self, path: &str, primitive: &str) -> Result<u64> {
        let counters = self.read(format!("{DEBUGFS}/counters"))?;
        let start = format!("{path} {primitive} folios ");
        let line = counters.lines().find_map(|line| line.strip_prefix(&start));
        let count = line.and_then(|rest| rest.split(' ').next()).and_then(|count| count.parse().ok());
        count.with_context(|| format!("no count of {path} {primitive} in {counters:?}"))
    }
}

impl Module {
    /// Unloads the module.
    pub fn unload(self) -> Result<()> {
        self.unload_within(Duration::ZERO)
    }

    /// Unloads the module once it is unused: the kernel releases a livepatch in a worker, after its sysfs files are gone.
    pub fn unload_within(self, limit: Duration) -> Result<()> {
        let name = self.name;
        std::mem::forget(self);
        let name_for_kernel = CString::new(name)?;
        let deadline = Instant::now() + limit;
        while let Err(error) = delete_module(&name_for_kernel, 0) {
            let waits = error == Errno::AGAIN && Instant::now() < deadline;
            ensure!(waits, "cannot unload {name}: {error}");
            thread::sleep(Duration::from_millis(20));
        }
        ensure!(!Path::new(&format!("/sys/module/{name}")).exists(), "{name} is still there after unloading");
        Ok(())
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Ok(name) = CString::new(self.name) {
            // A scenario that needs the result calls `unload`.
            let _ = delete_module(&name, 0);
        }
    }
}
