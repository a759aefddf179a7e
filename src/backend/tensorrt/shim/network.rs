//! A network of TensorRT.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};

use super::super::audit::{LayerKind, ParsedElement, ParsedLayer, ParsedTensor};
use super::super::binding::{BuiltNetwork, Constraints, LayerTypes, Network, NetworkSettings, OnnxModel};
use super::super::progress::Monitor;
use super::interface::{Layer, OBEY, Opaque, Options, PREFER, Progress, Range, UNCONSTRAINED};
use super::{Shim, data_type, number_of, text_of};
use crate::graph::{Format, Shape};
use crate::onnx::{ATTENTION_MASK, DataType, Extent, INPUT_IDS};

/// A parsed network with its builder.
pub(super) struct ShimNetwork {
    shim: &'static Shim,
    network: *mut Opaque,
    settings: Option<NetworkSettings>,
    /// Whether a layer has been given types.
    constrained: bool,
}

impl ShimNetwork {
    /// Parses a model.
    ///
    /// # Errors
    /// One sentence; the library's own are in its messages.
    pub fn parse(shim: &'static Shim, source: &OnnxModel) -> Result<ShimNetwork, String> {
        let path = match source {
            OnnxModel::Bytes(_) => None,
            OnnxModel::File(path) => {
                Some(CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?)
            }
        };
        let bytes: &[u8] = if let OnnxModel::Bytes(bytes) = source { bytes } else { &[] };
        let path = path.as_ref().map_or(null(), |path| path.as_ptr());
        // SAFETY: the library is live; bytes and path outlive the call.
        let network = unsafe { (shim.functions.parse)(shim.library, bytes.as_ptr().cast(), bytes.len() as u64, path) };
        match network.is_null() {
            true => Err("TensorRT does not parse the model".to_owned()),
            false => Ok(ShimNetwork { shim, network, settings: None, constrained: false }),
        }
    }

    fn layer(&self, index: i32) -> ParsedLayer {
        let functions = &self.shim.functions;
        let mut layer = Layer { name: null(), type_name: null(), outputs: 0, precision: -1 };
        // SAFETY: the network is live, the index is below its number of layers, and `layer` is written to.
        unsafe { (functions.layer)(self.network, index, &raw mut layer) };
        let outputs = (0..layer.outputs).map(|output| {
            let mut number = -1;
            // SAFETY: as above; the output is one of the layer's.
            let name = unsafe { (functions.layer_output)(self.network, index, output, &raw mut number) };
            ParsedTensor { name: text_of(name), element: element(data_type(number)) }
        });
        let type_name = text_of(layer.type_name);
        ParsedLayer {
            name: text_of(layer.name),
            kind: LayerKind::of(&type_name),
            precision: data_type(layer.precision).and_then(format),
            permitted: false,
            outputs: outputs.collect(),
            type_name: type_name.to_lowercase(),
        }
    }
}

impl Network for ShimNetwork {
    fn layers(&self) -> Result<Vec<ParsedLayer>, String> {
        // SAFETY: the network is live.
        let count = unsafe { (self.shim.functions.layer_count)(self.network) };
        Ok((0..count).map(|index| self.layer(index)).collect())
    }

    fn constrain(&mut self, layer: usize, types: LayerTypes) {
        self.constrained = true;
        let (compute, output) = (number_of(types.compute), number_of(types.output));
        // SAFETY: the network is live, and the layer is one that `layers` has listed.
        unsafe { (self.shim.functions.constrain)(self.network, layer as i32, compute, output) };
    }

    fn configure(&mut self, settings: NetworkSettings) -> Result<bool, String> {
        let tf32 = settings.tf32;
        self.settings = Some(settings);
        Ok(tf32)
    }

