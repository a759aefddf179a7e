//! The TensorRT of this process: chosen and loaded once, and called one call at a time.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::binding::{Binding, Constraints, is_weakly_typed};
use super::compile::BuildOptions;
use super::messages::Messages;
use super::rtx::Rtx;
use super::shim::Shim;
use crate::backend::cuda::device::Device;
use crate::engine::{BackendError, BackendKind};
use crate::graph::PrecisionPolicy;
use crate::libraries::library_sha256;

/// Variable that chooses the product: `tensorrt` or `tensorrt-rtx`.
pub const PRODUCT_VARIABLE: &str = "MIXPREC_TENSORRT";

/// A product that can serve this backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    /// TensorRT, which executes on data-centre GPUs and builds on the GPU that executes.
    Standard,
    /// TensorRT-RTX, which builds without a GPU.
    Rtx,
}

impl Product {
    fn parse(text: &str) -> Result<Product, String> {
        match text {
            "tensorrt" => Ok(Product::Standard),
            "tensorrt-rtx" => Ok(Product::Rtx),
            other => Err(format!("{PRODUCT_VARIABLE} is `{other}`: write tensorrt or tensorrt-rtx, or unset it")),
        }
    }
}

/// TensorRT, loaded.
#[derive(Debug)]
pub(super) struct TensorRtLibrary {
    /// What it can do.
    pub binding: Box<dyn Binding>,
    /// How binding the types of a weakly typed network are.
    pub constraints: Constraints,
    messages: Messages,
    /// Name and version as tables print it, e.g. `TensorRT-RTX 1.7.1`; the version is the library's own answer.
    pub version: String,
    /// Its files: builder, parser, and the shim where there is one.
    files: Vec<PathBuf>,
    digests: OnceLock<BTreeMap<String, String>>,
    /// How and where it was found, and why the other product is not used where that is of interest.
    place: String,
    /// Why TensorRT is not used although there is a GPU.
    instead: Option<String>,
    /// One call at a time: the library's log does not say which call a message belongs to.
    calls: Mutex<()>,
}

impl TensorRtLibrary {
    /// The library of this process. The first caller loads it, and the result, even a failure, is final.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] with the cure.
    pub fn get() -> Result<&'static TensorRtLibrary, BackendError> {
        static LIBRARY: OnceLock<Result<TensorRtLibrary, String>> = OnceLock::new();
        LIBRARY.get_or_init(TensorRtLibrary::load).as_ref().map_err(|reason| unavailable(reason.clone()))
    }

    /// Name and version, and where the library was found.
    pub fn describe(&self) -> String {
        format!("{}, {}", self.version, self.place)
    }

    /// Whether engines execute on the device.
    ///
    /// # Errors
    /// The library's reason, and that of TensorRT where TensorRT-RTX stands in for it.
    pub fn executes(&'static self, device: &Device) -> Result<(), String> {
        let refused = |error: BackendError| match &self.instead {
            Some(reason) => format!("{}; TensorRT is not used: {reason}", error.into_reason()),
            None => error.into_reason(),
        };
        self.call(|| self.binding.executes(device)).map_err(refused)
    }

    /// Whether types are set layer by layer: no network says them itself.
    pub fn is_weakly_typed(&self) -> bool {
        is_weakly_typed(&*self.binding)
    }

    /// SHA-256 of its files, by their names. A file that cannot be read any more is left out.
    pub fn digests(&self) -> &BTreeMap<String, String> {
        let digest = |path: &PathBuf| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((name, library_sha256(path).ok()?))
        };
        self.digests.get_or_init(|| self.files.iter().filter_map(digest).collect())
    }

    /// The settings that decide what is built for a policy, for the engine's identity.
    pub fn options(&self, options: &BuildOptions, policy: &PrecisionPolicy) -> BTreeMap<String, String> {
        options.describe(policy, self.is_weakly_typed().then_some(self.constraints))
    }

    /// Calls into the library; a failure has the library's own words.
    ///
    /// # Errors
    /// [`BackendError`] of the kind that the library's message indicates.
    pub fn call<T>(&self, call: impl FnOnce() -> Result<T, String>) -> Result<T, BackendError> {
        let _guard = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        self.messages.clear();
        call().map_err(|error| self.failure(error))
    }

    /// The failure that `error` stands for.
    pub fn failure(&self, error: String) -> BackendError {
        classify(self.messages.reason().unwrap_or(error))
    }

    /// TensorRT where it, its shim and a GPU are there, else TensorRT-RTX, unless a person has chosen.
    fn load() -> Result<TensorRtLibrary, String> {
        let chosen = env::var(PRODUCT_VARIABLE).ok().filter(|text| !text.is_empty());
        match chosen.as_deref().map(Product::parse).transpose()? {
            Some(Product::Standard) => TensorRtLibrary::standard(),
            Some(Product::Rtx) => TensorRtLibrary::rtx(None),
            None if Device::first().is_err() => TensorRtLibrary::rtx(None),
            None => TensorRtLibrary::standard().or_else(|reason| {
                let both = |rtx| format!("{reason}; nor is TensorRT-RTX used: {rtx}");
                TensorRtLibrary::rtx(Some(reason.clone())).map_err(both)
            }),
        }
    }

    /// TensorRT-RTX, whatever this machine has besides; `None`, with the reason printed, where it is absent.
    #[cfg(test)]
    pub fn rtx_or_skip() -> Option<&'static TensorRtLibrary> {
        static LIBRARY: OnceLock<Result<TensorRtLibrary, String>> = OnceLock::new();
        let library = LIBRARY.get_or_init(|| TensorRtLibrary::rtx(None));
        library.as_ref().map_err(crate::skip::skip).ok()
    }

    fn standard() -> Result<TensorRtLibrary, String> {
        let messages = Messages::default();
        let shim = Shim::load(&messages)?;
        Ok(TensorRtLibrary { constraints: Constraints::chosen()?, ..TensorRtLibrary::of_shim(shim, messages) })
    }

    /// The library behind a shim, with the default constraints.
    pub fn of_shim(shim: Shim, messages: Messages) -> TensorRtLibrary {
        let (version, place, files) = (shim.name(), shim.place(), shim.files());
        TensorRtLibrary::new(Box::new(shim), messages, (version, place), files)
    }

    fn new(
        binding: Box<dyn Binding>,
        messages: Messages,
        (version, place): (String, String),
        files: Vec<PathBuf>,
    ) -> TensorRtLibrary {
        let (constraints, digests, calls) = Default::default();
        TensorRtLibrary { binding, constraints, messages, version, files, digests, place, instead: None, calls }
    }

    fn rtx(instead: Option<String>) -> Result<TensorRtLibrary, String> {
        let messages = Messages::default();
        let (rtx, version, [builder, parser]) = Rtx::load(&messages)?;
        let place = format!("{}: {}", builder.how, builder.place());
        let files = vec![builder.path, parser.path];
        Ok(TensorRtLibrary { instead, ..TensorRtLibrary::new(Box::new(rtx), messages, (version, place), files) })
    }
}

