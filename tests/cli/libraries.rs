//! ONNX Runtime that is missing, too old or something else: a line of the doctor, an error, a row's reason.

use std::path::{Path, PathBuf};
use std::process::Command;

use mixprec::libraries::{self, Library};
use mixprec::record::FailureKind;
use tempfile::TempDir;

use crate::experiment::{Cells, Experiment, text};
use crate::fixtures::skip;
use crate::{assert_says, expect, mixprec, texts};

/// The entry point every ONNX Runtime has, in a library that says it is an old one.
const OLD: &str = r#"
struct base { const void *(*get_api)(unsigned); const char *(*get_version)(void); };
static const void *get_api(unsigned version) { return 0; }
static const char *get_version(void) { return "1.17.3"; }
const struct base *OrtGetApiBase(void) { static const struct base base = {get_api, get_version}; return &base; }
"#;

/// Compiles a library; `None` with the reason printed where there is no C compiler.
fn compiled(folder: &TempDir, source: &str) -> Option<PathBuf> {
    let [code, library] = ["library.c", "libonnxruntime.so"].map(|name| folder.path().join(name));
    std::fs::write(&code, source).unwrap();
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o", text(&library), text(&code)]).status();
    if !compiler.is_ok_and(|status| status.success()) {
        skip("no C compiler to make a library with");
        return None;
    }
    Some(library)
}

/// Asserts that the doctor, a command and a row all give the reason in one line.
fn refused(library: &Path, reason: &str) {
    let with_library = |arguments: &[&str]| {
        let output = mixprec(arguments).env("ORT_DYLIB_PATH", library).output().unwrap();
        let (stdout, stderr) = texts(&output);
        (output.status.code(), stdout, stderr)
    };
    let (code, stdout, _) = with_library(&["doctor"]);
    // What the variable leads to is not the pinned file, whether it is another or none.
    assert_eq!(code, Some(1), "{stdout}");
    let line = stdout.lines().find(|line| line.contains("  onnxruntime ")).unwrap();
    assert!(line.trim_start().starts_with("no ") && line.contains(reason), "{line}");

    let cells = Cells { backends: "[reference, onnxruntime]", count: 2, ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let (code, _, stderr) = with_library(&["run", text(&experiment.yaml()), "--out", text(&experiment.dir())]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("1 measured, 1 failed"), "{stderr}");
    let rows = experiment.rows();
    let failed: Vec<_> = rows.iter().filter_map(|row| Some((row.failure_kind?, row.reason.clone()?))).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, FailureKind::Unavailable);
    assert_says(&failed[0].1, &["onnxruntime is not available: ", reason]);
}

#[test]
fn a_missing_onnx_runtime_is_told_with_the_cure() {
    let reason =
        "ORT_DYLIB_PATH leads to `/nowhere/libonnxruntime.so`, which is no file: correct the variable, or unset it";
    refused(Path::new("/nowhere/libonnxruntime.so"), reason);
}

#[test]
fn an_onnx_runtime_that_is_too_old_is_told_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(&folder, OLD) else { return };
    let path = library.canonicalize().unwrap();
    refused(&library, &format!("ONNX Runtime 1.17.3 at {} is too old: 1.24 or newer is needed", path.display()));
}

#[test]
fn a_library_that_is_no_onnx_runtime_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiled(&folder, "int nothing(void) { return 0; }") else { return };
    refused(&library, "libonnxruntime.so is no ONNX Runtime library; correct ORT_DYLIB_PATH, or unset it");
    std::fs::write(&library, "no library at all").unwrap();
    refused(&library, "libonnxruntime.so cannot be loaded: ");
}

