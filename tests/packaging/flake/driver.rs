//! nix/driver.sh: what the wrapper of the Nix package does before the program starts, on made-up hosts.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{both_streams, repository, write_command};

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

    /// A shell that stops at any failure, as the wrapper is, sources the script and prints LD_LIBRARY_PATH.
    fn shell(&self) -> Command {
        let script = repository().join("nix/driver.sh");
        let mut shell = Command::new("bash");
        shell
            .args(["-euc", &format!(". {}; printf %s \"${{LD_LIBRARY_PATH-unset}}\"", script.display())])
            .env_remove("LD_LIBRARY_PATH")
            .env("MIXPREC_DRIVER_FOLDERS", format!("{}:{}", self.path("nothing").display(), self.path("lib").display()))
            .env("HOME", self.path("home"))
            .env_remove("XDG_CACHE_HOME");
        shell
    }

    fn library_path(&self, before: &str) -> String {
        let output = self.shell().env("LD_LIBRARY_PATH", before).output().unwrap();
        assert!(output.status.success(), "{}", both_streams(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn links_are_made(&self) -> bool {
        self.library_path("") == self.links().display().to_string()
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

/// Without a folder for the links the program starts all the same, on the processor, and the reason is said.
fn assert_no_links(shell: &mut Command, reason: &str) {
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(output.stdout, b"unset", "{said}");
    assert!(said.starts_with("mixprec: no links to the driver in ") && said.contains(reason), "{said}");
}

#[test]
fn a_home_that_cannot_be_written_is_said() {
    let host = Host::with(&DRIVER);
    fs::write(host.path("home"), "a file").unwrap();
    assert_no_links(&mut host.shell(), "it cannot be made");
    assert!(!Path::exists(&host.links()));
}

/// No folder that others have as well takes the place of a home.
#[test]
fn without_a_home_there_are_no_links() {
    let host = Host::with(&DRIVER);
    assert_no_links(host.shell().env_remove("HOME"), "set HOME or XDG_CACHE_HOME");
    assert_no_links(host.shell().env_remove("HOME").env("XDG_CACHE_HOME", "relative"), "an absolute path");
}

/// Whoever else can write to the folder could put a library into the program.
#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let host = Host::with(&DRIVER);
    fs::create_dir_all(host.links()).unwrap();
    for mode in [0o770, 0o707] {
        fs::set_permissions(host.links(), fs::Permissions::from_mode(mode)).unwrap();
        assert_no_links(&mut host.shell(), "nobody else may write to it");
        assert_eq!(host.names(), [""; 0]);
    }
    fs::remove_dir(host.links()).unwrap();
    fs::create_dir(host.path("elsewhere")).unwrap();
    symlink(host.path("elsewhere"), host.links()).unwrap();
    assert_no_links(&mut host.shell(), "is no folder");
    assert_eq!(fs::read_dir(host.path("elsewhere")).unwrap().count(), 0);

    fs::remove_file(host.links()).unwrap();
    assert!(host.links_are_made());
    assert_eq!(fs::metadata(host.links()).unwrap().permissions().mode() & 0o777, 0o700);
}

/// All that lies in the folder would be loaded.
#[test]
fn whatever_else_is_in_the_folder_is_deleted() {
    let host = Host::with(&DRIVER);
    assert!(host.links_are_made());
    for folder in ["folder/folder", "libnvidia-nvvm.so.4"] {
        fs::create_dir_all(host.links().join(folder)).unwrap();
    }
    for file in ["libc.so.6", ".hidden", "..hidden"] {
        fs::write(host.links().join(file), "strange").unwrap();
    }
    fs::remove_file(host.links().join(DRIVER[2])).unwrap();
    symlink("/dev/null", host.links().join(DRIVER[2])).unwrap();
    fs::remove_file(host.links().join(DRIVER[0])).unwrap();
    fs::create_dir_all(host.links().join(DRIVER[0]).join("folder")).unwrap();
    assert!(host.links_are_made());
    assert_eq!(host.names(), DRIVER);
    assert_eq!(fs::read_link(host.links().join(DRIVER[2])).unwrap(), host.path("lib").join(DRIVER[2]));
}

/// The program starts whatever `ln` does.
#[test]
fn links_that_cannot_be_made_do_not_end_the_shell() {
    let host = Host::with(&DRIVER);
    fs::create_dir(host.path("bin")).unwrap();
    write_command(&host.path("bin/ln"), "exit 1");
    let path = format!("{}:{}", host.path("bin").display(), std::env::var("PATH").unwrap());
    assert_no_links(host.shell().env("PATH", path), "could not be replaced");
    assert!(host.links_are_made());
}
