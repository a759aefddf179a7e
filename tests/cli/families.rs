//! Families and heads in a manifest and on the command line: what comes out is said, and only next-token logits have a
//! perplexity.

use mixprec::graph::OutputKind;

use crate::assert_says;
use crate::expect;
use crate::experiment::{Cells, Experiment, text};
use crate::fixtures::families::case;

#[test]
fn every_kind_of_output_is_measured_and_named_by_plan_and_rows() {
    let kinds = [
        ("masked", "RobertaForMaskedLM", OutputKind::MaskedTokenLogits),
        ("tokens", "DistilBertForTokenClassification", OutputKind::TokenClassLogits),
        ("answers", "AlbertForQuestionAnswering", OutputKind::SpanLogits),
        ("classes", "ElectraForSequenceClassification", OutputKind::ClassLogits),
        ("next", "OPTForCausalLM", OutputKind::TokenLogits),
    ];
    let model = |(name, recorded, _): &(&str, &str, OutputKind)| {
        format!("{name}: {{checkpoint: {}}}", case(recorded).write().display())
    };
    let hidden = format!("hidden: {{checkpoint: {}, head: hidden}}", case("RobertaForMaskedLM").write().display());
    let models = format!("{{{}, {hidden}}}", kinds.iter().map(model).collect::<Vec<_>>().join(", "));
    let cells = Cells { models: &models, precisions: "[fp32, hybrid]", count: 12, ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let (_, plan) = expect(0, &["plan", text(&experiment.yaml())]);
    experiment.run(0);
    let rows = experiment.rows();
    for (name, _, kind) in kinds.into_iter().chain([("hidden", "", OutputKind::Hidden)]) {
        let said = plan.contains(&format!("note: {name}: the output is {}\n", kind.label()));
        let is_ordinary = matches!(kind, OutputKind::Hidden | OutputKind::ClassLogits | OutputKind::TokenLogits);
        assert_eq!(said, !is_ordinary, "{plan}");
        let of_model: Vec<_> = rows.iter().filter(|row| row.model == name).collect();
        assert_eq!(of_model.len(), 2, "{name}");
        for row in of_model {
            assert_eq!((row.output, row.dropped_head.as_deref()), (Some(kind), None), "{name}");
            assert_eq!((row.nll_mean, row.task_total, row.nan_count), (None, None, Some(0)), "{name}");
            assert!(row.cosine_mean.unwrap() > 0.999, "{name}: {:?}", row.cosine_mean);
            let is_distribution = !matches!(kind, OutputKind::Hidden | OutputKind::SpanLogits);
            assert_eq!(row.argmax_agreement.is_some(), is_distribution, "{name}");
        }
    }
}

#[test]
fn what_cannot_be_computed_is_said_by_plan() {
    let models = format!(
        "{{tiny: {{random: 1, architecture: bert-tiny}}, pooled: {{checkpoint: {}}}, masked: {{checkpoint: {}, head: masked-lm}}}}",
        case("GPT2-padding").write().display(),
        case("OPTForCausalLM").write().display(),
    );
    let precisions =
        "[fp32, {name: summed, base: hybrid, ops: {layer.1/mlp/fc1: {compute: bf16, accumulate: bf16, store: bf16}}}]";
    let cells = Cells { models: &models, backends: "[cuda]", precisions, count: 6, ..Cells::default() };
    let (_, plan) = expect(0, &["plan", text(&Experiment::new(&cells).yaml())]);
    for said in [
        "note: tiny: cuda: `layer.1/mlp/fc1` has a BF16 accumulator, which no GPU has; its rows there fail\n",
        "note: pooled: cuda: `layer.1/mlp/fc1` has a BF16 accumulator",
        "note: masked: model `masked`: the family `opt` has no head `masked-lm`; leave out the head, or write `hidden` or one of",
    ] {
        assert_eq!(plan.matches(said).count(), 1, "{said} {plan}");
    }
}

#[test]
fn sequences_beyond_the_positions_of_a_checkpoint_are_said_by_plan() {
    let models = format!("{{short: {{checkpoint: {}}}}}", case("RobertaModel").write().display());
    let note = "note: short: its 14 positions hold no sequence of 15, whose rows fail; write `sequence_lengths` of 14 at most\n";
    for (sequence_lengths, is_said) in [("[8, 14]", false), ("[8, 15]", true)] {
        let cells = Cells { models: &models, sequence_lengths, count: 2, ..Cells::default() };
        let (_, plan) = expect(0, &["plan", text(&Experiment::new(&cells).yaml())]);
        assert_eq!(plan.contains(note), is_said, "{plan}");
    }
}

#[test]
fn export_and_help_name_heads_and_architectures() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model.onnx");
    let export = |code: i32, head: &str| {
        let model = ["export", "--model", "electra-small", "--batch", "1", "--seq", "4", "--head", head];
        expect(code, &[&model[..], &["--out", text(&out)]].concat())
    };
    assert!(export(0, "masked-lm").0.contains("logits: fp32; policy fp32; masked-token logits\n"));
    assert!(export(0, "hidden").0.contains("last_hidden_state: fp32; policy fp32; hidden states\n"));
    assert_says(&export(2, "last-token").1, &["model `electra-small` is no language model"]);
}