/// `tensorrt is not available: ...`
pub(super) fn unavailable(reason: String) -> BackendError {
    BackendError::Unavailable { backend: BackendKind::TensorRt, reason }
}

/// `tensorrt failed: ...`
pub(super) fn execution(message: String) -> BackendError {
    BackendError::Execution { backend: BackendKind::TensorRt, message }
}

/// `tensorrt ran out of memory: ...`
pub(super) fn out_of_memory(message: String) -> BackendError {
    BackendError::OutOfMemory { backend: BackendKind::TensorRt, message }
}

/// `tensorrt lost its device: ...`
pub(super) fn device_lost(message: String) -> BackendError {
    BackendError::DeviceLost { backend: BackendKind::TensorRt, message }
}

/// Words of the library about a GPU that it does not support, when it builds for it or loads an engine on it.
const REFUSALS: [&str; 7] = [
    "supported compute capabilities",
    "compute capability is invalid or not supported",
    "cannot run on this gpu",
    "does not support this compute capability",
    "is not supported by this tensorrt release",
    // An engine of another version or GPU, in the words of 8.6 and of 10.
    "engine plan file is generated on an incompatible device",
    "not compatible with this version of tensorrt",
];

/// Words of the library or of CUDA about a device that this process cannot use any more.
const LOSSES: [&str; 4] =
    ["illegal memory access", "unspecified launch failure", "uncorrectable ecc error", "an illegal instruction"];

/// The kind of failure that a message of the library indicates.
fn classify(message: String) -> BackendError {
    let lower = message.to_lowercase();
    if LOSSES.iter().any(|words| lower.contains(words)) {
        device_lost(message)
    } else if lower.contains("out of memory")
        || lower.contains("outofmemory")
        || lower.contains("memory allocation failed")
    {
        out_of_memory(message)
    } else if REFUSALS.iter().any(|words| lower.contains(words)) {
        unavailable(message)
    } else {
        execution(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_failures_of_their_kind() {
        let refused =
            "TensorRT-RTX does not support this GPU. Supported compute capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0";
        assert!(matches!(classify(refused.to_owned()), BackendError::Unavailable { .. }));
        let not_built_for = "Target GPU SM 90 is not supported by this TensorRT release";
        assert!(matches!(classify(not_built_for.to_owned()), BackendError::Unavailable { .. }));
        assert!(matches!(
            classify("Requested size failed: out of memory".to_owned()),
            BackendError::OutOfMemory { .. }
        ));
        let error = classify("no node".to_owned());
        assert_eq!(error.to_string(), "tensorrt failed: no node");
    }
}
