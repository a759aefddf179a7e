//! TensorRT 8.6, 10 and 11, through a small C++ library of this project that set-up compiles against the headers of the
//! installation. It is a shared object of its own, so TensorRT and TensorRT-RTX live in one program.
#![allow(unsafe_code, reason = "calls the shim")]

mod engine;
mod interface;
mod network;
mod resources;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::path::{Path, PathBuf};

use super::binding::{Binding, Executable, Network, OnnxModel};
use super::memory::Allocator;
use super::messages::{Level, Messages};
use super::version::dotted;
use crate::backend::cuda::device::Device;
use crate::engine::Target;
use crate::graph::Format;
use crate::libraries::tensorrt::{Installation, SHIM_FILE, installation, shim_for};
use crate::onnx::{DataType, Dialect};
use interface::{Functions, INTERFACE, InstalledFiles, Log, Opaque};

/// The first major version with strongly typed networks, BF16 and reports of progress.
const STRONGLY_TYPED: u32 = 10;

/// TensorRT, loaded.
pub(super) struct Shim {
    functions: Functions,
    /// `MixprecTrtLibrary`, which lives as long as the process.
    library: *mut Opaque,
    /// Of the library.
    version: [u32; 3],
    installation: Installation,
    /// The shared object itself.
    path: PathBuf,
}

// SAFETY: the library object is changed by no call. TensorRT's loggers, builders and runtimes may be used in any thread, and
// `TensorRtLibrary::call` makes one call at a time.
unsafe impl Send for Shim {}
// SAFETY: as above.
unsafe impl Sync for Shim {}

impl Shim {
    /// Loads the installed TensorRT. Returns the binding and where the library was found.
    ///
    /// # Errors
    /// The reason, with the cure: no TensorRT, no compiled shim, or one for another version.
    pub fn load(messages: &Messages) -> Result<Shim, String> {
        let found = installation()?;
        let shim = shim_for(&found)?;
        Shim::open(&shim, found, messages)
    }

    /// Loads the shim at a path and the TensorRT of an installation.
    ///
    /// # Errors
    /// Those of [`Shim::load`].
    pub fn open(shim: &Path, installation: Installation, messages: &Messages) -> Result<Shim, String> {
        let cure = "compile it with container/setup.sh --tensorrt";
        let place = shim.display();
        let functions = Functions::load(shim).map_err(|error| format!("{place} cannot be loaded: {error}; {cure}"))?;
        // SAFETY: takes nothing and returns a number.
        let interface = unsafe { (functions.interface)() };
        if interface != INTERFACE {
            return Err(format!("{place} has interface {interface}, this program needs {INTERFACE}; {cure}"));
        }
        let headers = version_of(|numbers| {
            // SAFETY: `numbers` has room for three.
            unsafe { (functions.headers)(numbers) };
        });
        let library = open(&functions, &installation, messages)?;
        let version = version_of(|numbers| {
            // SAFETY: `library` is live, and `numbers` has room for three.
            unsafe { (functions.version)(library, numbers) };
        });
        // TensorRT keeps its binary interface within a major version, and adds to it.
        if headers[0] != version[0] || headers > version {
            return Err(format!(
                "{place} was compiled for TensorRT {}, and {} is {}; {cure}",
                dotted(headers),
                installation.builder.display(),
                dotted(version)
            ));
        }
        Ok(Shim { functions, library, version, installation, path: shim.to_owned() })
    }

    /// `TensorRT 8.6.1`
    pub fn name(&self) -> String {
        format!("TensorRT {}", dotted(self.version))
    }

    /// How and where it was found.
    pub fn place(&self) -> String {
        self.installation.describe()
    }

    /// Builder, parser, and the shim itself.
    pub fn files(&self) -> Vec<PathBuf> {
        vec![self.installation.builder.clone(), self.installation.parser.clone(), self.path.clone()]
    }

    fn is_strongly_typed(&self) -> bool {
        self.version[0] >= STRONGLY_TYPED
    }
}

impl fmt::Debug for Shim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shim({}, {SHIM_FILE})", self.name())
    }
}

impl Binding for Shim {
    fn dialect(&self) -> Dialect {
        if self.is_strongly_typed() { Dialect::default() } else { Dialect::WEAKLY_TYPED }
    }

