//! Set-up on machines that lack something: what it says, and what it leaves alone.

use std::fs;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::{both_streams, on_path, repository, write_command};

#[test]
fn set_up_changes_nothing_when_all_is_there() {
    let script = repository().join("container/setup.sh");
    let runs = [(); 2].map(|()| Command::new("bash").arg(&script).output().unwrap());
    for output in &runs {
        assert!(output.status.success(), "{}", both_streams(output));
        assert!(!both_streams(output).contains("installing"), "{}", both_streams(output));
    }
    assert_eq!(runs[0].stdout, runs[1].stdout);
    let unknown = Command::new("bash").arg(&script).arg("--papre").output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(both_streams(&unknown).contains("unknown argument: --papre"));
}

/// A variable that leads nowhere, or to a libclang that the binding generator does not take, is named before anything else.
#[test]
fn a_libclang_path_that_will_not_do_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let set_up = |name: &str, option: &str| {
        let mut script = Command::new("bash");
        script.arg(repository().join("container/setup.sh")).arg(option);
        script.env("LIBCLANG_PATH", folder.path().join(name)).output().unwrap()
    };
    for (name, file, expected) in [
        ("absent", None, "no libclang.so is there"),
        ("other", Some("libclang-cpp.so.19"), "no libclang.so is there"),
        ("debian", Some("libclang-22.so.22"), "libclang 22 is too new"),
        ("fedora", Some("libclang.so.22.1"), "libclang 22 is too new"),
        ("debian-14", Some("libclang-14.so.13"), ""),
        ("fedora-21", Some("libclang.so.21.1"), ""),
    ] {
        if let Some(file) = file {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(file), "").unwrap();
        }
        let found = set_up(name, "--libclang");
        let said = both_streams(&found);
        assert_eq!(found.status.success(), expected.is_empty(), "{name}: {said}");
        if expected.is_empty() {
            assert_eq!(Path::new(said.trim()), folder.path().join(name));
            continue;
        }
        let built = set_up(name, "--build");
        assert_eq!(built.status.code(), Some(1), "{name}");
        assert_eq!(both_streams(&built), said, "{name}: nothing is looked at before");
        assert!(said.contains("error: LIBCLANG_PATH=") && said.contains(expected), "{name}: {said}");
    }
}

/// Set-up in a repository of its own on a machine that has only these commands, and two that set-up begins with.
#[cfg(unix)]
struct Machine {
    folder: tempfile::TempDir,
}

