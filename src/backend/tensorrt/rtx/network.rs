//! A network of TensorRT-RTX: strongly typed, so that its layers compute in the types of the model.

use std::mem::ManuallyDrop;
use std::ops::ControlFlow;

use trtx::host_memory::HostMemory;
use trtx::interfaces::MonitorProgress;
use trtx::trtx_sys::nvinfer1::Dims64;
use trtx::{
    Builder, BuilderConfig, BuilderFlag, DataType, Logger, MemoryPoolType, OnnxParser, OptProfileSelector,
    ProfilingVerbosity,
};

use super::super::audit::{LayerKind, ParsedElement, ParsedLayer, ParsedTensor};
use super::super::binding::{BuiltNetwork, LayerTypes, Network, NetworkSettings, OnnxModel};
use super::super::progress::Monitor;
use super::target;
use crate::graph::{Format, Shape};
use crate::onnx::{ATTENTION_MASK, Extent, INPUT_IDS};

/// Bit 0, `NetworkDefinitionCreationFlag::kSTRONGLY_TYPED`. TensorRT-RTX has only such networks and ignores it.
const STRONGLY_TYPED: u32 = 1;

/// A parsed network and its builder. Fields are dropped in their order.
pub(super) struct RtxNetwork {
    config: Option<BuilderConfig<'static>>,
    /// Owns the network, and the weights that its layers point to.
    parser: OnnxParser<'static>,
    builder: Builder<'static>,
}

impl RtxNetwork {
    /// Parses a model.
    ///
    /// # Errors
    /// Those of the library.
    pub fn parse(logger: &'static Logger, source: OnnxModel) -> trtx::Result<RtxNetwork> {
        let mut builder = Builder::new(logger)?;
        let network = builder.create_network(STRONGLY_TYPED)?;
        let mut parser = OnnxParser::new(network, logger)?;
        match source {
            OnnxModel::Bytes(bytes) => parser.parse(&bytes)?,
            // Verbosity counts as the logger's severities do: errors and warnings.
            OnnxModel::File(path) => parser.parse_from_file(&path.to_string_lossy(), 2)?,
        }
        Ok(RtxNetwork { config: None, parser, builder })
    }

    fn configured(&mut self, settings: NetworkSettings) -> trtx::Result<BuilderConfig<'static>> {
        let mut config = self.builder.create_config()?;
        // The flag is on by default, which would compute every FP32 product in TF32.
        match settings.tf32 {
            true => config.set_flag(BuilderFlag::kTF32),
            false => config.clear_flag(BuilderFlag::kTF32),
        }
        // With less, the inspector gives names only.
        config.set_profiling_verbosity(ProfilingVerbosity::kDETAILED);
        if let Some(bytes) = settings.workspace_bytes {
            config.set_memory_pool_limit(MemoryPoolType::kWORKSPACE, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        target::set(&mut config, settings.target)?;
        if let Extent::Dynamic { smallest, largest } = settings.extent {
            add_profile(&mut self.builder, &mut config, smallest, largest)?;
        }
        config.set_progress_monitor(Box::new(Monitor::new(settings.progress, settings.cancel)))?;
        Ok(config)
    }
}

impl Network for RtxNetwork {
    fn layers(&self) -> Result<Vec<ParsedLayer>, String> {
        let network = self.parser.network();
        let failed = |error: trtx::Error| format!("the parsed network cannot be read: {error}");
        network
            .layers()
            .map(|layer| {
                let layer_type = layer.layer_type_dynamic();
                let outputs = (0..layer.num_outputs(network))
                    .map(|index| {
                        let tensor = layer.output(network, index)?;
                        Ok(ParsedTensor { name: tensor.name(network)?, element: element(tensor.data_type(network)) })
                    })
                    .collect::<trtx::Result<_>>();
                let type_name = format!("{layer_type:?}").trim_start_matches('k').to_owned();
                Ok(ParsedLayer {
                    name: layer.name(network),
                    kind: LayerKind::of(&type_name),
                    type_name: type_name.to_lowercase(),
                    precision: None,
                    permitted: false,
                    outputs: outputs.map_err(failed)?,
                })
            })
            .collect()
    }

    fn constrain(&mut self, _layer: usize, _types: LayerTypes) {}

    fn configure(&mut self, settings: NetworkSettings) -> Result<bool, String> {
        let config = self.configured(settings).map_err(|error| error.to_string())?;
        let tf32 = config.flag(BuilderFlag::kTF32);
        self.config = Some(config);
        Ok(tf32)
    }

    fn build(self: Box<Self>) -> Result<BuiltNetwork, String> {
        // Dropped in the reverse order: the parser before its builder.
        let RtxNetwork { mut builder, mut parser, config } = *self;
        let mut config = config.ok_or("the builder has no configuration")?;
        let engine = builder.build_serialized_network(parser.network_mut(), &mut config);
        let engine = engine.map_err(|error| error.to_string())?;
        Ok(BuiltNetwork { engine: Box::new(LibraryBytes(engine)), timing: None })
    }
}

impl MonitorProgress for Monitor {
    fn phase_start(&self, phase_name: &str, _parent_phase: Option<&str>, num_steps: i32) {
        self.begin(phase_name, num_steps);
    }

    fn step_complete(&self, phase_name: &str, step: i32) -> ControlFlow<()> {
        if self.step(phase_name, step) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn phase_finish(&self, phase_name: &str) {
        self.end(phase_name);
    }
}

/// Memory of the builder.
struct LibraryBytes(HostMemory<'static>);

impl AsRef<[u8]> for LibraryBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Adds one profile for the whole range, tuned for its largest shape, whose time matters most.
fn add_profile(
    builder: &mut Builder<'static>,
    config: &mut BuilderConfig<'static>,
    smallest: Shape,
    largest: Shape,
) -> trtx::Result<()> {
    // The builder owns the profile, so the handle must not free it.
    let mut profile = ManuallyDrop::new(builder.creata_optimization_profile()?);
    for input in [INPUT_IDS, ATTENTION_MASK] {
        let bounds = [
            (OptProfileSelector::kMIN, smallest),
            (OptProfileSelector::kOPT, largest),
            (OptProfileSelector::kMAX, largest),
        ];
        for (selector, shape) in bounds {
            let dims = Dims64::new_2d(shape.batch as i64, shape.sequence as i64);
            profile.set_dimensions(input, selector, &dims)?;
        }
    }
    config.add_optimization_profile(&mut profile)?;
    Ok(())
}

fn element(data_type: DataType) -> ParsedElement {
    match data_type {
        DataType::kFLOAT => ParsedElement::Float(Format::Fp32),
        DataType::kHALF => ParsedElement::Float(Format::Fp16),
        DataType::kBF16 => ParsedElement::Float(Format::Bf16),
        DataType::kINT32 | DataType::kINT64 | DataType::kINT8 | DataType::kUINT8 | DataType::kBOOL => {
            ParsedElement::Discrete
        }
        _ => ParsedElement::Unknown,
    }
}
