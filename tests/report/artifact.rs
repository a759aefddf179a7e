//! Published results: what is in the folder, what is refused, and that the paper is rendered from it to the byte.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mixprec::record::Status;
use mixprec::results::data::Data;
use mixprec::results::study::Study;
use mixprec::store::parquet::{read_results, write_results};
use tempfile::TempDir;

use super::fixture::{self, Shapes};
use crate::fixtures::skip;

/// Runs of three experiments as the runner leaves them.
pub struct Runs {
    root: TempDir,
}

impl Runs {
    pub fn new() -> Self {
        let runs = Runs { root: tempfile::tempdir().unwrap() };
        let few = Shapes { batches: &[1, 8], sequences: &[64], ..fixture::SERVER };
        runs.write("paper", &few, 0);
        runs.write("again", &few, 3600);
        runs.write("downstream", &Shapes { name: "downstream", inputs: &["sst2"], ..fixture::LAPTOP }, 0);
        runs
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, shapes: &Shapes, later_s: u64) {
        let plan = fixture::plan(shapes);
        let mut records = fixture::records(&plan, fixture::ENVIRONMENT);
        records.iter_mut().for_each(|record| record.finished_unix_s = record.finished_unix_s.map(|at| at + later_s));
        let data = fixture::data(plan, &records, &["NVIDIA H200"]);
        std::fs::create_dir(self.path(name)).unwrap();
        fixture::write(&self.path(name), &data, &records);
    }

