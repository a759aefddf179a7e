//! The functions of `shim.h`, declared once more for Rust and looked up in the compiled shim.
#![allow(unsafe_code, reason = "looks symbols up in a shared object and calls them")]

use std::ffi::{c_char, c_void};
use std::path::Path;

use libloading::Library;

/// `MIXPREC_TRT_INTERFACE`: the interface that this program speaks.
pub(super) const INTERFACE: i32 = 1;

/// `MIXPREC_TRT_UNCONSTRAINED`: no type has been set layer by layer.
pub(super) const UNCONSTRAINED: i32 = 0;

/// `MIXPREC_TRT_PREFER`: the types that are set layer by layer are wishes.
pub(super) const PREFER: i32 = 1;

/// `MIXPREC_TRT_OBEY`: the types that are set layer by layer are binding.
pub(super) const OBEY: i32 = 2;

/// `MIXPREC_TRT_RANK`.
const RANK: usize = 8;

/// An opaque object of the shim.
#[repr(C)]
pub(super) struct Opaque(c_void);

#[repr(C)]
pub(super) struct InstalledFiles {
    pub builder: *const c_char,
    pub parser: *const c_char,
    pub plugins: *const c_char,
    pub resource: *const c_char,
}

#[repr(C)]
pub(super) struct Log {
    pub user: *mut c_void,
    pub message: extern "C" fn(*mut c_void, i32, *const c_char),
}

#[repr(C)]
pub(super) struct Memory {
    pub user: *mut c_void,
    pub allocate: extern "C" fn(*mut c_void, u64) -> *mut c_void,
    pub release: extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> i32,
}

#[repr(C)]
pub(super) struct Progress {
    pub user: *mut c_void,
    pub begin: extern "C" fn(*mut c_void, *const c_char, i32),
    pub step: extern "C" fn(*mut c_void, *const c_char, i32) -> i32,
    pub end: extern "C" fn(*mut c_void, *const c_char),
}

#[repr(C)]
pub(super) struct Layer {
    pub name: *const c_char,
    pub type_name: *const c_char,
    pub outputs: i32,
    pub precision: i32,
}

#[repr(C)]
pub(super) struct Range {
    pub input: *const c_char,
    pub smallest: [i64; 2],
    pub largest: [i64; 2],
}

#[repr(C)]
pub(super) struct Options {
    pub fp16: i32,
    pub bf16: i32,
    pub tf32: i32,
    pub constraints: i32,
    pub workspace_bytes: u64,
    pub timing: *const c_void,
    pub timing_bytes: u64,
    pub ranges: *const Range,
    pub range_count: i32,
    pub progress: *const Progress,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Tensor {
    pub data_type: i32,
    pub is_input: i32,
    pub rank: i32,
    pub dims: [i64; RANK],
}

/// Declares the table of functions: a field for each, filled with the symbol `mixprec_trt_FIELD`.
macro_rules! functions {
    ($($field:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of a compiled shim, by their names without the prefix `mixprec_trt_`.
        pub(super) struct Functions {
            $(pub $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// The shared object, which stays loaded as long as the table.
            _shim: Library,
        }

        impl Functions {
            /// Loads a shim. Its initialisers have no requirements.
            ///
            /// # Errors
            /// The loader's reason.
            pub fn load(path: &Path) -> Result<Functions, libloading::Error> {
                // SAFETY: the file is a shim that set-up compiled or that a person has named; loading one runs no code of
                // its own.
                let shim = unsafe { Library::new(path) }?;
                $(
                    let name = concat!("mixprec_trt_", stringify!($field));
                    // SAFETY: `shim.h` declares the function with these types; `interface` is compared before any other call.
                    let $field = *unsafe { shim.get(name.as_bytes()) }?;
                )*
                Ok(Functions { $($field,)* _shim: shim })
            }
        }
    };
}

functions! {
    interface: fn() -> i32;
    headers: fn(*mut i32);
    open: fn(*const InstalledFiles, *const Log, *mut c_char, u64) -> *mut Opaque;
    version: fn(*const Opaque, *mut i32);
    parse: fn(*mut Opaque, *const c_void, u64, *const c_char) -> *mut Opaque;
    free_network: fn(*mut Opaque);
    layer_count: fn(*const Opaque) -> i32;
    layer: fn(*const Opaque, i32, *mut Layer);
    layer_output: fn(*const Opaque, i32, i32, *mut i32) -> *const c_char;
    constrain: fn(*mut Opaque, i32, i32, i32) -> i32;
    build: fn(*mut Opaque, *const Options, *mut *mut Opaque) -> *mut Opaque;
    bytes: fn(*const Opaque, *mut u64) -> *const c_void;
    free_bytes: fn(*mut Opaque);
    load: fn(*mut Opaque, *const c_void, u64, *const Memory) -> *mut Opaque;
    free_engine: fn(*mut Opaque);
    tensor: fn(*const Opaque, *const c_char, *mut Tensor) -> i32;
    layers: fn(*const Opaque) -> *mut Opaque;
    create_context: fn(*mut Opaque) -> i32;
    set_address: fn(*mut Opaque, *const c_char, *mut c_void) -> i32;
    enqueue: fn(*mut Opaque, *mut c_void) -> i32;
}
