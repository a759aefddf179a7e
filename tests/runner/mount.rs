//! A file system of a chosen size.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A small file system in memory, unmounted when dropped.
pub struct Mount {
    _root: TempDir,
    path: PathBuf,
}

impl Mount {
    /// `None`, with the reason printed, where mounting is not allowed.
    pub fn new(options: &str) -> Option<Mount> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output();
        match output {
            Ok(output) if output.status.success() => Some(Mount { _root: root, path }),
            Ok(output) => {
                println!("skipped: cannot mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: cannot mount a tmpfs: {error}");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).output();
    }
}
