//! Overflow seen from the command line, and rows that do not depend on the batch they are in.

use std::collections::BTreeMap;

use mixprec::backend::reference::ReferenceBackend;
use mixprec::engine::{Backend, BuildRequest};
use mixprec::graph::{PrecisionPolicy, Preset, Shape};
use mixprec::input::Batch;
use mixprec::input::InputSource;
use mixprec::model::Head;
use mixprec::record::BadKind;
use mixprec::record::Status;
use mixprec::store::schema::ResultRow;

use crate::checkpoint::Checkpoint;
use crate::experiment::{Cells, Experiment};

const TOLERANCES: &str = "tolerances: {fp32: {cosine_min: 0.999999}, fp16: {cosine_min: 0.99}, \
                          hybrid: {cosine_min: 0.9998}}";

/// The fp32, fp16 and hybrid rows of a checkpoint on random ids.
fn rows(checkpoint: &Checkpoint, code: i32) -> [ResultRow; 3] {
    let experiment = Experiment::new(&Cells {
        models: "{tiny: {checkpoint: tiny}}",
        precisions: "[fp32, fp16, hybrid]",
        batch_sizes: "[2]",
        more: TOLERANCES,
        count: 3,
        ..Cells::default()
    });
    checkpoint.write(&experiment.folder().join("tiny"));
    let stderr = experiment.run(code);
    assert_eq!(stderr.contains("1 of the measured out of tolerance"), code == 1, "{stderr}");
    let rows: [ResultRow; 3] = experiment.rows().try_into().unwrap();
    assert!(rows.iter().all(|row| row.status == Status::Ok), "a broken tolerance is measured all the same");
    rows
}

/// A row without NaN or infinity and within its tolerance.
fn assert_clean(row: &ResultRow) {
    assert_eq!((row.nan_count, row.inf_count, row.within_tolerance), (Some(0), Some(0), Some(true)), "{row:?}");
    assert_eq!((row.numerics_remark.as_deref(), row.compared_rows.is_some_and(|rows| rows > 0)), (None, true));
}

#[test]
fn ordinary_weights_are_clean_in_every_policy() {
    for checkpoint in [Checkpoint::bert(), Checkpoint::gpt2()] {
        let rows = rows(&checkpoint, 0);
        rows.iter().for_each(assert_clean);
        let errors = rows.each_ref().map(|row| row.relative_l2_error.unwrap());
        assert!(errors[0] < 1e-6 && errors[1..].iter().all(|error| (1e-5..1e-2).contains(error)), "{errors:?}");
    }
}

#[test]
fn a_residual_stream_beyond_fp16_is_nan_in_fp16_alone() {
    // Two layers add 40000 each; FP16 ends at 65504, and infinity less an infinite mean is NaN.
    let (first, second) = ("h.0.mlp.c_proj.bias", "h.1.mlp.c_proj.bias");
    let [fp32, fp16, hybrid] = rows(&Checkpoint::gpt2().with_value(first, 3, 4e4).with_value(second, 3, 4e4), 1);
    assert_clean(&fp32);
    assert_clean(&hybrid);
    let elements = fp16.output_elements.unwrap();
    assert_eq!((elements, fp16.nan_count.unwrap() + fp16.inf_count.unwrap()), (2 * 8 * 24, elements));
    assert_eq!((fp16.within_tolerance, fp16.cosine_min, fp16.max_abs_error), (Some(false), None, None));
    assert_eq!(fp16.argmax_agreement, Some(0.0));
    let remark = fp16.numerics_remark.unwrap();
    assert!(remark.contains("384 of 384 output values") && remark.contains("minimum cosine"), "{remark}");
}

#[test]
fn a_variance_beyond_fp16_is_wrong_without_a_single_nan() {
    // The square of 300 overflows the layer norm's variance, whose inverse root is then zero: finite, and wrong.
    let outlier = "h.0.mlp.c_proj.bias";
    let [fp32, fp16, hybrid] = rows(&Checkpoint::gpt2().with_value(outlier, 3, 300.0), 1);
    assert_clean(&fp32);
    assert_clean(&hybrid);
    assert_eq!((fp16.nan_count, fp16.inf_count, fp16.within_tolerance), (Some(0), Some(0), Some(false)));
    assert!(fp16.cosine_min.unwrap() < 0.9, "{fp16:?}");
    assert!(fp16.numerics_remark.unwrap().contains("breaks the limit 0.99"));
}

