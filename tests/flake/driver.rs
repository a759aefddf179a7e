//! nix/driver.sh: what the wrapper of the Nix package does before the program starts, on made-up hosts.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{both_streams, repository};

/// A host with libraries in a folder, and a home.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn with(files: &[&str]) -> Self {
        let host = Host { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(host.path("lib")).unwrap();
        for file in files {
            fs::write(host.path("lib").join(file), file).unwrap();
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn links(&self) -> PathBuf {
        self.path("home/.cache/mixprec/driver")
    }

    /// LD_LIBRARY_PATH after the script, in a shell that stops at any failure, as the wrapper is.
    fn library_path(&self, before: &str) -> String {
        let script = repository().join("nix/driver.sh");
        let output = Command::new("bash")
            .args(["-euc", &format!(". {}; printf %s \"${{LD_LIBRARY_PATH-unset}}\"", script.display())])
            .env("LD_LIBRARY_PATH", before)
            .env("MIXPREC_DRIVER_FOLDERS", format!("{}:{}", self.path("nothing").display(), self.path("lib").display()))
            .env("HOME", self.path("home"))
            .env_remove("XDG_CACHE_HOME")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", both_streams(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.links()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

const DRIVER: [&str; 3] = ["libcuda.so.1", "libnvidia-gpucomp.so.1.2", "libnvidia-ml.so.1"];

/// The host's C library beside the driver must not get into a program of Nix.
#[test]
fn only_the_drivers_files_are_linked() {
    let host = Host::with(&[&DRIVER[..], &["libc.so.6", "libstdc++.so.6"]].concat());
    assert_eq!(host.library_path("/elsewhere"), format!("/elsewhere:{}", host.links().display()));
    assert_eq!(host.names(), DRIVER);
    assert_eq!(fs::read_to_string(host.links().join("libcuda.so.1")).unwrap(), "libcuda.so.1");

    // An update of the driver brings other names.
    fs::rename(host.path("lib/libnvidia-gpucomp.so.1.2"), host.path("lib/libnvidia-gpucomp.so.1.3")).unwrap();
    host.library_path("");
    assert_eq!(host.names(), ["libcuda.so.1", "libnvidia-gpucomp.so.1.3", "libnvidia-ml.so.1"]);
}

#[test]
fn a_driver_that_is_named_already_is_kept_and_no_driver_changes_nothing() {
    let host = Host::with(&DRIVER);
    symlink(host.path("lib"), host.path("mounted")).unwrap();
    let mounted = host.path("mounted").display().to_string();
    assert_eq!(host.library_path(&mounted), mounted);
    assert!(!host.links().exists());

    let bare = Host::with(&["libc.so.6"]);
    assert_eq!(bare.library_path(""), "");
    assert!(!bare.links().exists());
}

/// Without a folder for the links the program starts all the same, on the processor.
#[test]
fn a_home_that_cannot_be_written_is_said() {
    let host = Host::with(&DRIVER);
    fs::write(host.path("home"), "a file").unwrap();
    assert_eq!(host.library_path(""), "");
    assert!(!Path::exists(&host.links()));
}
