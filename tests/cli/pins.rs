//! A removed file of pins, a changed hash, a swapped library: named by the doctor, and by the rows that were measured with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use mixprec::libraries::{How, Library, find};
use mixprec::provenance::pin_digests;
use mixprec::store::schema::ResultRow;
use serde_json::Value;
use tempfile::TempDir;

use crate::experiment::{Cells, Experiment, text};
use crate::fixtures::skip;
use crate::{mixprec, texts};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const PINS: [&str; 3] = ["container/wheels.json", "flake.lock", "Cargo.lock"];

/// A folder with what makes a repository of this program.
fn repository() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("container")).unwrap();
    for path in pin_digests::pinned_files().map(|(path, _)| path).chain([pin_digests::FILE, "container/setup.sh"]) {
        fs::copy(Path::new(REPOSITORY).join(path), root.path().join(path)).unwrap();
    }
    root
}

fn doctor(root: &Path) -> Output {
    mixprec(&["doctor", "--json"]).current_dir(root).output().unwrap()
}

/// The finding about a pin.
fn finding(output: &Output, name: &str) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["section"] == "pins" && finding["name"] == name).unwrap().clone()
}

#[test]
fn each_file_of_pins_that_is_removed_or_changed_is_named() {
    let root = repository();
    for name in PINS {
        let path = root.path().join(name);
        let whole = fs::read_to_string(&path).unwrap();
        assert_eq!(finding(&doctor(root.path()), name)["status"], "ok", "{name}");
        fs::remove_file(&path).unwrap();
        let output = doctor(root.path());
        let removed = finding(&output, name);
        assert_eq!((output.status.code(), &removed["status"]), (Some(1), &Value::from("missing")), "{name}");
        assert!(removed["detail"].as_str().unwrap().starts_with("no such file instead of sha256 "), "{removed}");
        assert!(removed["cure"].as_str().unwrap().starts_with(&format!("git checkout {name}")), "{removed}");
        let is_hash = |word: &&str| word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = whole.split('"').find(is_hash).unwrap();
        fs::write(&path, whole.replacen(hash, &"0".repeat(hash.len()), 1)).unwrap();
        let output = doctor(root.path());
        let changed = finding(&output, name);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(changed["detail"].as_str().unwrap().ends_with(&format!(" instead of {hash}")), "{changed}");
        assert!(changed["cure"].as_str().unwrap().contains(&format!("git checkout {name}")), "{changed}");
        fs::write(&path, whole).unwrap();
    }
    assert!(
        String::from_utf8_lossy(&mixprec(&["doctor"]).current_dir(root.path()).output().unwrap().stdout)
            .contains("Pins: what is here against what is pinned\n")
    );
}

/// The digests of the base images are compiled into nothing: a digest records the file, and nothing the file of digests.
#[test]
fn each_other_sealed_file_that_is_removed_or_changed_is_named_and_so_is_the_seal() {
    let root = repository();
    assert!(pin_digests::other_files().contains("container/Containerfile"));
    for name in pin_digests::other_files().into_iter().chain([pin_digests::FILE]) {
        let path = root.path().join(name);
        let whole = fs::read_to_string(&path).unwrap();
        assert_eq!(finding(&doctor(root.path()), name)["status"], "ok", "{name}");
        for (change, expected) in [(None, "no such file instead of "), (Some(format!("{whole} ")), "sha256 ")] {
            match change {
                None => fs::remove_file(&path).unwrap(),
                Some(changed) => fs::write(&path, changed).unwrap(),
            }
            let output = doctor(root.path());
            let found = finding(&output, name);
            assert_eq!((output.status.code(), &found["status"]), (Some(1), &Value::from("missing")), "{name}");
            assert!(found["detail"].as_str().unwrap().starts_with(expected), "{found}");
            assert!(found["cure"].as_str().unwrap().contains("make pins"), "{found}");
        }
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn outside_a_repository_the_pins_compiled_in_count() {
    let output = doctor(tempfile::tempdir().unwrap().path());
    for name in PINS {
        assert_eq!(finding(&output, name)["status"], "not_needed", "{name}");
    }
}

/// Without what a changed work tree puts into every row.
fn stamp(row: &ResultRow) -> String {
    let stamp = row.pins.as_deref().unwrap();
    let rest: Vec<&str> = stamp.split("; ").filter(|one| !one.starts_with("build: ")).collect();
    if rest.is_empty() { "match".to_owned() } else { rest.join("; ") }
}

/// The pinned ONNX Runtime of this machine; `None` with the reason printed.
fn pinned() -> Option<PathBuf> {
    match find(Library::OnnxRuntime) {
        Ok(found) if found.how == How::Pinned => Some(found.path),
        Ok(found) => {
            skip(format_args!("ONNX Runtime is {} and not the pinned one", found.how));
            None
        }
        Err(reason) => {
            skip(reason);
            None
        }
    }
}

/// Runs both CPU backends in `root`, where libraries are looked for first; reference, then onnxruntime.
fn run(experiment: &Experiment, root: &Path, variable: Option<&Path>) -> Vec<ResultRow> {
    let _ = fs::remove_dir_all(experiment.dir());
    let mut command = mixprec(&["run", text(&experiment.yaml()), "--out", text(&experiment.dir())]);
    command.current_dir(root).env_remove("ORT_DYLIB_PATH");
    if let Some(library) = variable {
        command.env("ORT_DYLIB_PATH", library);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{:?}", texts(&output));
    experiment.rows()
}

#[test]
fn a_swapped_library_is_named_by_the_doctor_and_by_its_rows_alone() {
    let Some(library) = pinned() else { return };
    let root = repository();
    let pin = Library::OnnxRuntime.pin().unwrap().unwrap();
    let place = root.path().join(&pin.path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(&library, &place).unwrap();
    let experiment = Experiment::new(&Cells { backends: "[reference, onnxruntime]", count: 2, ..Cells::default() });
    let rows = run(&experiment, root.path(), None);
    assert_eq!(rows.iter().map(stamp).collect::<Vec<_>>(), ["match", "match"]);
    assert_eq!(finding(&doctor(root.path()), pin.file)["status"], "ok");

    // One bit of the table of sections at the end, which the dynamic loader does not read: it runs as before.
    let mut bytes = fs::read(&place).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&place, &bytes).unwrap();
    let digest = mixprec::digest::sha256(&bytes);
    let expected = format!("{}: sha256 {} instead of 1.32.0, sha256 {}", pin.file, &digest[..12], &pin.sha256[..12]);
    let rows = run(&experiment, root.path(), None);
    assert_eq!(rows.iter().map(stamp).collect::<Vec<_>>(), ["match", &expected]);
    let output = doctor(root.path());
    let found = finding(&output, pin.file);
    assert_eq!((output.status.code(), &found["status"]), (Some(1), &Value::from("missing")));
    assert!(found["detail"].as_str().unwrap().contains(&digest[..12]), "{found}");
    assert!(found["cure"].as_str().unwrap().contains("container/setup.sh --libraries"), "{found}");

    // A person's own choice is no error, and said in the rows and under every table.
    let own = root.path().join("own.so");
    fs::copy(&place, &own).unwrap();
    let rows = run(&experiment, root.path(), Some(&own));
    assert_eq!(stamp(&rows[1]), expected);
    let output = mixprec(&["report", text(&experiment.dir())]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{:?}", texts(&output));
    let table = fs::read_to_string(experiment.dir().join("report/memory.tex")).unwrap();
    assert!(table.contains(&format!("sha256 {} instead of 1.32.0", &digest[..12])), "{table}");
}
