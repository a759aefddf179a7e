//! TensorRT-RTX, through the crate `trtx`. It builds for a named GPU generation with or without a device.

mod engine;
mod jit;
mod network;
mod target;

use std::sync::OnceLock;

use trtx::{Builder, LogHandler, Logger, Runtime, Severity};

use super::binding::{Binding, Executable, Network, OnnxModel};
use super::memory::Allocator;
use super::messages::{Level, Messages};
use super::version::{dotted, version};
use crate::backend::cuda::device::Device;
use crate::engine::Target;
use crate::graph::Format;
use crate::libraries::{FoundLibrary, Library, find};
use crate::onnx::Dialect;

/// TensorRT-RTX, loaded.
#[derive(Debug)]
pub(super) struct Rtx {
    /// The one logger of the process: the library requires the same for every object that it creates.
    logger: Logger,
}

impl Rtx {
    /// Loads it. Returns the binding, name and version (`TensorRT-RTX 1.7.1`), and the files of builder and parser.
    ///
    /// # Errors
    /// The reason, with the cure.
    pub fn load(messages: &Messages) -> Result<(Rtx, String, [FoundLibrary; 2]), String> {
        let places = [find(Library::TensorRtRtx), find(Library::TensorRtRtxParser)];
        let [builder, parser] = places.map(|found| found.map_err(|error| error.to_string()));
        let (builder, parser) = (builder?, parser?);
        trtx::dynamically_load_tensorrt(Some(&builder.path)).map_err(|error| broken(&builder, &error))?;
        trtx::dynamically_load_tensorrt_onnxparser(Some(&parser.path)).map_err(|error| broken(&parser, &error))?;
        let (path, cure) = (builder.path.display(), builder.cure());
        let found = version(&builder.path).ok_or_else(|| format!("{path} reports no version; {cure}"))?;
        let required = headers();
        if (found[0], found[1]) != required {
            let found = dotted(found);
            return Err(format!(
                "{path} is TensorRT-RTX {found}, this program needs {}.{}; {cure}",
                required.0, required.1
            ));
        }
        let logger = Logger::new(messages.clone()).map_err(|error| error.to_string())?;
        Ok((Rtx { logger }, format!("TensorRT-RTX {}", dotted(found)), [builder, parser]))
    }

    /// An engine of one layer for every GPU that the library supports. It names no target, so that only loading it depends on
    /// this GPU.
    fn trial(&'static self) -> trtx::Result<Vec<u8>> {
        let mut builder = Builder::new(&self.logger)?;
        let mut network = builder.create_network(1)?;
        let input = network.add_input("input", trtx::DataType::kFLOAT, &[1])?;
        let layer = network.add_identity(&input)?;
        let output = layer.output(&network, 0)?;
        network.mark_output(&output);
        let mut config = builder.create_config()?;
        Ok(builder.build_serialized_network(&mut network, &mut config)?.to_vec())
    }
}

impl Binding for Rtx {
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    fn has(&self, _format: Format) -> bool {
        true
    }

    fn reports_steps(&self) -> bool {
        true
    }

    fn buildable(&self, target: Target, capability: Option<(u32, u32)>) -> Result<(), String> {
        target::buildable(target, capability)
    }

    fn target_identity(&self, target: Target, device: &str) -> String {
        target::identity(target, device)
    }

    /// Only the library knows which GPUs it supports, so it is asked to build and load a network of one layer.
    fn executes(&'static self, _device: &Device) -> Result<(), String> {
        static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
        let ask = || {
            let engine = self.trial()?;
            Runtime::new(&self.logger)?.deserialize_cuda_engine(&engine).map(drop)
        };
        ANSWER.get_or_init(|| ask().map_err(|error| error.to_string())).clone()
    }

    fn parse(&'static self, source: OnnxModel) -> Result<Box<dyn Network>, String> {
        Ok(Box::new(network::RtxNetwork::parse(&self.logger, source).map_err(|error| error.to_string())?))
    }

    fn load(&'static self, engine: &[u8], allocator: Allocator) -> Result<Box<dyn Executable>, String> {
        let loaded = engine::RtxEngine::load(&self.logger, engine, allocator);
        Ok(Box::new(loaded.map_err(|error| error.to_string())?))
    }
}

impl LogHandler for Messages {
    fn log(&self, severity: Severity, message: &str) {
        match severity {
            Severity::InternalError | Severity::Error => self.record(Level::Error, message),
            Severity::Warning => self.record(Level::Warning, message),
            Severity::Info | Severity::Verbose => {}
        }
    }
}

/// Why the dynamic loader refuses a library, in one line.
fn broken(found: &FoundLibrary, error: &trtx::Error) -> String {
    let error = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{} cannot be loaded: {error}; {}", found.path.display(), found.cure())
}

/// Major and minor version of the headers that the bindings were generated from.
#[allow(unsafe_code, reason = "asks the bindings for their version")]
fn headers() -> (u32, u32) {
    use trtx::trtx_sys::{get_tensorrt_major_version, get_tensorrt_minor_version};
    // SAFETY: plain functions compiled into this program that return constants.
    unsafe { (get_tensorrt_major_version(), get_tensorrt_minor_version()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal must concern the device and not the question.
    #[test]
    fn the_question_itself_needs_no_device() {
        match Rtx::load(&Messages::default()) {
            Ok((rtx, ..)) => assert!(!Box::leak(Box::new(rtx)).trial().unwrap().is_empty()),
            Err(reason) => crate::skip::skip(reason),
        }
    }
}
