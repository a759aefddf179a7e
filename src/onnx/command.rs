//! `mixprec export`: writes the file of a request and describes it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{ATTENTION_MASK, DimensionRange, Export, ExportError, Extent, INPUT_IDS, OPSET, WrittenModel};
use crate::graph::{PrecisionPolicy, Preset};
use crate::model::{Head, Model, ModelArgument};

/// What to export, and to which file.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// Model.
    pub model: ModelArgument,
    /// What the output is.
    pub head: Head,
    /// Policy.
    pub precision: Preset,
    /// Batch sizes.
    pub batch: DimensionRange,
    /// Sequence lengths, tokens.
    pub sequence: DimensionRange,
    /// File.
    pub path: PathBuf,
}

/// Exports the model and describes the file.
///
/// # Errors
/// [`ExportError`], one message that names the place and the cure.
pub fn export(request: &ExportRequest) -> Result<String, ExportError> {
    let model = Model::open(&request.model.name, &request.model.source, Path::new("."), request.head)?;
    let policy = PrecisionPolicy::preset(request.precision);
    let export = Export::new(&model, &policy, Extent::of(request.batch, request.sequence))?;
    let written = export.write(&request.path)?;
    Ok(describe(&export, &written))
}

fn describe(export: &Export<'_>, written: &WrittenModel) -> String {
    let extent = export.extent();
    let files = written.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
    let megabytes = written.bytes as f64 / 1e6;
    let mut text = format!("{files}: {megabytes:.1} MB, {}, opset {OPSET}\n", export.model.provenance);
    let (batch, sequence) = (extent.batch(), extent.sequence());
    let _ = writeln!(text, "{INPUT_IDS}, {ATTENTION_MASK}: int64, batch {batch}, sequence {sequence}");
    let format = export.output_format();
    let _ = writeln!(text, "{}: {format}; policy {}", export.output_name(), export.policy.name);
    for deviation in export.deviations() {
        let _ = writeln!(text, "not said in ONNX: {deviation}");
    }
    text
}