    /// Publishes to `out`; returns exit code and standard error.
    pub fn publish(&self, out: &str, more: &[&str]) -> (Option<i32>, String) {
        let (repeat, with) = (self.path("again"), self.path("downstream"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        command.arg("artifact").arg(self.path("paper")).arg("--out").arg(self.path(out));
        let output = command.arg("--repeat").arg(repeat).arg("--with").arg(with).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn replay(&self, accept: bool) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("paper/replay.sh");
        let mut command = Command::new(script);
        command.args(accept.then_some("--accept")).arg(self.path("h200"));
        command.env("MIXPREC", env!("CARGO_BIN_EXE_mixprec")).env("GENERATED", self.path("generated"));
        command.output().unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn an_artifact_says_what_it_is_and_can_be_checked() {
    let runs = Runs::new();
    let (code, said) = runs.publish("h200", &[]);
    assert_eq!(code, Some(0), "{said}");
    let artifact = runs.path("h200");
    for file in ["results.parquet", "samples.parquet", "plan.json", "environments/feedfacecafebeef.json"] {
        for folder in [".", "repeat", "downstream"] {
            assert!(artifact.join(folder).join(file).is_file(), "{folder}/{file}");
        }
    }
    let readme = std::fs::read_to_string(artifact.join("README.md")).unwrap();
    for fragment in [
        "# h200: reference output",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "NVIDIA H200, driver 580.65.06; Example CPU",
        "| `.` | paper | 20 measured | `experiments/paper.yaml` |",
        "| `repeat` | paper |",
        "| `downstream` | downstream |",
        "make replay ARTIFACT=artifacts/h200",
    ] {
        assert!(readme.contains(fragment), "`{fragment}` is not in {readme}");
    }
    let check = || {
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&artifact).output().unwrap()
    };
    assert!(check().status.success(), "{}", text(&check()));
    assert_eq!(Data::read(&artifact).unwrap().rows.len(), 20);
    let first = std::fs::read(artifact.join("SHA256SUMS")).unwrap();
    assert_eq!(runs.publish("h200", &[]).0, Some(0), "an earlier artifact is replaced");
    assert_eq!(std::fs::read(artifact.join("SHA256SUMS")).unwrap(), first, "equal results are equal bytes");
    assert_eq!(std::fs::read_dir(runs.root.path()).unwrap().count(), 4, "nothing is left behind");
}

#[test]
fn what_nobody_can_build_again_is_not_published_unasked() {
    let runs = Runs::new();
    let path = runs.path("downstream/environments/feedfacecafebeef.json");
    let environment = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, environment.replace(r#""dirty": false"#, r#""dirty": true"#)).unwrap();
    let (code, said) = runs.publish("h200", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("(modified)") && said.contains("--allow-dirty"), "{said}");
    assert!(!runs.path("h200").exists());
    let (code, said) = runs.publish("h200", &["--allow-dirty"]);
    assert_eq!(code, Some(0), "{said}");
    let readme = std::fs::read_to_string(runs.path("h200/README.md")).unwrap();
    assert!(readme.contains("with changes that are not in it"), "{readme}");
}

#[test]
fn other_folders_and_experiments_twice_are_refused() {
    let runs = Runs::new();
    let (code, said) = runs.publish("paper", &[]);
    assert!(code == Some(2) && said.contains("not an earlier artifact, and would be lost"), "{said}");
    let downstream = runs.path("downstream");
    let (code, said) = runs.publish("h200", &["--with", downstream.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("the experiment `downstream` is in the artifact already"), "{said}");
    for same in ["paper", "again"] {
        let (code, said) = runs.publish("h200", &["--repeat", runs.path(same).to_str().unwrap()]);
        assert!(code == Some(2) && said.contains("the same measurements are in the artifact already"), "{said}");
    }
    let (code, said) = runs.publish("h200", &["--with", runs.path("nothing").to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("nothing: no plan.json"), "{said}");
}

/// A model of one name has one config.json in all experiments; their settings are their own.
#[test]
fn experiments_of_one_artifact_share_what_a_name_stands_for() {
    let runs = Runs::new();
    let config = |name: &str, config: &str, settings: &str| {
        let mut rows = read_results(&runs.path(name)).unwrap();
        for row in rows.iter_mut().filter(|row| row.status == Status::Ok) {
            row.config_sha256 = Some(config.repeat(64));
            row.settings_sha256 = Some(settings.repeat(64));
        }
        write_results(&runs.path(name), &rows).unwrap();
    };
    config("paper", "1", "a");
    config("again", "1", "a");
    config("downstream", "2", "b");
    let (paper, downstream) = (runs.path("paper"), runs.path("downstream"));
    let report = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        command.arg("report").arg(&paper).arg("--with").arg(&downstream).arg("--out").arg(runs.path("report"));
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    let refused = format!(
        "{}: bert-base was measured with another version of its config.json (sha256 222222222222) than in {}",
        downstream.display(),
        paper.display()
    );
    for (code, said) in [runs.publish("h200", &[]), report()] {
        assert!(code == Some(2) && said.contains(&refused) && said.contains("two different names"), "{said}");
    }
    assert!(!runs.path("h200").exists());
    config("downstream", "1", "b");
    for (code, said) in [runs.publish("h200", &[]), report()] {
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_json_file_that_an_editor_saved_is_read_and_a_bad_byte_is_named_by_its_line() {
    let runs = Runs::new();
    assert_eq!(runs.publish("h200", &[]).0, Some(0));
    let artifact = runs.path("h200");
    for name in ["plan.json", "artifact.json", "environments/feedfacecafebeef.json", "downstream/plan.json"] {
        let path = artifact.join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&b"\xef\xbb\xbf"[..], &bytes].concat()).unwrap();
        Study::read(&artifact).unwrap();
        std::fs::write(&path, [&b"{\n\n\xff"[..], &bytes[1..]].concat()).unwrap();
        let error = Study::read(&artifact).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}:3: byte 0xff is not UTF-8 text")), "{error}");
        std::fs::write(&path, [&b"{\n\n!"[..], &bytes[1..]].concat()).unwrap();
        let error = Study::read(&artifact).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("line 3"), "{error}");
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn replaying_renders_the_committed_files_to_the_byte() {
    let runs = Runs::new();
    assert_eq!(runs.publish("h200", &[]).0, Some(0));
    let accepted = runs.replay(true);
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted));
    let replayed = runs.replay(false);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed));
    assert!(text(&replayed).contains("each the committed one to the byte"), "{}", text(&replayed));
    let generated = runs.path("generated");
    // The repeat and the other experiment are found in the artifact.
    let section = |name: &str| std::fs::read_to_string(generated.join(name)).unwrap();
    assert!(section("appendix-repeatability.tex").contains("MixprecTable{agreement}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    let again = command.arg("report").arg(runs.path("h200")).arg("--repeat").arg(runs.path("again")).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    assert!(text(&again).contains("the same measurements are in this report already"), "{}", text(&again));
    assert!(section("appendix-sst2.tex").contains("MixprecTable{downstream-quality}"));

    let macros = section("macros.tex");
    std::fs::write(generated.join("macros.tex"), macros.replace("mpConfigurations}{20", "mpConfigurations}{21"))
        .unwrap();
    let replayed = runs.replay(false);
    assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed));
    assert!(text(&replayed).contains("macros.tex") && text(&replayed).contains("--accept"), "{}", text(&replayed));
    std::fs::write(generated.join("macros.tex"), macros).unwrap();
    std::fs::write(generated.join("stale.tex"), "").unwrap();
    assert_eq!(runs.replay(false).status.code(), Some(1), "a file that nothing renders");
    std::fs::remove_file(generated.join("stale.tex")).unwrap();

    let report = runs.path("h200/report");
    std::fs::create_dir_all(&report).unwrap();
    std::fs::write(report.join("report.html"), "").unwrap();
    let replayed = runs.replay(false);
    assert_eq!(replayed.status.code(), Some(0), "a report beside the rows: {}", text(&replayed));
    let stray = runs.path("h200/notes.txt");
    std::fs::write(&stray, "later").unwrap();
    let replayed = runs.replay(false);
    assert!(
        replayed.status.code() == Some(1) && text(&replayed).contains("not published: notes.txt"),
        "{}",
        text(&replayed)
    );
    std::fs::remove_file(stray).unwrap();
    let table = runs.path("h200/results.parquet");
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    let replayed = runs.replay(false);
    assert!(
        replayed.status.code() == Some(1) && text(&replayed).contains("results.parquet: FAILED"),
        "{}",
        text(&replayed)
    );
}

/// Every artifact that the repository holds and the paper is of. There is none before the first has been published.
#[test]
fn the_committed_paper_is_the_published_results() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let artifact = root.join("artifacts/h200");
    if !artifact.exists() {
        skip("artifacts/h200 is not there, nothing has been published yet");
        return;
    }
    let mut command = Command::new(root.join("paper/replay.sh"));
    let output = command.arg(&artifact).env("MIXPREC", env!("CARGO_BIN_EXE_mixprec")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// Commands in a README name its own folder.
#[test]
fn a_published_readme_is_that_of_its_folder() {
    for name in ["h200", "h200-cuda", "h200-stand-ins", "h200-tensorrt"] {
        let folder = format!("artifacts/{name}");
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).join("README.md");
        let text = std::fs::read_to_string(readme).unwrap();
        assert!(text.starts_with(&format!("# {name}: ")), "{folder}");
        assert!(text.contains(&format!("make replay ARTIFACT={folder} ")), "{folder}");
    }
}

/// A character that LaTeX has no command for is printed as its code point, which no reader understands.
#[test]
fn the_committed_paper_prints_every_character() {
    let generated = Path::new(env!("CARGO_MANIFEST_DIR")).join("paper/generated");
    let files = std::fs::read_dir(generated).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "tex")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("\\texttt{[U+"), "{}", file.display());
    }
}
