//! The exported graph as a TensorRT network, and the layers that an audit reads from it.

use std::path::PathBuf;

use trtx::{Builder, DataType, LayerType, NetworkDefinition, OnnxParser};

use super::audit::{LayerKind, ParsedElement, ParsedLayer, ParsedTensor};
use super::library::{TensorRtLibrary, execution};
use crate::engine::BackendError;
use crate::graph::Format;

/// Bit 0, `NetworkDefinitionCreationFlag::kSTRONGLY_TYPED`. TensorRT 11 and TensorRT-RTX have only such networks and ignore
/// it. In an older TensorRT it keeps the builder from choosing types by speed.
const STRONGLY_TYPED: u32 = 1;

/// An ONNX model for the parser.
#[derive(Debug)]
pub(super) enum OnnxModel {
    /// The whole model. It is freed as soon as the parser has its copy.
    Bytes(Vec<u8>),
    /// A file with external data next to it, for models above protobuf's 2 GB.
    File(PathBuf),
}

/// Parses the model. The parser owns the network, and the weights that its layers point to.
///
/// # Errors
/// [`BackendError`] with the parser's own words.
pub(super) fn parse(
    library: &'static TensorRtLibrary,
    builder: &mut Builder<'static>,
    source: OnnxModel,
) -> Result<OnnxParser<'static>, BackendError> {
    library.call(|| {
        let network = builder.create_network(STRONGLY_TYPED)?;
        let mut parser = OnnxParser::new(network, library.logger())?;
        match source {
            OnnxModel::Bytes(bytes) => parser.parse(&bytes)?,
            // Verbosity counts as the logger's severities do: errors and warnings.
            OnnxModel::File(path) => parser.parse_from_file(&path.to_string_lossy(), 2)?,
        }
        Ok(parser)
    })
}

/// Every layer of the network, in its order.
///
/// # Errors
/// [`BackendError`] when the library does not give access to a layer.
pub(super) fn layers(network: &NetworkDefinition<'_>) -> Result<Vec<ParsedLayer>, BackendError> {
    let failed = |error: trtx::Error| execution(format!("the parsed network cannot be read: {error}"));
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
            Ok(ParsedLayer {
                name: layer.name(network),
                kind: kind(layer_type),
                type_name: format!("{layer_type:?}").trim_start_matches('k').to_lowercase(),
                outputs: outputs.map_err(failed)?,
            })
        })
        .collect()
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

fn kind(layer: LayerType) -> LayerKind {
    match layer {
        LayerType::kMATRIX_MULTIPLY => LayerKind::Product,
        LayerType::kACTIVATION
        | LayerType::kELEMENTWISE
        | LayerType::kNORMALIZATION
        | LayerType::kREDUCE
        | LayerType::kSCALE
        | LayerType::kSOFTMAX
        | LayerType::kUNARY => LayerKind::Arithmetic,
        LayerType::kCAST => LayerKind::Cast,
        LayerType::kCONCATENATION
        | LayerType::kGATHER
        | LayerType::kIDENTITY
        | LayerType::kSELECT
        | LayerType::kSHUFFLE
        | LayerType::kSLICE
        | LayerType::kSQUEEZE
        | LayerType::kUNSQUEEZE => LayerKind::Movement,
        LayerType::kCONSTANT | LayerType::kFILL | LayerType::kSHAPE => LayerKind::Source,
        _ => LayerKind::Other,
    }
}
