//! NVIDIA's management library (NVML), which comes with the driver and is loaded at run time. It opens no CUDA context.

use std::ffi::OsStr;
use std::sync::OnceLock;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

/// The driver installs the first. The second is a link that only development packages have.
const FILES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// The library, loaded and initialised once per process.
///
/// # Errors
/// Why the library is unavailable, as a sentence fragment. A machine without a driver is normal.
pub fn nvml() -> Result<&'static Nvml, String> {
    static LIBRARY: OnceLock<Result<Nvml, String>> = OnceLock::new();
    LIBRARY.get_or_init(load).as_ref().map_err(Clone::clone)
}

fn load() -> Result<Nvml, String> {
    for file in FILES {
        match Nvml::builder().lib_path(OsStr::new(file)).init() {
            Ok(nvml) => return Ok(nvml),
            Err(NvmlError::LibloadingError(_)) => {}
            Err(error) => return Err(format!("NVIDIA's management library ({file}) does not start: {error}")),
        }
    }
    let [file, _] = FILES;
    Err(format!("no NVIDIA driver: {file}, which comes with it, cannot be loaded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_is_told_in_one_line() {
        match nvml() {
            Ok(nvml) => assert!(nvml.sys_driver_version().is_ok_and(|version| !version.is_empty())),
            Err(reason) => assert!(reason.contains("libnvidia-ml.so.1") && !reason.contains('\n'), "{reason}"),
        }
    }
}
