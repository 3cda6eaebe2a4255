//! The process's place in the machine: its cgroups, its CPUs, its mounts, and its kernel's view of the CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use foliocopy_measure::result;
use namespace::said;

mod namespace;

const BENCH: &str = "bench --rounds 2 --folio 4K --total 64K --cache hot --evict 1M";

fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin("foliocopy")
}

/// A cgroup of our own with another inside, in which the program runs.
struct Cgroup {
    outer: PathBuf,
    inner: PathBuf,
}

impl Cgroup {
    /// Makes it below the cgroups that are mounted in `folder`, with `limit` written to `file` of the outer one.
    fn new(folder: &str, file: &str, limit: &str) -> Result<Self, String> {
        if !Path::new(folder).join("cgroup.procs").exists() {
            return Err(format!("{folder} is none"));
        }
        let outer = Path::new(folder).join(format!("foliocopy-test-{}", std::process::id()));
        let inner = outer.join("inner");
        let cgroup = Self { outer, inner };
        let enable = |folder: &Path| {
            let controller = file.split_once('.').unwrap().0;
            let file = folder.join("cgroup.subtree_control");
            if file.exists() { fs::write(file, format!("+{controller}")) } else { Ok(()) }
        };
        let made = enable(Path::new(folder))
            .and_then(|()| fs::create_dir_all(&cgroup.outer))
            .and_then(|()| enable(&cgroup.outer))
            .and_then(|()| fs::create_dir_all(&cgroup.inner))
            .and_then(|()| fs::write(cgroup.outer.join(file), limit));
        made.map(|()| cgroup).map_err(|error| format!("{folder}: {error}"))
    }

    fn run(&self, arguments: &str) -> Output {
        Command::new("sh")
            .args(["-euc", &format!("echo $$ >$CGROUP/cgroup.procs; exec $FOLIOCOPY {arguments}")])
            .env("CGROUP", &self.inner)
            .env("FOLIOCOPY", program())
            .output()
            .unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        for _ in 0..100 {
            let _ = fs::remove_dir(&self.inner);
            if fs::remove_dir(&self.outer).is_ok() || !self.outer.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Runs `check` in each kind of cgroup in which root may set that limit, and prints the names of the others.
fn in_cgroups(kinds: [(&str, &str); 2], limit: &str, check: impl Fn(&Cgroup)) {
    for (folder, file) in kinds {
        match Cgroup::new(folder, file, limit) {
            Ok(cgroup) => check(&cgroup),
            Err(error) => println!("not tested: {file} of a cgroup ({error})"),
        }
    }
}

#[test]
fn the_memory_limit_of_a_parent_is_an_error_and_no_death() {
    let kinds = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    in_cgroups(kinds, &(96 << 20).to_string(), |cgroup| {
        let said = said(&cgroup.run("bench --cache cold --folio 2M"), 2);
        assert!(said.contains("memory in its cgroup") && said.contains("available"), "{said}");
        self::said(&cgroup.run("roofline --memory 128M"), 2);
        // A bench within the limit runs.
        let fits = cgroup.run(&BENCH.replace("--cache hot", "--cache cold"));
        assert!(!self::said(&fits, 0).contains("memory in its cgroup"));
    });
}

#[test]
fn a_quota_of_cpu_time_is_a_warning() {
    let kinds = [("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us"), ("/sys/fs/cgroup", "cpu.max")];
    in_cgroups(kinds, "50000", |cgroup| {
        let said = said(&cgroup.run(BENCH), 0);
        assert!(said.contains("the time of 0.50 CPUs"), "{said}");
    });
}

/// Only one of the machine's CPUs.
#[test]
fn a_cpuset_leaves_the_cpus_that_are_in_it() {
    let allowed = foliocopy_measure::affinity::allowed_cpus().unwrap();
    let &[first, .., last] = &allowed[..] else {
        println!("not tested: a cpuset, which takes two CPUs");
        return;
    };
    let kinds = [("/sys/fs/cgroup/cpuset", "cpuset.cpus"), ("/sys/fs/cgroup", "cpuset.cpus")];
    in_cgroups(kinds, &first.to_string(), |cgroup| {
        // In version 1 a process can join only after both are set, in each cgroup.
        let root = cgroup.outer.parent().unwrap();
        if let Ok(nodes) = fs::read_to_string(root.join("cpuset.mems")) {
            for folder in [&cgroup.outer, &cgroup.inner] {
                fs::write(folder.join("cpuset.cpus"), first.to_string()).unwrap();
                fs::write(folder.join("cpuset.mems"), nodes.trim()).unwrap();
            }
        }
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("results.json");
        said(&cgroup.run(&format!("{BENCH} --export-json {}", file.display())), 0);
        assert_eq!(result::read(&file).unwrap().parameters.cpu, Some(first));
        for refused in
            [format!("bench --cpu {last}"), "roofline --threads 2".into(), "bench --copiers 2".into()]
        {
            let said = said(&cgroup.run(&refused), 2);
            assert!(said.contains("this process may run on"), "{refused}: {said}");
        }
    });
}

/// Answers like a kernel for 4096 CPUs of which one is allowed, number 2000.
const MANY_CPUS: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
static int bit(const unsigned char *set, size_t size) {
    return size > 2000 / 8 && (set[2000 / 8] >> 2000 % 8 & 1);
}
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
    (void)pid;
    if (size < 4096 / 8) { errno = EINVAL; return -1; }
    memset(set, 0, size);
    ((unsigned char *)set)[2000 / 8] = 1 << 2000 % 8;
    return 0;
}
int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set) {
    (void)pid;
    if (!bit((const unsigned char *)set, size)) { errno = EINVAL; return -1; }
    return 0;
}
"#;

#[test]
fn a_kernel_for_more_than_1024_cpus_is_understood() {
    let here = tempfile::tempdir().unwrap();
    let (source, library) = (here.path().join("cpus.c"), here.path().join("cpus.so"));
    fs::write(&source, MANY_CPUS).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("not tested: many CPUs, which takes a C compiler");
        return;
    }
    let file = here.path().join("results.json");
    let output = Command::new(program())
        .args(BENCH.split(' '))
        .arg("--export-json")
        .arg(&file)
        .env("LD_PRELOAD", &library)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    said(&output, 0);
    assert_eq!(result::read(&file).unwrap().parameters.cpu, Some(2000));
    let output =
        Command::new(program()).args(["bench", "--cpu", "0"]).env("LD_PRELOAD", &library).output().unwrap();
    assert!(said(&output, 2).contains("this process may run on 2000"));
}