/// The library is measured like any other backend, and compared with the reference.
#[test]
fn onnx_runtime_is_measured_and_compared_where_it_is_there() {
    if let Err(error) =
        mixprec::backend::backend(mixprec::engine::BackendKind::OnnxRuntime).and_then(|backend| backend.availability())
    {
        skip(error);
        return;
    }
    let cells = Cells {
        backends: "[onnxruntime]",
        precisions: "[fp32, fp16, hybrid]",
        batch_sizes: "[1, 2]",
        count: 6,
        ..Cells::default()
    };
    let experiment = Experiment::new(&cells);
    experiment.run(0);
    for row in experiment.rows() {
        assert_eq!(row.reason, None);
        assert!(row.cosine_min.is_some_and(|cosine| cosine > 0.9999), "{row:?}");
        assert_eq!(row.emulated, Some(row.precision != "fp32"), "{row:?}");
        assert!(row.engine_library.is_some_and(|library| library.starts_with("ONNX Runtime ")));
    }
}

/// A copy of the library, whose bytes change and which is deleted, under one version.
#[test]
fn rows_of_two_builds_of_a_library_are_not_joined_and_a_library_that_is_gone_is_told() {
    let found = match libraries::find(Library::OnnxRuntime) {
        Ok(found) => found.path,
        Err(error) => return skip(error),
    };
    let experiment =
        Experiment::new(&Cells { backends: "[onnxruntime]", batch_sizes: "[1, 2]", count: 2, ..Cells::default() });
    let library = experiment.folder().join(found.file_name().unwrap());
    std::fs::copy(&found, &library).unwrap();
    let out = |name: &str| experiment.dir().with_file_name(name);
    let run = |name: &str, more: &[&str]| {
        let dir = out(name);
        let yaml = experiment.yaml();
        let arguments = [&["run", text(&yaml), "--out", text(&dir)], more].concat();
        let output = mixprec(&arguments).env("ORT_DYLIB_PATH", &library).output().unwrap();
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    };
    run("first", &["--shard", "1/2"]);
    run("all", &[]);
    let mut bytes = std::fs::read(&library).unwrap();
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    std::fs::write(&library, bytes).unwrap();
    run("second", &["--shard", "2/2"]);
    run("repeat", &[]);
    let [first, second, all, repeat] = ["first", "second", "all", "repeat"].map(out);
    let said = "onnxruntime was measured with another version of its libraries (libonnxruntime.so sha256 ";
    let cure = "put one build of the library in place and run the other folder again with it";
    let (merged, artifact) = (out("merged"), out("artifact"));
    let merge = expect(2, &["merge", text(&first), text(&second), "--out", text(&merged)]).1;
    let publish = expect(2, &["artifact", text(&first), text(&second), "--out", text(&artifact), "--allow-dirty"]).1;
    for refusal in [merge, publish] {
        assert_says(&refusal, &[said, text(&first), text(&second), cure]);
    }
    // Two runs may differ in it: that is what is compared.
    let (compared, _) = texts(&mixprec(&["compare", text(&all), text(&repeat)]).output().unwrap());
    assert!(compared.contains("libraries for onnxruntime"), "{compared}");

    std::fs::remove_file(&library).unwrap();
    let stderr = run("all", &[]);
    assert_says(
        stderr.lines().next().unwrap(),
        &[
            "note: libonnxruntime.so: 2 row(s) of this folder were measured with this library, and it is not here any more",
        ],
    );
    assert!(stderr.contains("2 measured earlier"), "{stderr}");

    // A row that failed for want of the library does not outlive the failure's cause.
    let failed = out("failed");
    let arguments = ["run", text(&experiment.yaml()), "--out", text(&failed)].map(str::to_owned);
    let arguments = arguments.each_ref().map(String::as_str);
    let output = mixprec(&arguments).env("ORT_DYLIB_PATH", &library).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    std::fs::copy(&found, &library).unwrap();
    let stderr = run("failed", &[]);
    let word =
        "libonnxruntime.so: 2 row(s) of this folder failed when it was another or absent, and are measured again";
    assert_says(stderr.lines().next().unwrap(), &[word]);
    assert!(stderr.contains("2 measured"), "{stderr}");
}
