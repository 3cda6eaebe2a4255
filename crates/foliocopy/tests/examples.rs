//! The programs in examples/, run as users run them.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;

/// The folder of the examples, once they are built.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "foliocopy", "--examples", "--target-dir"]).arg(&target);
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
    assert!(built.success(), "the examples are not built");
    target.join("debug/examples")
});

fn example(name: &str) -> Command {
    Command::new(EXAMPLES.join(name))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs an example, which must end with this status.
fn run(command: &mut Command, status: i32) -> (String, String) {
    let output = command.output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{command:?}: {}\n{out}{err}", output.status);
    (out, err)
}

/// The memory of a guest, which others can open by its path.
fn guest(bytes: usize, flags: libc::c_uint) -> Option<(File, String)> {
    // SAFETY: the name ends; the descriptor is new and ours.
    let file = unsafe {
        match libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC | flags) {
            -1 => return None,
            descriptor => File::from_raw_fd(descriptor),
        }
    };
    file.set_len(bytes as u64).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    Some((file, path))
}

fn page(index: usize) -> Vec<u8> {
    (0..PAGE).map(|byte| (byte * 3 + index * 7 + 1) as u8).collect()
}

#[test]
fn a_snapshot_is_sparse_and_restores() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("guest.img");
    let bytes = 5 * HUGE + 3 * PAGE;
    let (memory, path) = guest(bytes, 0).unwrap();
    let written = [0, 1, 511, 512, 700, 1535, 2561];
    written.iter().for_each(|index| memory.write_all_at(&page(*index), (index * PAGE) as u64).unwrap());

    let (out, err) = run(example("snapshot").args(["save", &path]).arg(&image), 0);
    assert_eq!(out, "");
    assert!(err.contains("100 %: 10252 of 10252 KiB, 0 bytes lost"), "{err}");
    let (snapshot, metadata) = (fs::read(&image).unwrap(), image.metadata().unwrap());
    assert!(metadata.blocks() * 512 <= (written.len() as u64 + 2) * 16384, "{} blocks", metadata.blocks());
    let mut expected = vec![0; bytes];
    written.iter().for_each(|index| expected[index * PAGE..][..PAGE].copy_from_slice(&page(*index)));
    assert!(snapshot == expected);

    // The old contents of the memory are gone.
    let (other, path) = guest(bytes, 0).unwrap();
    other.write_all_at(&page(3), (3 * PAGE) as u64).unwrap();
    run(example("snapshot").arg("restore").arg(&image).arg(&path), 0);
    let mut restored = vec![0; bytes];
    other.read_exact_at(&mut restored, 0).unwrap();
    assert!(restored == expected);
}

/// The end of the guest's memory is gone: a file that was cut.
#[test]
fn a_snapshot_lists_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("guest.img");
    let (memory, path) = guest(2 * PAGE, 0).unwrap();
    (0..2).for_each(|index| memory.write_all_at(&page(index), (index * PAGE) as u64).unwrap());
    let whole = (4 * PAGE).to_string();
    let (out, _) = run(example("snapshot").args(["save", &path]).arg(&image).arg(whole), 3);
    let expected = "lost: 4096 bytes at 0x2000: beyond the end of the mapping\n\
                    lost: 4096 bytes at 0x3000: beyond the end of the mapping\n";
    assert_eq!(out, expected);
    assert!(fs::read(&image).unwrap() == [page(0), page(1), vec![0; 2 * PAGE]].concat());
}

#[test]
fn a_snapshot_of_huge_pages() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("guest.img");
    let Some((memory, path)) = guest(HUGE, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB) else {
        return eprintln!("not tested on this kernel: hugetlb, which it lacks");
    };
    // Without a huge page all of it is lost, and the kernel doesn't say that it is lost at once.
    let output = example("snapshot").args(["save", &path]).arg(&image).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {}", output.status, text(&output.stderr));
    let out = text(&output.stdout);
    assert!(out.lines().all(|line| line.starts_with("lost: 4096 bytes at ")), "{out}");
    assert!(fs::read(&image).unwrap() == vec![0; HUGE]);
    drop(memory);
}

