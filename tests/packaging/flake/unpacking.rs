//! The shell that the flake runs in its builds, run here on wheels of the same shape.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::Flake;
use crate::both_streams;
use crate::fixtures::skip;

/// Writes, for every pin of the list, a wheel that has the pinned files with other contents, and their digests into the
/// list. Arguments: the list, the folder for the wheels.
const MAKE_WHEELS: &str = r#"
import hashlib, json, pathlib, sys, zipfile
path, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
pins = json.loads(path.read_text())
for key, wheel in pins["wheels"].items():
    with zipfile.ZipFile(folder / wheel["file"], "w") as archive:
        archive.writestr("not/wanted.so", b"")
        for name, file in wheel["unpack"].items():
            data = f"{key} {name}".encode()
            archive.writestr(f"{wheel['folder']}/{name}", data)
            file["sha256"] = hashlib.sha256(data).hexdigest()
path.write_text(json.dumps(pins))
"#;

fn have(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok()
}

/// Runs the build's shell with the wheels in `folder` in the place of those in the store.
fn install(flake: &Flake, package: &str, folder: &Path, out: &Path) -> Output {
    let phase = flake.eval(&format!("packages.x86_64-linux.{package}"), "package: package.installPhase");
    let mut script = phase.as_str().unwrap().to_owned();
    for path in flake.wheel_paths().values() {
        let file = path.split_once('-').unwrap().1;
        script = script.replace(path, &folder.join(file).display().to_string());
    }
    Command::new("bash").args(["-euc", &script]).env("out", out).output().unwrap()
}

#[test]
fn wheels_are_unpacked_into_the_folders_where_the_program_looks() {
    let Some(flake) = Flake::new() else { return };
    if !(have("unzip", "-v") && have("python3", "--version")) {
        skip("unzip or python3 is not there");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let list = flake.path("container/wheels.json");
    let made = Command::new("python3").args(["-c", MAKE_WHEELS]).arg(&list).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", both_streams(&made));

    let out = folder.path().join("out");
    let output = install(&flake, "libraries", folder.path(), &out);
    assert!(output.status.success(), "{}", both_streams(&output));
    let Value::Object(pins) = flake.pins() else { panic!("pins are a table") };
    for (key, pin) in pins.iter().filter(|(key, _)| *key != "minilm") {
        let unpacked = out.join(format!("runs/libraries/{key}-{}", pin["version"].as_str().unwrap()));
        let names: Vec<_> = pin["unpack"].as_object().unwrap().keys().collect();
        assert_eq!(fs::read_dir(&unpacked).unwrap().count(), names.len(), "{key}");
        for name in names {
            assert_eq!(fs::read_to_string(unpacked.join(name)).unwrap(), format!("{key} {name}"));
        }
    }
    assert_eq!(fs::read_dir(out.join("runs/libraries")).unwrap().count(), 4);

    let checkpoint = folder.path().join("minilm");
    let output = install(&flake, "minilm", folder.path(), &checkpoint);
    assert!(output.status.success() && checkpoint.join("config.json").is_file(), "{}", both_streams(&output));

    // A wheel with the right name and another file in it.
    flake.edit(
        "container/wheels.json",
        pins["cublas"]["unpack"]["libcublasLt.so.13"]["sha256"].as_str().unwrap(),
        &"0".repeat(64),
    );
    let output = install(&flake, "libraries", folder.path(), &folder.path().join("refused"));
    assert!(
        !output.status.success() && both_streams(&output).contains("libcublasLt.so.13"),
        "{}",
        both_streams(&output)
    );
}

/// The program must lie below the folder that has runs/libraries, as a file of its own.
#[test]
fn the_program_lies_beside_its_libraries() {
    let Some(flake) = Flake::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let attributes = "mixprec: { inherit (mixprec) installPhase; }";
    let phase = flake.eval("packages.x86_64-linux.default", attributes)["installPhase"].as_str().unwrap().to_owned();
    let outputs =
        flake.eval("packages.x86_64-linux", "packages: [ packages.program.outPath packages.libraries.outPath ]");
    let mut script = phase;
    for (index, name) in ["program", "libraries"].into_iter().enumerate() {
        script = script.replace(outputs[index].as_str().unwrap(), &folder.path().join(name).display().to_string());
    }
    // What the store would hold: the sources are in this test's own store.
    let store = flake.folder.path().join("store");
    script = script.replace("/nix/store", &store.join("nix/store").display().to_string());
    fs::create_dir_all(folder.path().join("program/bin")).unwrap();
    fs::write(folder.path().join("program/bin/mixprec"), "the program").unwrap();
    for library in ["libraries/runs/libraries/tensorrt-rtx", "program/runs/libraries/tensorrt-shim"] {
        fs::create_dir_all(folder.path().join(library)).unwrap();
    }
    let out = folder.path().join("out");
    let wrapper = "makeWrapper() { mkdir -p \"${2%/*}\"; printf '%s\\n' \"$@\" > \"$2\"; }\n";
    let output = Command::new("bash").args(["-euc", &format!("{wrapper}{script}")]).env("out", &out).output().unwrap();
    assert!(output.status.success(), "{}", both_streams(&output));

    assert!(out.join("libexec/mixprec").symlink_metadata().unwrap().is_file());
    assert!(["tensorrt-rtx", "tensorrt-shim"].iter().all(|name| out.join("runs/libraries").join(name).is_dir()));
    assert!(out.join("share/mixprec/experiments/quick.yaml").is_file());
    let wrapped = fs::read_to_string(out.join("bin/mixprec")).unwrap();
    let arguments: Vec<_> = wrapped.lines().collect();
    assert_eq!(arguments[0], out.join("libexec/mixprec").to_str().unwrap());
    assert!(
        arguments[2] == "--run" && arguments[3].starts_with(". ") && arguments[3].ends_with("-driver.sh"),
        "{wrapped}"
    );
}