/// 300 in one of 16 channels: the square of its deviation of 281 is beyond FP16, in every norm behind the first layer.
#[test]
fn passes_tell_silent_failures_from_nan_and_name_where_they_begin() {
    let experiment = Experiment::new(&Cells {
        models: "{tiny: {checkpoint: gpt2}, tiny-injected: {checkpoint: gpt2, inject: {layer: 0, channel: 3, magnitude: 300}}}",
        precisions: "[fp32, fp16, hybrid]",
        inputs: "{random: {random: 7}, text: {text: text.txt}}",
        more: "numerics: {forwards: 9}",
        count: 12,
        ..Cells::default()
    });
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    let sentence = "the film is good but the plot is weak and dull ";
    std::fs::write(experiment.folder().join("text.txt"), sentence.repeat(4)).unwrap();
    experiment.run(0);
    let label = "injected outlier of 300 in layer 0, channel 3";
    for row in experiment.rows() {
        let injected = row.model == "tiny-injected";
        assert_eq!(row.injection.as_deref(), injected.then_some(label));
        assert_eq!(row.model_provenance.as_ref().unwrap().ends_with(label), injected, "{row:?}");
        // A window of 8 tokens and the one that follows: 44 words hold five. Random ids do not end.
        let forwards = row.forwards.unwrap();
        assert_eq!(forwards, if row.input == "text" { 5 } else { 9 }, "{row:?}");
        assert_eq!((row.nan_forwards, row.inf_forwards), (Some(0), Some(0)));
        assert_eq!(row.layer_norm_rows, Some(forwards * 5 * 8));
        assert_eq!(row.magnitudes.is_some(), row.precision == "fp32");
        let fails = injected && row.precision == "fp16";
        assert_eq!(row.silent_forwards, Some(if fails { forwards } else { 0 }), "{row:?}");
        assert_eq!(
            row.silent_rows,
            Some(if fails { forwards * 3 * 8 } else { 0 }),
            "two norms of layer 1 and the last"
        );
        let first = (row.first_bad_op.as_deref(), row.first_bad_layer, row.first_bad_kind, row.first_bad_forward);
        let expected = (Some("layer.1/attention/layer_norm"), Some(1), Some(BadKind::Silent), Some(0));
        assert_eq!(first, if fails { expected } else { (None, None, None, None) });
        assert_eq!(row.first_bad_magnitude.is_some_and(|most| (most - 300.0).abs() < 5.0), fails, "{row:?}");
        let failing = Some(if fails { forwards } else { 0 });
        assert_eq!((row.broken_forwards, row.failed_forwards), (failing, failing), "{row:?}");
        assert_eq!(row.forward_compared_rows, Some(forwards * 8));
        assert_eq!(row.forward_broken_rows > Some(0), fails, "{row:?}");
        assert_eq!(row.forward_cosine_min.unwrap() < 0.9, fails, "{row:?}");
        assert_eq!(row.broken_rows.is_some_and(|rows| rows > 0), fails, "{row:?}");
    }
    let files = std::fs::read_dir(experiment.dir().join("reference")).unwrap().count();
    assert_eq!(files, 2 * (4 + 3), "per model: the first sequences of both inputs, then 9 and 5 sequences by four");
}

#[test]
fn broken_rows_have_a_limit_of_their_own_and_the_manifest_says_what_is_broken() {
    let cells = |numerics: &'static str| Cells {
        models: "{tiny-injected: {checkpoint: gpt2, inject: {layer: 0, channel: 3, magnitude: 300}}}",
        precisions: "[fp32, fp16]",
        more: numerics,
        count: 2,
        ..Cells::default()
    };
    let limits = "tolerances: {fp32: {max_broken_rows: 0}, fp16: {max_broken_rows: 7}}";
    let experiment = Experiment::new(&cells(limits));
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    experiment.run(1);
    let [fp32, fp16]: [ResultRow; 2] = experiment.rows().try_into().unwrap();
    assert_eq!((fp32.within_tolerance, fp32.broken_rows, fp32.failed_forwards), (Some(true), Some(0), Some(0)));
    assert_eq!((fp16.within_tolerance, fp16.broken_rows, fp16.failed_forwards), (Some(false), Some(8), Some(1)));
    let remark = fp16.numerics_remark.unwrap();
    assert_eq!(remark, "8 of 8 compared rows are broken, which breaks the limit 7");
    let lenient = "numerics: {broken_cosine: -1, broken_relative_l2: 1e9}\ntolerances: {fp16: {max_broken_rows: 0}}";
    let experiment = Experiment::new(&cells(lenient));
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    experiment.run(0);
    assert!(experiment.rows().iter().all(|row| row.broken_rows == Some(0)));
}