#[test]
fn a_snapshot_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    fs::write(here("snapshot"), [1; 2 * PAGE]).unwrap();
    fs::write(here("short"), [1; PAGE]).unwrap();
    let says = |command: &mut Command, expected: &str| {
        let (_, err) = run(command, 1);
        assert!(err.contains(expected), "{err}");
    };
    says(&mut example("snapshot"), "snapshot save MEMORY SNAPSHOT");
    says(example("snapshot").arg("save").arg(here("none")).arg(here("image")), "No such file");
    says(
        example("snapshot").arg("save").arg(here("short")).arg(here("image")).arg("many"),
        "no number of bytes",
    );
    let restore = || {
        let mut command = example("snapshot");
        command.arg("restore").arg(here("snapshot"));
        command
    };
    says(restore().arg(here("short")), "has 4096 bytes, and the snapshot 8192");
    assert_eq!(fs::read(here("short")).unwrap(), [1; PAGE], "nothing was restored");
}

#[test]
fn every_way_to_copy_is_right() {
    let (out, _) = run(&mut example("copy"), 0);
    for what in ["copy_pages: 512 pages", "past the cache: ", "copy_folios: 16 ", "copy_pages_parallel: "] {
        assert!(out.contains(what), "{out}");
    }
    assert!(out.contains("  64 KiB: ") && out.contains("2048 KiB: "), "{out}");
}

#[test]
fn a_programs_own_table_is_followed() {
    let (out, _) = run(&mut example("own_policy"), 0);
    assert!(out.contains("up to 256 KiB: ") && out.contains("longer: "), "{out}");
    assert!(out.ends_with("2 MiB were copied by it\n"), "{out}");
}

#[test]
fn a_programs_own_handler_sees_the_fault() {
    let (out, _) = run(&mut example("own_handler"), 0);
    assert!(out.starts_with("page 1 is lost: beyond the end of the mapping"), "{out}");
    let (_, faults) = out.split_once("our own handler saw ").unwrap_or_else(|| panic!("{out}"));
    assert!(!faults.starts_with("0 "), "{out}");
}

#[test]
fn a_checksum_is_that_of_sha256sum() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = [0, 1, PAGE - 1, PAGE, PAGE + 1, 131_071, 131_072, 400_000]
        .iter()
        .map(|length| {
            let path = folder.path().join(length.to_string());
            fs::write(&path, (0..*length).map(|index| (index * 11 / 3) as u8).collect::<Vec<_>>()).unwrap();
            path
        })
        .collect();
    let (ours, _) = run(example("checksum").args(&files), 0);
    let (theirs, _) = run(Command::new("sha256sum").args(&files), 0);
    assert_eq!(ours, theirs);
    let (_, err) = run(example("checksum").arg(folder.path().join("none")), 1);
    assert!(err.contains("No such file"), "{err}");
}

/// The file is cut as soon as it is mapped. Wherever the checksum has come to, amid a page too, the result is an error.
#[test]
fn a_checksum_of_a_file_that_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for left in [0, 5, PAGE, (1 << 20) + 123] {
        let file = File::create(&path).unwrap();
        file.set_len(1 << 30).unwrap();
        let mut checksum = example("checksum");
        let mut checksum = checksum.arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let maps = format!("/proc/{}/maps", checksum.id());
        let started = Instant::now();
        while !fs::read_to_string(&maps).unwrap().contains(path.to_str().unwrap()) {
            assert!(checksum.try_wait().unwrap().is_none(), "it ended before the file was cut");
            assert!(started.elapsed() < Duration::from_secs(60), "the file is never mapped");
        }
        file.set_len(left as u64).unwrap();
        let Output { status, stdout, stderr } = checksum.wait_with_output().unwrap();
        let (out, err) = (text(&stdout), text(&stderr));
        assert_eq!((status.code(), out.as_str()), (Some(1), ""), "{status}: {err}");
        let said =
            err.strip_prefix(&format!("{}: only ", path.display())).and_then(|rest| rest.split_once(' '));
        let (good, rest) = said.unwrap_or_else(|| panic!("{err}"));
        let good: usize = good.parse().unwrap();
        assert!((left..1 << 30).contains(&good), "{err}");
        assert_eq!(rest, "of 1073741824 bytes can be read: beyond the end of the mapping\n");
    }
}
