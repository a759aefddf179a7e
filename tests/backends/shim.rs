//! The shim of TensorRT compiles against the headers of every generation, without a warning.

use std::path::{Path, PathBuf};
use std::process::Command;

use mixprec::digest::sha256;
use mixprec::libraries::tensorrt::shim_digest;

use crate::fixtures::{shared, skip};

const SHIM: &str = "src/backend/tensorrt/shim";

/// NVIDIA's headers are no part of this repository.
#[test]
fn it_compiles_without_warnings_against_8_6_and_10_and_11() {
    let folder = tempfile::tempdir().unwrap();
    let others = ["8.6.1", "10.15", "11.1"].map(|version| shared().join("tensorrt").join(version));
    for (index, headers) in others.into_iter().chain(of_the_crate()).enumerate() {
        let version = headers.display();
        if !headers.join("NvInfer.h").is_file() {
            skip(format_args!("no headers of TensorRT in {version}"));
            continue;
        }
        let shim = folder.path().join(index.to_string());
        let mut compiler = Command::new("c++");
        compiler.args(["-std=c++17", "-O0", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]);
        compiler.arg("-isystem").arg(&headers).args(["-idirafter", &format!("{SHIM}/cuda")]);
        compiler.arg(format!("{SHIM}/shim.cpp")).arg("-o").arg(&shim).args(["-ldl", "-Wl,--no-undefined"]);
        match compiler.output() {
            Ok(output) => assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => return skip(format_args!("no C++ compiler: {error}")),
        }
        assert_eq!(exported(&shim), declared(), "{version}: the functions of shim.h and nothing else");
    }
}

/// The headers that set-up takes where no installation has any, in the sources of a crate that this build has fetched.
fn of_the_crate() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let below = |folders: Vec<PathBuf>, beginning: &str| -> Vec<PathBuf> {
        let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning));
        named.map(|entry| entry.path()).collect()
    };
    let indices = below(home.map(|home| home.join("registry/src")).into_iter().collect(), "");
    let crates = below(indices, "trtx-sys-").into_iter().map(|path| path.join("TensorRT-Headers"));
    below(crates.collect(), "TRT-Enterprise-")
}

/// The functions that `shim.h` declares.
fn declared() -> Vec<String> {
    let header = std::fs::read_to_string(format!("{SHIM}/shim.h")).unwrap();
    let code = header.lines().filter(|line| !line.starts_with("//"));
    let names = code.filter_map(|line| Some(format!("mixprec_trt_{}", line.split("mixprec_trt_").nth(1)?)));
    let mut names: Vec<String> = names.filter_map(|name| Some(name.split_once('(')?.0.to_owned())).collect();
    names.sort();
    names
}

/// The symbols that a shared object defines for others, without those of C++.
fn exported(shim: &Path) -> Vec<String> {
    let output = Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(shim).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with("_Z")).map(str::to_owned).collect();
    names.sort();
    names
}

/// Set-up names a compiled shim after the digest by which this program looks for it.
#[test]
fn set_up_and_the_program_agree_on_its_digest() {
    let setup = std::fs::read_to_string("container/setup.sh").unwrap();
    let files = ["shim.h", "shim.cpp", "cuda/cuda_runtime_api.h"];
    let list = files.map(|file| format!("\"$SHIM/{file}\"")).join(" ");
    assert!(setup.contains(&format!("cat {list} | sha256sum | cut -c1-16")), "container/setup.sh");
    let read = |file| std::fs::read(format!("{SHIM}/{file}")).unwrap();
    assert_eq!(shim_digest(), sha256(&files.map(read).concat())[..16]);
}