    fn has(&self, format: Format) -> bool {
        match format {
            Format::Bf16 => self.is_strongly_typed(),
            Format::Fp64 => false,
            Format::Fp32 | Format::Tf32 | Format::Fp16 => true,
        }
    }

    fn reports_steps(&self) -> bool {
        self.is_strongly_typed()
    }

    fn buildable(&self, target: Target, capability: Option<(u32, u32)>) -> Result<(), String> {
        let Some((major, minor)) = capability else {
            return Err(
                "TensorRT times kernels on the device it builds for, and this machine has no CUDA device; build \
                        with TensorRT-RTX, which needs none"
                    .into(),
            );
        };
        match target.is_for((major, minor)) {
            true => Ok(()),
            false => Err(format!(
                "TensorRT builds for the device it runs on, of compute capability {major}.{minor}, not for {target}; \
                 build on such a device, or with TensorRT-RTX"
            )),
        }
    }

    /// This machine's device, on which kernels are timed, whatever the target.
    fn target_identity(&self, _target: Target, device: &str) -> String {
        device.to_owned()
    }

    fn executes(&'static self, device: &Device) -> Result<(), String> {
        let folder = self.installation.builder.parent().unwrap_or(Path::new("/"));
        resources::check(folder, &dotted(self.version), device.capability)
    }

    fn parse(&'static self, source: OnnxModel) -> Result<Box<dyn Network>, String> {
        Ok(Box::new(network::ShimNetwork::parse(self, &source)?))
    }

    fn load(&'static self, engine: &[u8], allocator: Allocator) -> Result<Box<dyn Executable>, String> {
        Ok(Box::new(engine::ShimEngine::load(self, engine, allocator)?))
    }
}

/// Loads TensorRT. Its log goes to `messages`, which are kept for the life of the process, as the library is.
fn open(functions: &Functions, installation: &Installation, messages: &Messages) -> Result<*mut Opaque, String> {
    let text = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string());
    let builder = text(&installation.builder)?;
    let parser = text(&installation.parser)?;
    let plugins = installation.plugins.as_deref().map(text).transpose()?;
    let resource = resources::name(installation).map(|name| text(Path::new(&name))).transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    let files = InstalledFiles {
        builder: builder.as_ptr(),
        parser: parser.as_ptr(),
        plugins: pointer(&plugins),
        resource: pointer(&resource),
    };
    let user = Box::into_raw(Box::new(messages.clone()));
    let log = Log { user: user.cast(), message: record };
    let mut reason = [0u8; 2000];
    // SAFETY: all strings end in a zero and outlive the call, `user` is never freed, and `reason` has its stated length.
    let library = unsafe { (functions.open)(&files, &log, reason.as_mut_ptr().cast(), reason.len() as u64) };
    if !library.is_null() {
        return Ok(library);
    }
    let reason = CStr::from_bytes_until_nul(&reason).map(CStr::to_string_lossy).unwrap_or_default();
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(format!("TensorRT cannot be loaded: {reason}; {}", installation.cure()))
}

/// Receives TensorRT's log.
extern "C" fn record(user: *mut c_void, severity: i32, text: *const c_char) {
    let level = match severity {
        0 | 1 => Level::Error,
        2 => Level::Warning,
        _ => return,
    };
    // SAFETY: `open` has passed messages that are never freed.
    let messages = unsafe { &*user.cast::<Messages>() };
    messages.record(level, &text_of(text));
}

/// A string of the shim, copied. Null is empty.
fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the shim's strings end in a zero.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Three numbers that `ask` fills in.
fn version_of(ask: impl FnOnce(*mut i32)) -> [u32; 3] {
    let mut numbers = [0i32; 3];
    ask(numbers.as_mut_ptr());
    numbers.map(|number| u32::try_from(number).unwrap_or(0))
}

/// A number of `nvinfer1::DataType`; `None` for types that no model of ours has.
fn data_type(number: i32) -> Option<DataType> {
    Some(match number {
        0 => DataType::Fp32,
        1 => DataType::Fp16,
        3 => DataType::Int32,
        4 => DataType::Bool,
        7 => DataType::Bf16,
        8 => DataType::Int64,
        _ => return None,
    })
}

/// The number of a format in `nvinfer1::DataType`; TF32 is FP32 and a flag.
fn number_of(format: Format) -> i32 {
    match format {
        Format::Fp16 => 1,
        Format::Bf16 => 7,
        Format::Fp64 | Format::Fp32 | Format::Tf32 => 0,
    }
}