    fn build(self: Box<Self>) -> Result<BuiltNetwork, String> {
        let settings = self.settings.as_ref().ok_or("the builder has no configuration")?;
        let monitor = Monitor::new(settings.progress.clone(), settings.cancel.clone());
        let progress = Progress { user: (&raw const monitor).cast_mut().cast(), begin, step, end };
        let ranges = ranges(settings.extent);
        let timing = settings.timing.as_deref();
        let constraints = if settings.constraints == Constraints::Preferred { PREFER } else { OBEY };
        let options = Options {
            fp16: i32::from(settings.fp16),
            bf16: 0,
            tf32: i32::from(settings.tf32),
            constraints: if self.constrained { constraints } else { UNCONSTRAINED },
            workspace_bytes: settings.workspace_bytes.unwrap_or(0),
            timing: timing.map_or(null(), |bytes| bytes.as_ptr().cast()),
            timing_bytes: timing.map_or(0, |bytes| bytes.len() as u64),
            ranges: ranges.as_ptr(),
            range_count: ranges.len() as i32,
            progress: &raw const progress,
        };
        let mut timed = null_mut();
        // SAFETY: the network is live; options and what they point to outlive the call, in which alone the monitor is used.
        let engine = unsafe { (self.shim.functions.build)(self.network, &raw const options, &raw mut timed) };
        let timing = ShimBytes::own(self.shim, timed).map(|bytes| bytes.as_ref().to_vec());
        let engine = ShimBytes::own(self.shim, engine).ok_or("TensorRT does not build the network")?;
        Ok(BuiltNetwork { engine: Box::new(engine), timing })
    }
}

impl Drop for ShimNetwork {
    fn drop(&mut self) {
        // SAFETY: the network is live and freed once.
        unsafe { (self.shim.functions.free_network)(self.network) }
    }
}

/// Memory of the library.
pub(super) struct ShimBytes {
    shim: &'static Shim,
    bytes: *mut Opaque,
}

impl ShimBytes {
    /// Takes what the shim has returned; `None` for null.
    pub fn own(shim: &'static Shim, bytes: *mut Opaque) -> Option<ShimBytes> {
        (!bytes.is_null()).then(|| ShimBytes { shim, bytes })
    }
}

impl AsRef<[u8]> for ShimBytes {
    fn as_ref(&self) -> &[u8] {
        let mut length = 0;
        // SAFETY: the bytes are live.
        let data = unsafe { (self.shim.functions.bytes)(self.bytes, &raw mut length) };
        if data.is_null() {
            return &[];
        }
        // SAFETY: the shim states their length; they do not move or change before they are freed.
        unsafe { std::slice::from_raw_parts(data.cast(), length as usize) }
    }
}

impl Drop for ShimBytes {
    fn drop(&mut self) {
        // SAFETY: the bytes are live and freed once.
        unsafe { (self.shim.functions.free_bytes)(self.bytes) }
    }
}

/// The inputs of a range of shapes; none for a single shape.
fn ranges(extent: Extent) -> Vec<Range> {
    const INPUTS: [&std::ffi::CStr; 2] = [c"input_ids", c"attention_mask"];
    debug_assert_eq!(INPUTS.map(|name| name.to_str()), [Ok(INPUT_IDS), Ok(ATTENTION_MASK)]);
    let Extent::Dynamic { smallest, largest } = extent else { return Vec::new() };
    let dims = |shape: Shape| [shape.batch as i64, shape.sequence as i64];
    let range =
        |input: &std::ffi::CStr| Range { input: input.as_ptr(), smallest: dims(smallest), largest: dims(largest) };
    INPUTS.map(range).into()
}

fn element(data_type: Option<DataType>) -> ParsedElement {
    match data_type {
        Some(DataType::Int32 | DataType::Int64 | DataType::Bool) => ParsedElement::Discrete,
        other => other.and_then(format).map_or(ParsedElement::Unknown, ParsedElement::Float),
    }
}

fn format(data_type: DataType) -> Option<Format> {
    match data_type {
        DataType::Fp32 => Some(Format::Fp32),
        DataType::Fp16 => Some(Format::Fp16),
        DataType::Bf16 => Some(Format::Bf16),
        _ => None,
    }
}

/// The monitor that `build` has passed, which outlives the build.
fn monitor<'a>(user: *mut c_void) -> &'a Monitor {
    // SAFETY: the shim returns the pointer it was given, during the build only.
    unsafe { &*user.cast::<Monitor>() }
}

extern "C" fn begin(user: *mut c_void, phase: *const c_char, steps: i32) {
    monitor(user).begin(&text_of(phase), steps);
}

extern "C" fn step(user: *mut c_void, phase: *const c_char, step: i32) -> i32 {
    i32::from(monitor(user).step(&text_of(phase), step))
}

extern "C" fn end(user: *mut c_void, phase: *const c_char) {
    monitor(user).end(&text_of(phase));
}