#[cfg(unix)]
impl Machine {
    fn with(commands: &[(&str, &str)]) -> Self {
        let machine = Machine { folder: tempfile::tempdir().unwrap() };
        for name in ["bin", "container"] {
            fs::create_dir(machine.path(name)).unwrap();
        }
        for name in ["setup.sh", "requirements-test.txt"] {
            fs::copy(repository().join("container").join(name), machine.path("container").join(name)).unwrap();
        }
        for name in ["dirname", "env"] {
            std::os::unix::fs::symlink(on_path(name), machine.path("bin").join(name)).unwrap();
        }
        for (name, lines) in commands {
            write_command(&machine.path("bin").join(name), lines);
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn set_up(&self, step: &str) -> Output {
        let mut script = Command::new(on_path("bash"));
        script.arg(self.path("container/setup.sh")).arg(step).env("PATH", self.path("bin")).output().unwrap()
    }
}

/// Headers of the version 11.9.0, as far as set-up looks at them, in the sources of a crate. The compiler is a stand-in.
#[cfg(unix)]
#[test]
fn without_an_installation_the_shim_is_compiled_against_the_headers_of_a_crate() {
    let folder = tempfile::tempdir().unwrap();
    let (root, home) = (folder.path().join("repository"), folder.path().join("cargo"));
    let shim = root.join("src/backend/tensorrt/shim");
    let headers = home.join("registry/src/index/trtx-sys-0.9.1/TensorRT-Headers/TRT-Enterprise-11.9");
    for directory in [&root.join("container"), &shim.join("cuda"), &folder.path().join("bin"), &headers] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::copy(repository().join("container/setup.sh"), root.join("container/setup.sh")).unwrap();
    for file in ["shim.h", "shim.cpp", "cuda/cuda_runtime_api.h"] {
        fs::write(shim.join(file), "").unwrap();
    }
    let compiler = "case \"$1\" in -E) echo VERSION 11 9 0; exit ;; esac\n\
                    echo \"$*\" >\"$0.called\"\n\
                    for file; do case $file in *.partial) : >\"$file\" ;; esac; done";
    write_command(&folder.path().join("bin/c++"), compiler);
    let set_up = || {
        let mut script = Command::new("bash");
        script.arg(root.join("container/setup.sh")).arg("--tensorrt").env("CARGO_HOME", &home);
        script.env_remove("TENSORRT_INCLUDE_DIR").env_remove("MIXPREC_TENSORRT_DIR");
        let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
        script.env("PATH", path).output().unwrap()
    };
    if ["/usr/include/NvInfer.h", "/usr/include/x86_64-linux-gnu/NvInfer.h"].iter().any(|file| Path::new(file).exists())
    {
        return crate::fixtures::skip("this machine has TensorRT's headers");
    }
    let said = both_streams(&set_up());
    assert!(said.contains("error: no headers of TensorRT"), "{said}");
    for file in ["NvInfer.h", "NvOnnxParser.h"] {
        fs::write(headers.join(file), "").unwrap();
    }
    let output = set_up();
    let said = both_streams(&output);
    assert!(output.status.success() && said.contains("compiled the shim of TensorRT 11.9.0"), "{said}");
    let called = fs::read_to_string(folder.path().join("bin/c++.called")).unwrap();
    assert!(called.contains(headers.to_str().unwrap()), "{called}");
    assert!(both_streams(&set_up()).contains("the shim of TensorRT 11.9.0 is there"));
}

/// A machine without LaTeX, root or sudo: set-up must name the command for an administrator and install nothing.
#[cfg(unix)]
#[test]
fn without_rights_the_missing_packages_are_named_and_nothing_is_installed() {
    let machine = Machine::with(&[("id", "echo 1000"), ("apt-get", ": >\"$0.called\"")]);
    let output = machine.set_up("--paper");
    let text = both_streams(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("no rights to install; run as root: apt-get install latexmk texlive-latex-recommended"),
        "{text}"
    );
    assert!(!machine.path("bin/apt-get.called").exists(), "apt-get was called");
}

/// DPkg::Lock::Timeout covers the lock on packages and not the one on their lists.
#[cfg(unix)]
#[test]
fn another_apt_get_is_waited_for() {
    let update = "case \"$*\" in update*) ;; *) : >\"$0.installed\"; exit ;; esac\n\
                  [ ! -e \"$0.refused\" ] || exit 0\n\
                  : >\"$0.refused\"\n\
                  echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)' >&2\n\
                  exit 100";
    let machine = Machine::with(&[("id", "echo 0"), ("apt-get", update), ("sleep", "")]);
    let said = both_streams(&machine.set_up("--paper"));
    assert!(said.contains("waiting up to 600 s for another apt-get: E: Could not get lock"), "{said}");
    assert!(machine.path("bin/apt-get.installed").exists(), "{said}");

    let refusal = "echo 'E: no such repository' >&2; exit 100";
    let machine = Machine::with(&[("id", "echo 0"), ("apt-get", refusal), ("sleep", "")]);
    let output = machine.set_up("--paper");
    let said = both_streams(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: apt-get update: E: no such repository") && !said.contains("waiting"), "{said}");
}

#[cfg(unix)]
#[test]
fn absent_lints_are_added_by_rustup_or_their_cure_is_said() {
    let cargo = ("cargo", "[ -e \"${0%/*}/rustup.added\" ]");
    let output = Machine::with(&[cargo]).set_up("--lints");
    let said = both_streams(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("run 'rustup component add rustfmt clippy'"), "{said}");

    let machine = Machine::with(&[cargo, ("rustup", "echo \"called: $*\"; : >\"$0.added\"")]);
    for is_called in [true, false] {
        let output = machine.set_up("--lints");
        let said = both_streams(&output);
        assert!(output.status.success() && said.contains("rustfmt and clippy are there"), "{said}");
        assert_eq!(said.contains("called: component add rustfmt clippy"), is_called, "{said}");
    }
}

/// The tests that need the packages skip themselves.
#[cfg(unix)]
#[test]
fn a_python_that_no_package_is_pinned_for_is_said() {
    let python = "[ \"$1\" = --version ] && echo Python 3.9.18";
    let machine = Machine::with(&[("cargo", ""), ("cmp", "exit 1"), ("python3", python)]);
    let output = machine.set_up("--test");
    let said = both_streams(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("has no packages for this Python (Python 3.9.18)") && said.contains("skip"), "{said}");
    assert!(!machine.path("runs").exists());
}
