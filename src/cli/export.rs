//! `mixprec export`: a model as an ONNX file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use super::OK;
use super::output::show;
use crate::graph::{PrecisionPolicy, Preset};
use crate::model::{Head, Model, ModelArgument, dropped_head_sentence, unread_sentence};
use crate::onnx::{Dialect, DimensionRange, Export, Extent, Opset, WrittenModel};

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Checkpoint folder, or an architecture for random weights, with a seed as in bert-base:7: bert-base, bert-large,
    /// roberta-base, distilbert-base, electra-small, albert-base, gpt2, gpt2-medium, gpt2-large, gpt2-xl, opt-125m, bert-tiny or
    /// gpt2-tiny.
    #[arg(long)]
    model: ModelArgument,
    /// Precision policy.
    #[arg(long, default_value = "fp32", value_name = "POLICY")]
    precision: Preset,
    /// Batch size, or a range like 1..32 (both ends included) for a symbolic dimension.
    #[arg(long, value_name = "N")]
    batch: DimensionRange,
    /// Sequence length in tokens, or a range like 32..512.
    #[arg(long, value_name = "N")]
    seq: DimensionRange,
    /// ONNX operator set: 20, or 17 or 13 for an older runtime, with GELU (and layer norm before 17) written out.
    #[arg(long, default_value_t = Opset::default(), value_parser = opset)]
    opset: Opset,
    /// Output: that of the checkpoint's class (natural), the last hidden state, the logits of a head, or those of the last
    /// token alone.
    #[arg(long, value_enum, default_value_t = Head::Natural)]
    head: Head,
    /// Takes the types of tokens as an input, for pairs of texts; without it every token is of type 0.
    #[arg(long)]
    token_types: bool,
    /// File to write; weights of more than 2 GB go to a second file, FILE.data.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn execute(args: &ExportArgs) -> Result<u8> {
    let model = Model::open(&args.model.name, &args.model.source, Path::new("."), args.head)?;
    let policy = PrecisionPolicy::preset(args.precision);
    if args.token_types && model.graph.token_types() == 0 {
        bail!("--token-types: the model embeds no token types; leave the option out");
    }
    let dialect = Dialect { opset: args.opset, token_types: args.token_types, ..Dialect::default() };
    let export = Export::in_dialect(&model, &policy, Extent::of(args.batch, args.seq), dialect)?;
    let written = export.write(&args.out)?;
    show(describe(&model, &policy, &export, &written))?;
    Ok(OK)
}

fn opset(text: &str) -> Result<Opset, String> {
    let known = Opset::ALL.into_iter().find(|opset| opset.to_string() == text);
    known.ok_or_else(|| "operator sets are 13, 17 and 20".to_owned())
}

/// What is in the file, and what ONNX cannot say of the policy.
fn describe(model: &Model, policy: &PrecisionPolicy, export: &Export<'_>, written: &WrittenModel) -> String {
    let extent = export.extent();
    let files = written.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
    let megabytes = written.bytes as f64 / 1e6;
    let mut text = format!("{files}: {megabytes:.1} MB, {}, opset {}\n", model.provenance, export.dialect().opset);
    let (batch, sequence) = (extent.batch(), extent.sequence());
    let inputs = export.dialect().inputs().collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "{inputs}: int64, batch {batch}, sequence {sequence}");
    let format = export.output_format();
    let kind = model.graph.output_kind.label();
    let _ = writeln!(text, "{}: {format}; policy {}; {kind}", export.output_name(), policy.name);
    if let Some(unread) = unread_sentence(&model.unread) {
        let _ = writeln!(text, "{unread}");
    }
    if let Some(class) = &model.config.dropped_head {
        let _ =
            writeln!(text, "{} (--head hidden silences this)", dropped_head_sentence(class, model.graph.output_kind));
    }
    for deviation in export.deviations() {
        let _ = writeln!(text, "not said in ONNX: {deviation}");
    }
    text
}
