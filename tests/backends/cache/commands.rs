//! mixprec cache ls, gc, verify.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use super::{Fixture, hit, key};

/// Runs `mixprec cache ...` on the folder and expects this exit code; returns standard output and standard error.
fn expect(code: i32, folder: &Path, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    command.env("MIXPREC_CACHE_DIR", folder).env_remove("MIXPREC_CACHE_LIMIT_GB");
    finish(code, command.arg("cache").args(arguments))
}

fn finish(code: i32, command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    (stdout, stderr)
}

#[test]
fn ls_shows_engines_damage_leftovers_and_totals() {
    let fixture = Fixture::new();
    fixture.store(&key("1x128"), &[7; 1_200_000]);
    fixture.store(&key("2x128"), b"engine");
    fs::write(fixture.file(&key("2x128"), "engine.bin"), "eng").unwrap();
    fs::create_dir(fixture.folder().join(".partial-x")).unwrap();
    let (text, _) = expect(0, fixture.folder(), &["ls"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], fixture.folder().to_str().unwrap());
    assert!(lines[2].starts_with("key           model      policy  extent  target  library "), "{text}");
    let row: Vec<&str> = lines[3].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let one = key("1x128");
    assert_eq!(
        row,
        [&one.digest()[..12], "bert-tiny", "hybrid", "1x128", "sm80", "TensorRT-RTX 1.7.1", "1.2 MB", "just now"]
    );
    assert!(text.contains("damaged, ") && text.contains("engine.bin has 3 bytes instead of 6"), "{text}");
    assert!(text.contains(".partial-x  being written, or left by an interrupted write"), "{text}");
    assert!(text.ends_with("2 engines, 1.2 MB of at most 20.0 GB (MIXPREC_CACHE_LIMIT_GB)\n"), "{text}");
}

#[test]
fn ls_as_json_holds_the_same() {
    let fixture = Fixture::new();
    fixture.store(&key("1x128"), b"engine");
    let value: Value = serde_json::from_str(&expect(0, fixture.folder(), &["ls", "--json"]).0).unwrap();
    assert_eq!(value["limit_bytes"], 20_000_000_000_u64);
    assert_eq!(value["entries"][0]["key"], key("1x128").digest());
    assert_eq!(value["entries"][0]["engine"]["policy"], "hybrid");
    assert_eq!(value["entries"][0]["damage"], Value::Null);
    assert_eq!(value["total_bytes"], value["entries"][0]["bytes"]);
    let absent = fixture.root.path().join("absent");
    let empty: Value = serde_json::from_str(&expect(0, &absent, &["ls", "--json"]).0).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&empty), keys(&value));
}

#[test]
fn a_cache_that_does_not_exist_is_empty_and_is_not_made() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("engines");
    for command in ["ls", "gc", "verify"] {
        let (text, _) = expect(0, &folder, &[command]);
        assert!(text.contains("no engine is cached") && text.contains("does not exist yet"), "{text}");
    }
    assert!(!folder.exists());
}

#[test]
fn gc_deletes_what_it_says_and_a_dry_run_nothing() {
    let fixture = Fixture::new();
    for extent in ["1x128", "2x128"] {
        fixture.store(&key(extent), &[7; 1_000_000]);
    }
    fs::remove_file(fixture.file(&key("1x128"), "entry.json")).unwrap();
    let folder = fixture.folder();
    let (text, _) = expect(0, folder, &["gc", "--dry-run"]);
    assert!(text.contains("(damaged: entry.json is missing)\nwould delete 1 engine; 1.0 MB would be freed;"), "{text}");
    assert_eq!(fixture.names().len(), 2);
    let (text, _) = expect(0, folder, &["gc"]);
    assert!(text.contains("deleted 1 engine; 1.0 MB freed; 1 engine, 1.0 MB, kept"), "{text}");
    assert_eq!(fixture.names(), [key("2x128").digest()]);
    assert!(expect(0, folder, &["gc", "--older-than", "1"]).0.starts_with("deleted no engine"));
    let (text, _) = expect(0, folder, &["gc", "--limit-gb", "0.0005"]);
    assert!(text.contains("bert-tiny hybrid 2x128 sm80  1.0 MB  (least recently used)"), "{text}");
    assert!(fixture.names().is_empty());
    fixture.store(&key("1x128"), b"engine");
    assert!(expect(0, folder, &["gc", "--all"]).0.contains("0 engines, 0.0 kB, kept"));
    assert!(fixture.names().is_empty());
    fs::create_dir(folder.join(".partial-x")).unwrap();
    let leftover = "deleted .partial-x  0.0 kB  (left by an interrupted write)\n";
    let nothing = "deleted no engine; 0.0 kB freed; 0 engines, 0.0 kB, kept\n";
    assert_eq!(expect(0, folder, &["gc"]).0, format!("{leftover}{nothing}"));
}

#[test]
fn verify_finds_the_changed_byte_and_deletes_nothing() {
    let fixture = Fixture::new();
    fixture.store(&key("1x128"), b"engine");
    fixture.store(&key("2x128"), b"engine");
    fixture.cache.attach(&key("2x128"), "layers.json", b"{}").unwrap();
    assert_eq!(expect(0, fixture.folder(), &["verify"]).0, "2 engines checked, 0 damaged\n");
    fs::write(fixture.file(&key("1x128"), "engine.bin"), "enginE").unwrap();
    fs::write(fixture.file(&key("2x128"), "layers.json"), "[]").unwrap();
    let (text, _) = expect(1, fixture.folder(), &["verify"]);
    for part in ["damaged: engine.bin does not match", "damaged: layers.json does not match", "2 checked, 2 damaged"] {
        let part = part.replace("2 checked", "2 engines checked");
        assert!(text.contains(&part), "`{part}` is not in: {text}");
    }
    assert_eq!(fixture.names().len(), 2);
    fixture.expect_damage(&key("1x128"), "engine.bin does not match");
    assert_eq!(fixture.lookup(&key("2x128")), hit(b"engine"));
}

#[test]
fn bad_input_is_one_line_with_a_cure() {
    let fixture = Fixture::new();
    let folder = fixture.folder();
    fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    let (_, stderr) = expect(2, folder, &["ls"]);
    assert!(
        stderr.contains("other users may write to this folder; chmod go-w ") && stderr.lines().count() == 1,
        "{stderr}"
    );
    fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    command.env("MIXPREC_CACHE_DIR", folder).env("MIXPREC_CACHE_LIMIT_GB", "lots").args(["cache", "ls"]);
    let (_, stderr) = finish(2, &mut command);
    assert!(stderr.contains("MIXPREC_CACHE_LIMIT_GB is `lots`") && stderr.lines().count() == 1, "{stderr}");
    for arguments in [["gc", "--limit-gb", "-1"], ["gc", "--limit-gb", "x"], ["gc", "--older-than", "soon"]] {
        expect(2, folder, &arguments);
    }
    expect(2, folder, &["gc", "--all", "--limit-gb", "1"]);
}
