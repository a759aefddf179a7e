//! The digests of the program's own arithmetic, as the build script computes them.

use std::fs;
use std::path::Path;

use super::build_script::{ARITHMETIC, arithmetic};

/// The sources and the lock file of this repository, in another folder.
fn copy() -> tempfile::TempDir {
    fn copy_folder(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() { copy_folder(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
        }
    }
    let (root, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().unwrap());
    copy_folder(&root.join("src"), &folder.path().join("src"));
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    folder
}

fn digests(root: &Path) -> Vec<String> {
    ARITHMETIC.iter().map(|(_, own)| arithmetic(root, own).unwrap()).collect()
}

/// Which backends have another digest after an edit of a file.
fn changed(file: &str, edit: impl Fn(String) -> String) -> Vec<&'static str> {
    let folder = copy();
    let (path, before) = (folder.path().join(file), digests(folder.path()));
    let text = fs::read_to_string(&path).unwrap();
    let edited = edit(text.clone());
    assert_ne!(edited, text, "{file}");
    fs::write(path, edited).unwrap();
    let after = digests(folder.path());
    let names = ARITHMETIC.iter().map(|(name, _)| *name);
    names.zip(before.iter().zip(&after)).filter(|(_, (before, after))| before != after).map(|(name, _)| name).collect()
}

#[test]
fn a_source_changes_the_arithmetic_of_the_backends_that_it_decides() {
    let all = ["REFERENCE", "ONNXRUNTIME", "CUDA", "TENSORRT", "MOCK"];
    let append = |text: String| text.replacen("use ", "use core as _;\nuse ", 1);
    for file in ["src/graph/cost.rs", "src/model/bert.rs", "src/numerics/compare.rs", "src/backend/reference/real.rs"] {
        assert_eq!(changed(file, append), all, "{file}");
    }
    assert_eq!(changed("src/backend/cuda/kernels/layer_norm.cu", |text| text.replace('+', "-")), ["CUDA"]);
    assert_eq!(changed("src/onnx/lowering.rs", append), ["ONNXRUNTIME", "TENSORRT"]);
    assert_eq!(changed("src/backend/mock.rs", append), ["MOCK"]);
    assert_eq!(changed("src/report/mod.rs", append), [""; 0]);
    let version = |text: String| text.replacen("name = \"faer\"\nversion = \"", "name = \"faer\"\nversion = \"9", 1);
    assert_eq!(changed("Cargo.lock", version), all);
    let other = |text: String| text.replacen("name = \"clap\"\nversion = \"", "name = \"clap\"\nversion = \"9", 1);
    assert_eq!(changed("Cargo.lock", other), [""; 0]);
}

#[test]
fn comments_tests_line_ends_and_the_folder_change_no_arithmetic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(digests(copy().path()), digests(root));
    let edits: [fn(String) -> String; 4] = [
        |text| format!("// A remark.\n\n{text}"),
        |text| text.replace('\n', "\r\n"),
        |text| text.replace("mod tests {", "mod tests {\n    const MORE: u8 = 1;"),
        |text| text.replace(";\n", ";  \n"),
    ];
    for edit in edits {
        assert_eq!(changed("src/numerics/compare.rs", edit), [""; 0]);
    }
    let kernel = |text: String| format!("// A remark.\n{text}");
    assert_eq!(changed("src/backend/cuda/kernels/layer_norm.cu", kernel), [""; 0]);
}
