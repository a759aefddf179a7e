//! Replacing a file in one step.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` to `path` so that whatever happens, a kill or a power cut included, either the old file or the new one is
/// there. The half-written one is `path` with `.partial` added: only one process may replace a file at a time.
///
/// # Errors
/// The file system's; the old file is then intact.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path);
    name.push(".partial");
    let partial = Path::new(&name);
    let written = write_synchronised(partial, bytes).and_then(|()| fs::rename(partial, path));
    if let Err(error) = written {
        let _ = fs::remove_file(partial);
        return Err(error);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

fn write_synchronised(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
