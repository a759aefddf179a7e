//! The cache's folder: its path, its permissions, its size limit and its lock.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::CacheError;
use crate::lock::{self, Lock, Sharing};

/// Default size limit, bytes. `MIXPREC_CACHE_LIMIT_GB` overrides it. BERT-base and GPT-2 in five policies at five
/// shapes make 50 engines of 0.2 to 0.5 GB.
const DEFAULT_LIMIT_BYTES: u64 = 20_000_000_000;
/// Bytes in a gigabyte, as disks count them.
const GB: f64 = 1e9;
/// The lock file. Its lock orders readers and writers.
const LOCK_FILE: &str = "lock";
/// Permission bits that let the group or everybody write.
const OTHERS_WRITE: u32 = 0o022;

/// The default folder, given a reader of environment variables: `MIXPREC_CACHE_DIR`, else the user's cache folder (XDG
/// base directory specification), else a folder in the temporary directory for a user without a home.
pub(super) fn default_folder(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> PathBuf {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = path("MIXPREC_CACHE_DIR") {
        return folder;
    }
    // The specification says that relative paths are invalid and must be ignored.
    let caches = path("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")));
    match caches.filter(|caches| caches.is_absolute()) {
        Some(caches) => caches.join("mixprec").join("engines"),
        None => std::env::temp_dir().join(format!("mixprec-engines-{}", own_id())),
    }
}

/// The limit in bytes from the value of `MIXPREC_CACHE_LIMIT_GB`; 20 GB when it is absent or empty.
pub(super) fn limit_bytes(variable: Option<&OsStr>) -> Result<u64, CacheError> {
    let Some(value) = variable.filter(|value| !value.is_empty()) else { return Ok(DEFAULT_LIMIT_BYTES) };
    let gigabytes = value.to_str().and_then(|text| text.trim().parse().ok());
    gigabytes.and_then(bytes_of).ok_or_else(|| CacheError::Limit { value: value.to_string_lossy().into_owned() })
}

/// Converts gigabytes to bytes. `None` when the number is negative or not finite.
pub fn bytes_of(gigabytes: f64) -> Option<u64> {
    (gigabytes.is_finite() && gigabytes >= 0.0).then_some((gigabytes * GB) as u64)
}

/// Creates the folder with access for its owner only, unless it exists.
pub(super) fn create(folder: &Path) -> Result<(), CacheError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(CacheError::io(folder))
}

/// Refuses a folder in which other users could store engines. The folders above it are not checked.
pub(super) fn check(folder: &Path) -> Result<(), CacheError> {
    let metadata = fs::metadata(folder).map_err(CacheError::io(folder))?;
    if !metadata.is_dir() {
        return Err(CacheError::io(folder)(ErrorKind::NotADirectory.into()));
    }
    let refused = |reason: String, cure: String| Err(CacheError::Unsafe { path: folder.to_owned(), reason, cure });
    let shown = folder.display();
    if metadata.uid() != own_id() {
        let reason =
            format!("user {} owns this folder, and engines in it would run as user {}", metadata.uid(), own_id());
        return refused(reason, format!("chown {} {shown}", own_id()));
    }
    match metadata.mode() & OTHERS_WRITE {
        0 => Ok(()),
        _ => refused("other users may write to this folder".to_owned(), format!("chmod go-w {shown}")),
    }
}

fn own_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The cache's lock, held shared to read files and exclusively to change them. A holder of the exclusive lock knows that any
/// half-written file is a leftover.
pub(super) struct CacheLock {
    _lock: Lock,
}

impl CacheLock {
    /// Waits until no process changes the cache.
    pub(super) fn shared(folder: &Path) -> Result<CacheLock, CacheError> {
        CacheLock::new(folder, Sharing::Shared)
    }

    /// Waits until no process reads or changes the cache.
    pub(super) fn exclusive(folder: &Path) -> Result<CacheLock, CacheError> {
        CacheLock::new(folder, Sharing::Exclusive)
    }

    fn new(folder: &Path, sharing: Sharing) -> Result<CacheLock, CacheError> {
        Ok(CacheLock { _lock: lock::wait(&folder.join(LOCK_FILE), sharing, || ())? })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(variables: &[(&str, &str)], home: Option<&str>) -> PathBuf {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        default_folder(find, home.map(PathBuf::from))
    }

    #[test]
    fn the_folder_follows_the_variables_in_order() {
        let all = [("MIXPREC_CACHE_DIR", "here"), ("XDG_CACHE_HOME", "/caches")];
        assert_eq!(folder(&all, Some("/home/me")), Path::new("here"));
        assert_eq!(folder(&all[1..], Some("/home/me")), Path::new("/caches/mixprec/engines"));
        let neither = [("MIXPREC_CACHE_DIR", ""), ("XDG_CACHE_HOME", "")];
        assert_eq!(folder(&neither, Some("/home/me")), Path::new("/home/me/.cache/mixprec/engines"));
        let homeless = folder(&[("XDG_CACHE_HOME", "relative")], None);
        assert!(homeless.starts_with(std::env::temp_dir()), "{}", homeless.display());
        assert!(homeless.ends_with(format!("mixprec-engines-{}", own_id())));
    }

    #[test]
    fn limits_are_gigabytes_and_anything_else_is_an_error() {
        let bytes = |text: &str| limit_bytes(Some(OsStr::new(text))).ok();
        assert_eq!(limit_bytes(None).ok(), Some(20_000_000_000));
        assert_eq!([bytes(""), bytes("0"), bytes(" 0.5 ")], [Some(20_000_000_000), Some(0), Some(500_000_000)]);
        assert_eq!([bytes("-1"), bytes("nan"), bytes("inf"), bytes("20 GB")], [None; 4]);
        let message = limit_bytes(Some(OsStr::new("many"))).unwrap_err().to_string();
        assert!(message.contains("MIXPREC_CACHE_LIMIT_GB is `many`") && message.contains("e.g. 20"), "{message}");
    }

    #[test]
    fn the_folder_is_made_private_and_one_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/engines");
        create(&path).unwrap();
        check(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&root.path().join("deep"))), (0o700, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        check(&path).unwrap();
        for open in [0o770, 0o702] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let message = check(&path).unwrap_err().to_string();
            assert!(message.contains("other users may write") && message.contains("chmod go-w"), "{message}");
        }
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(check(&file), Err(CacheError::Io { .. })));
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let other = own_id() + 1;
        if let Err(error) = std::os::unix::fs::chown(root.path(), Some(other), None) {
            crate::skip::skip(format_args!("cannot give a folder away: {error}"));
            return;
        }
        let message = check(root.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("user {other} owns this folder")) && message.contains("chown"), "{message}");
    }
}
