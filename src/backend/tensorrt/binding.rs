//! What a TensorRT product does for this backend. TensorRT-RTX ([`super::rtx`]) and TensorRT ([`super::shim`]) do the same
//! things through different bindings; nothing else here knows which one it is.

use std::fmt;
use std::path::PathBuf;

use super::audit::ParsedLayer;
use super::memory::Allocator;
use super::progress::Cancel;
use crate::backend::cuda::device::Device;
use crate::engine::{ProgressSink, Target};
use crate::graph::Format;
use crate::onnx::{DataType, Dialect, Extent, Typing};

/// A product, loaded. Errors are the binding's words; the library's own are in its messages.
pub(super) trait Binding: fmt::Debug + Send + Sync {
    /// The ONNX that its parser reads.
    fn dialect(&self) -> Dialect;

    /// Whether it has a format at all.
    fn has(&self, format: Format) -> bool;

    /// Whether it reports the steps of a build, and so can stop one.
    fn reports_steps(&self) -> bool;

    /// Whether an engine for `target` can be built on this machine, whose device is of `capability`.
    ///
    /// # Errors
    /// The reason, with the cure.
    fn buildable(&self, target: Target, capability: Option<(u32, u32)>) -> Result<(), String>;

    /// The GPU in the cache key of an engine for `target`; `device` is this machine's.
    fn target_identity(&self, target: Target, device: &str) -> String;

    /// Whether it executes on the device, as far as that can be known before a build.
    ///
    /// # Errors
    /// The library's reason.
    fn executes(&'static self, device: &Device) -> Result<(), String>;

    /// Parses a model.
    ///
    /// # Errors
    /// The binding's words.
    fn parse(&'static self, source: OnnxModel) -> Result<Box<dyn Network>, String>;

    /// Deserialises an engine, which runs the code in it. All its device memory comes from `allocator`.
    ///
    /// # Errors
    /// The binding's words.
    fn load(&'static self, engine: &[u8], allocator: Allocator) -> Result<Box<dyn Executable>, String>;
}

/// An ONNX model for the parser.
#[derive(Debug)]
pub(super) enum OnnxModel {
    /// The whole model. It is freed as soon as the parser has its copy.
    Bytes(Vec<u8>),
    /// A file with external data next to it, for models above protobuf's 2 GB.
    File(PathBuf),
}

/// How a network is built.
#[derive(Debug, Clone)]
pub(super) struct NetworkSettings {
    pub target: Target,
    pub extent: Extent,
    /// Most scratch memory of a layer, bytes; `None` means the library's own limit.
    pub workspace_bytes: Option<u64>,
    /// Whether FP32 products may be computed in TF32.
    pub tf32: bool,
    /// Whether layers may be computed in FP16, in a weakly typed network.
    pub fp16: bool,
    /// How binding the types of layers are, in a weakly typed network.
    pub constraints: Constraints,
    /// What an earlier build has timed.
    pub timing: Option<Vec<u8>>,
    pub progress: ProgressSink,
    pub cancel: Cancel,
}

/// How binding the types are that a policy requests of the layers of a weakly typed network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Constraints {
    /// FP32 is required where it is requested. Elsewhere FP16 is permitted, and the builder takes what is faster. With a
    /// precision set for the FP16 layers too, TensorRT 8.6.1's builder loses an H200 to an illegal memory access while it
    /// times BERT and GPT-2.
    #[default]
    Wide,
    /// Every layer has the types that are requested.
    Obeyed,
    /// They are wishes, which the builder leaves where it has no kernel of them.
    Preferred,
}

/// The types of one layer of a weakly typed network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerTypes {
    /// The format that it computes in.
    pub compute: Format,
    /// The format of its outputs.
    pub output: Format,
}

/// A parsed network.
pub(super) trait Network {
    /// Every layer, in the network's order.
    ///
    /// # Errors
    /// What cannot be read.
    fn layers(&self) -> Result<Vec<ParsedLayer>, String>;

    /// Sets the types of a layer by its index, where [`Typing::PerLayer`] is the dialect's typing.
    fn constrain(&mut self, layer: usize, types: LayerTypes);

    /// Sets the builder's options. Returns whether products may be computed in TF32, as the configuration says.
    ///
    /// # Errors
    /// The binding's words.
    fn configure(&mut self, settings: NetworkSettings) -> Result<bool, String>;

    /// Builds the engine, and frees the network.
    ///
    /// # Errors
    /// The binding's words.
    fn build(self: Box<Self>) -> Result<BuiltNetwork, String>;
}

/// What a build yields.
pub(super) struct BuiltNetwork {
    /// The serialised engine, in the library's memory.
    pub engine: Box<dyn AsRef<[u8]>>,
    /// What the builder has timed, for the next build.
    pub timing: Option<Vec<u8>>,
}

/// Type and size of an engine's input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TensorType {
    /// Type of its elements; `None` for one that no model of ours has.
    pub element: Option<DataType>,
    /// Number of elements.
    pub elements: i64,
}

/// A deserialised engine.
pub(super) trait Executable {
    /// An input or output.
    ///
    /// # Errors
    /// If the engine has none of this name.
    fn tensor(&self, name: &str) -> Result<TensorType, String>;

    /// The inspector's JSON.
    ///
    /// # Errors
    /// The binding's words.
    fn layers_json(&self) -> Result<String, String>;

    /// Creates the execution context, from device code of an earlier process where that fits.
    ///
    /// # Errors
    /// The binding's words.
    fn create_context(&mut self, code: Option<&[u8]>) -> Result<(), String>;

    /// Sets the device address of an input or output; there must be a context.
    ///
    /// # Errors
    /// The binding's words.
    #[allow(unsafe_code, reason = "the address is used in every forward pass")]
    /// # Safety
    /// The address must be of device memory of the tensor's type and size that outlives the engine.
    unsafe fn set_address(&mut self, name: &str, address: u64) -> Result<(), String>;

    /// Starts a forward pass on a stream.
    ///
    /// # Errors
    /// The binding's words.
    #[allow(unsafe_code, reason = "passes a stream of the driver")]
    /// # Safety
    /// The stream must be live, and every address must have been set.
    unsafe fn enqueue(&mut self, stream: *mut std::ffi::c_void) -> Result<(), String>;

    /// Whether device code of an earlier process is used.
    fn precompiled(&self) -> bool {
        false
    }

    /// Device code compiled so far, for the next process; `None` where an engine holds all of it.
    ///
    /// # Errors
    /// The binding's words.
    fn compiled(&self) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

/// Whether types are set layer by layer.
pub(super) fn is_weakly_typed(binding: &dyn Binding) -> bool {
    binding.dialect().typing == Typing::PerLayer
}
