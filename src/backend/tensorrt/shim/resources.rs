//! The files of kernels that TensorRT's builder loads: one for all GPUs, or from 10 on one for each compute capability.

use std::fs;
use std::path::Path;

use crate::backend::cuda::device::capability;
use crate::libraries::tensorrt::Installation;

const STEM: &str = "libnvinfer_builder_resource";

/// The file's name for this machine's device, where it lies beside the builder.
pub(super) fn name(installation: &Installation) -> Option<String> {
    let names = names(installation.builder.parent()?);
    let of_device = capability().map(|(major, minor)| format!("{STEM}_sm{major}{minor}.so."));
    let beginnings = of_device.into_iter().chain([format!("{STEM}.so.")]);
    beginnings.into_iter().find_map(|beginning| names.iter().find(|name| name.starts_with(&beginning)).cloned())
}

/// Whether the builder of `version` in `folder` has kernels for a device. A folder with no such file says nothing.
///
/// # Errors
/// The reason, which names the missing file.
pub(super) fn check(folder: &Path, version: &str, (major, minor): (u32, u32)) -> Result<(), String> {
    let names = names(folder);
    let of_device = format!("{STEM}_sm{major}{minor}.so.");
    let has = |beginning: &str| names.iter().any(|name| name.starts_with(beginning));
    if names.is_empty() || has(&format!("{STEM}.so.")) || has(&of_device) {
        return Ok(());
    }
    Err(format!(
        "TensorRT {version} in {} has no kernels for compute capability {major}.{minor}: {of_device}{version} is not \
         there, only {}; install a complete TensorRT, and name its folder in MIXPREC_TENSORRT_DIR",
        folder.display(),
        names.join(", ")
    ))
}

/// Sorted names of such files.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(STEM)).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TensorRT 10.15 of a package repository, which compiles PTX only, and asks for one file more than it has.
    #[test]
    fn a_builder_without_kernels_for_the_device_names_the_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), "").unwrap();
        let check = |capability| check(folder.path(), "10.15.1", capability);
        assert_eq!(check((9, 0)), Ok(()), "where there is nothing, nothing is known");
        put("libnvinfer_builder_resource_ptx.so.10.15.1");
        let reason = check((9, 0)).unwrap_err();
        assert!(
            reason.contains("compute capability 9.0: libnvinfer_builder_resource_sm90.so.10.15.1 is not"),
            "{reason}"
        );
        put("libnvinfer_builder_resource_sm90.so.10.15.1");
        assert_eq!(check((9, 0)), Ok(()));
        assert!(check((8, 9)).is_err_and(|reason| reason.contains("_sm89.so.10.15.1 is not there")));
        put("libnvinfer_builder_resource.so.8.6.1");
        assert_eq!(check((8, 9)), Ok(()));
    }
}
