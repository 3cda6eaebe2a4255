use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

fn refusal(path: &Path, force: bool) -> String {
    format!("{:#}", OutputFile::create(path, force).err().unwrap())
}

#[test]
fn nothing_appears_until_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.json");
    let output = OutputFile::create(&path, false).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    output.write(b"{}").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn an_existing_file_is_kept_unless_forced_and_then_written_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.json");
    fs::write(&path, "old and long").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&path, directory.path().join("other")).unwrap();
    let before = path.metadata().unwrap();
    assert!(refusal(&path, false).contains("--force"));
    OutputFile::create(&path, true).unwrap().write(b"new").unwrap();
    assert_eq!(fs::read(directory.path().join("other")).unwrap(), b"new");
    let after = path.metadata().unwrap();
    assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()));
}

#[test]
fn a_file_that_appears_meanwhile_is_kept_unless_forced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.json");
    for force in [false, true] {
        let _ = fs::remove_file(&path);
        let output = OutputFile::create(&path, force).unwrap();
        fs::write(&path, "somebody's").unwrap();
        assert_eq!(output.write(b"ours").is_ok(), force);
        assert_eq!(fs::read(&path).unwrap(), if force { &b"ours"[..] } else { b"somebody's" });
    }
}

#[test]
fn what_cannot_be_written_is_known_at_once() {
    let missing = refusal(Path::new("/nonexistent/out.json"), false);
    assert!(missing.starts_with("can't write `/nonexistent/out.json`: No such file"), "{missing}");
    assert!(refusal(Path::new("/"), false).contains("is a directory"));
    assert!(refusal(Path::new("out/"), false).contains("would be a directory"));
    assert!(refusal(Path::new(""), false).contains("is empty"));
    let long = refusal(&Path::new("/tmp").join("x".repeat(300)), false);
    assert!(long.contains("can't write `/tmp/xxx") && long.contains("too long"), "{long}");
}

#[test]
fn links_are_written_through_and_dangling_ones_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("real"), "old").unwrap();
    symlink("real", at("link")).unwrap();
    OutputFile::create(&at("link"), true).unwrap().write(b"new").unwrap();
    assert!(at("link").is_symlink());
    assert_eq!(fs::read(at("real")).unwrap(), b"new");
    symlink("nowhere", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    for force in [false, true] {
        assert!(refusal(&at("dangling"), force).contains("a link to `nowhere`, which is not there"));
        assert!(refusal(&at("loop"), force).starts_with("can't write"));
    }
}

#[test]
fn devices_are_written_as_they_are_and_pipes_need_a_reader() {
    OutputFile::create(Path::new("/dev/null"), false).unwrap().write(b"gone").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refusal(&pipe, false).contains("a pipe that nobody reads"));
    let mut reader =
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&pipe).unwrap();
    OutputFile::create(&pipe, false).unwrap().write(b"through").unwrap();
    let mut read = String::new();
    io::Read::read_to_string(&mut reader, &mut read).unwrap();
    assert_eq!(read, "through");
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(refusal(&socket, true).contains("is a socket"));
}

#[test]
fn two_names_of_one_file_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "old").unwrap();
    fs::hard_link(at("file"), at("hard")).unwrap();
    symlink("file", at("soft")).unwrap();
    symlink(directory.path(), at("folder")).unwrap();
    for (one, two) in [("file", "hard"), ("file", "soft"), ("new", "./new"), ("new", "folder/new")] {
        let error = OutputFile::create_all([at(one).as_path(), &at(two)], true).err().unwrap().to_string();
        assert!(error.contains("give each its own file"), "{error}");
    }
    assert!(OutputFile::create_all([at("file").as_path(), &at("new")], true).is_ok());
    let null = Path::new("/dev/null");
    assert!(OutputFile::create_all([null, null], false).is_ok());
    let file = OutputFile::create(&at("file"), true).unwrap();
    assert!(file.is_also(&at("soft")) && !file.is_also(&at("new")));
}

#[test]
fn a_file_that_fails_loses_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let files = OutputFile::create_all([at("a.json").as_path(), &at("b.json"), &at("c")], false).unwrap();
    fs::write(at("a.json"), "somebody's").unwrap();
    let contents = [Ok(b"first".to_vec()), Ok(b"second".to_vec()), Err(anyhow::anyhow!("no figures"))];
    let error = format!("{:#}", write_all(files.into_iter().zip(contents), OutputFile::write).unwrap_err());
    assert_eq!(fs::read(at("b.json")).unwrap(), b"second");
    assert_eq!(fs::read(at("a.json")).unwrap(), b"somebody's");
    assert!(
        error.contains("a.json`: File exists") && error.contains("c` was not written: no figures"),
        "{error}"
    );
}

#[test]
fn content_finds_another_place() {
    let kept = elsewhere(Path::new("/nonexistent/results.json"), b"{}").unwrap();
    assert_eq!(kept.extension().unwrap(), "json");
    assert_eq!(fs::read(&kept).unwrap(), b"{}");
    fs::remove_file(kept).unwrap();
}