#[test]
fn batch_sizes_share_a_reference_and_every_batch_agrees_with_it() {
    let experiment = Experiment::new(&Cells {
        models: "{bert: {checkpoint: bert}, gpt: {checkpoint: gpt2}}",
        precisions: "[fp32, hybrid]",
        batch_sizes: "[1, 3]",
        inputs: "{random: {random: 7}, text: {text: text.txt}}",
        more: "numerics: {compare_sequences: 2}",
        count: 16,
        ..Cells::default()
    });
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    std::fs::write(experiment.folder().join("text.txt"), "the film is good but the plot is weak and dull ".repeat(4))
        .unwrap();
    experiment.run(0);
    assert_eq!(std::fs::read_dir(experiment.dir().join("reference")).unwrap().count(), 4, "one per model and input");
    for row in experiment.rows() {
        let sequences = row.batch_size.min(2);
        let vectors = if row.model == "bert" { sequences } else { 8 * sequences };
        assert_eq!(row.compared_rows, Some(vectors), "{row:?}");
        let least = if row.precision == "fp32" { 1.0 - 1e-10 } else { 0.9998 };
        assert!(row.cosine_min.unwrap() >= least, "{row:?}");
    }
}

#[test]
fn a_row_in_a_batch_equals_the_row_alone() {
    let experiment = Experiment::new(&Cells::default());
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    Checkpoint::gpt2().write(&experiment.folder().join("gpt2"));
    let sentences = "sentence\tlabel\ngood film\t1\nthe plot is not very good but it was fine\t0\nbad\t0\n";
    std::fs::write(experiment.folder().join("dev.tsv"), sentences).unwrap();
    for name in ["bert", "gpt2"] {
        let model = experiment.model(name, Head::Hidden);
        let input = experiment
            .input(&InputSource::Sst2 { path: "dev.tsv".into(), sha256: None, labels: BTreeMap::new() }, &model);
        for preset in Preset::ALL {
            let run = |batch: &Batch| {
                let policy = PrecisionPolicy::preset(preset);
                let request = BuildRequest::new(model.clone(), policy, batch.shape, 1);
                let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
                engine.bind(batch).unwrap();
                engine.enqueue().unwrap();
                engine.outputs().unwrap()
            };
            let together = input.batch(Shape { batch: 3, sequence: 16 }, 0).unwrap();
            let output = run(&together);
            for row in 0..3 {
                // Alone, and without any padding.
                let ids = &together.ids[16 * row..][..together.lengths[row]];
                let alone = run(&Batch::single(ids.to_vec())).values;
                let same = &output.values[16 * row * output.width..][..alone.len()];
                let largest = alone.iter().fold(0_f32, |most, value| most.max(value.abs()));
                let error = alone.iter().zip(same).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / largest;
                let limit = if preset == Preset::Fp32 { 1e-6 } else { 1e-2 };
                assert!(error <= limit, "{name} {preset} row {row}: {error:e}");
            }
        }
    }
}

#[test]
fn rows_of_a_replaced_checkpoint_are_measured_again_and_compared_with_a_new_reference() {
    let cells = Cells { models: "{bert: {checkpoint: bert}}", ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let folder = experiment.folder().join("bert");
    Checkpoint::bert().write(&folder);
    experiment.run(0);
    let before = experiment.rows();
    // Nothing in the manifest says that the weights are others now.
    Checkpoint::bert().with_value("classifier.bias", 0, 50.0).write(&folder);
    experiment.manifest(&Cells { batch_sizes: "[1, 2]", count: 2, ..cells });
    let stderr = experiment.run(0);
    assert!(stderr.contains("bert: 1 row(s) of this folder were measured with other weights (checkpoint"), "{stderr}");
    assert!(stderr.contains("2 measured") && !stderr.contains("measured earlier"), "{stderr}");
    assert!(experiment.run(0).contains("2 measured earlier"));
    let rows = experiment.rows();
    assert_eq!(rows[0].model_provenance, rows[1].model_provenance);
    assert_ne!(rows[0].model_provenance, before[0].model_provenance);
    assert!(
        rows.iter().all(|row| row.cosine_min.unwrap() > 0.999_999 && row.max_abs_error.unwrap() < 1e-4),
        "{rows:?}"
    );
}

#[test]
fn a_flipped_bit_of_a_reference_is_noticed_and_the_reference_made_anew() {
    let cells = Cells { models: "{bert: {checkpoint: bert}}", ..Cells::default() };
    let experiment = Experiment::new(&cells);
    Checkpoint::bert().write(&experiment.folder().join("bert"));
    experiment.run(0);
    let reference = std::fs::read_dir(experiment.dir().join("reference")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&reference).unwrap();
    let mut flipped = whole.clone();
    // The highest bit of the last value's exponent.
    *flipped.last_mut().unwrap() ^= 0x40;
    std::fs::write(&reference, flipped).unwrap();
    experiment.manifest(&Cells { batch_sizes: "[1, 2]", count: 2, ..cells });
    experiment.run(0);
    assert_eq!(std::fs::read(&reference).unwrap(), whole);
    for row in experiment.rows() {
        assert!(row.cosine_min.unwrap() > 0.999_999 && row.numerics_remark.is_none(), "{row:?}");
    }
}