/// Commands that do not need them work, and say what is unknown.
#[test]
fn proc_and_sys_may_be_missing() {
    for (hide, missing) in [
        ("mount -t tmpfs none /sys", vec!["/sys"]),
        ("mount -t tmpfs none /proc", vec!["/proc"]),
        ("mount -t tmpfs none /sys; mount -t tmpfs none /proc", vec!["/proc", "/sys"]),
    ] {
        let here = tempfile::tempdir().unwrap();
        let script = format!(
            "{hide}; $FOLIOCOPY info >&2; $FOLIOCOPY info --json >info.json
             $FOLIOCOPY {BENCH} --export-json results.json
             $FOLIOCOPY {} >/dev/null
             $FOLIOCOPY roofline --rounds 1 --memory 1M --threads 1 >/dev/null
             $FOLIOCOPY selftest rep_movsb >/dev/null
             absent() {{ code=0; \"$@\" || code=$?; test $code = 3; }}
             absent $FOLIOCOPY kernel status; absent $FOLIOCOPY kernel patch status; $FOLIOCOPY kernel patch on && exit 99 || true
             $FOLIOCOPY report results.json --export-lkml -",
            BENCH.replace("hot", "cold")
        );
        let Some(output) = namespace::run(here.path(), &script) else { return };
        let said = said(&output, 0);
        for folder in missing {
            assert!(said.contains(&format!("{folder} is not mounted")), "{said}");
        }
        assert!(!said.contains("lay in huge pages") || !hide.contains("/proc"), "{said}");
        let environment = result::read(&here.path().join("results.json")).unwrap().environment;
        assert!(environment.kernel.starts_with("Linux ") && environment.cpu.online_cpus > 0);
        assert!(environment.nodes.iter().any(|node| node.memory_bytes > 0 && !node.cpus.is_empty()));
    }
}

/// As after `clearcpuid=erms,fsrm`: the kernel does not use them, and so the stand-ins of its copies don't.
#[test]
fn what_the_kernel_believes_decides_for_its_stand_ins() {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let has = |flag: &str| {
        cpuinfo.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|f| f == flag))
    };
    if !has("erms") || !has("rep_good") {
        println!("not tested: a kernel that does without erms, on a CPU that has no erms");
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let without = cpuinfo.replace(" erms", "").replace(" fsrm", "");
    fs::write(here.path().join("cpuinfo"), without).unwrap();
    let script = format!(
        "mount --bind cpuinfo /proc/cpuinfo; $FOLIOCOPY {BENCH} --export-json results.json; $FOLIOCOPY info --json >info.json"
    );
    let Some(output) = namespace::run(here.path(), &script) else { return };
    let said = said(&output, 0);
    assert!(said.contains("Other than CPUID, the kernel does without erms"), "{said}");
    let results = result::read(&here.path().join("results.json")).unwrap();
    let description = |name: &str| {
        let contender = results.parameters.contenders.iter().find(|contender| contender.name == name);
        contender.unwrap().description.clone()
    };
    assert_eq!(description("per-page"), "copy_page (rep_movsq) page by page");
    assert_eq!(description("per-page-mc"), "copy_mc_to_kernel: memcpy (movq) page by page");
    assert_eq!(description("rfc"), "one memcpy (movq) a folio");
    assert!(results.environment.cpu.features.contains(&"erms".to_owned()));
    assert!(results.environment.cpu.kernel_lacks.contains(&"erms".to_owned()));
    let info: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(here.path().join("info.json")).unwrap()).unwrap();
    let bands = info["kernel_tables"]["bands"].as_array().unwrap();
    let temporal = bands.iter().find(|band| band["locality"] == "temporal");
    assert_eq!(temporal.unwrap()["step"], "rep_movsq");
}
