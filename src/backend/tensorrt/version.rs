//! Versions of a loaded library.
#![allow(unsafe_code, reason = "asks the loaded library for its version")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

/// `1.7.1`
pub(super) fn dotted(version: [u32; 3]) -> String {
    version.map(|part| part.to_string()).join(".")
}

// Functions of the C library, which the standard library links already.
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
}

/// `RTLD_NOW` of dlfcn.h.
const RTLD_NOW: c_int = 2;

/// Major, minor and patch version of the loaded library, whose file name has the major number only.
pub(super) fn version(library: &Path) -> Option<[u32; 3]> {
    let path = CString::new(library.as_os_str().as_encoded_bytes()).ok()?;
    // SAFETY: the file has been loaded before, so no initialiser runs; the handle stays open with the library.
    let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    if handle.is_null() {
        return None;
    }
    let ask = |name: &CStr| {
        // SAFETY: `handle` is open and `name` ends in a zero.
        let symbol = unsafe { dlsym(handle, name.as_ptr()) };
        if symbol.is_null() {
            return None;
        }
        // SAFETY: NvInferRuntime.h declares all three as `extern "C" int32_t NAME() noexcept`.
        let function = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> i32>(symbol) };
        u32::try_from(function()).ok()
    };
    Some([ask(c"getInferLibMajorVersion")?, ask(c"getInferLibMinorVersion")?, ask(c"getInferLibPatchVersion")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_library_has_no_version() {
        assert_eq!(version(Path::new("/proc/self/status")), None);
    }
}
