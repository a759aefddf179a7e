//! Every column of both tables. Names carry units; undefined is null.

use polars::prelude::{Column, DataFrame};

use super::column::{ColumnValue, Stored, from_column, named_value, to_column};
pub use super::sample_row::SampleRow;
pub use super::table::ColumnInfo;
use super::table::table;
pub use super::weights::WeightsKind;
use crate::engine::{BackendKind, DeviceKind, Target};
use crate::graph::OutputKind;
use crate::record::magnitudes::Magnitudes;
use crate::record::{BadKind, FailureKind, StopReason};
pub use crate::record::{InputKind, Status};

/// Version of the columns below.
pub const SCHEMA_VERSION: u32 = 12;

/// Oldest version that a reader accepts. Columns that it lacks are null, but those of the weights come from the label
/// where the version is older than 7.
pub const OLDEST_SCHEMA_VERSION: u32 = 6;

named_value!(
    Status = Status::Pending,
    InputKind = InputKind::Random,
    BackendKind = BackendKind::Reference,
    Target = Target::Current,
    DeviceKind = DeviceKind::Cpu,
    FailureKind = FailureKind::Error,
    BadKind = BadKind::Nan,
    StopReason = StopReason::TimeCap,
    WeightsKind = WeightsKind::Random,
    OutputKind = OutputKind::Hidden,
);

table! {
    /// One planned configuration on one machine: a row of `results.parquet`.
    ResultRow {
        /// Stable id of the configuration.
        id: String,
        /// Library that executed it.
        backend: BackendKind,
        /// Where that library executes.
        device: DeviceKind,
        /// Model name of the manifest.
        model: String,
        /// How the weights were obtained.
        model_provenance: Option<String>,
        /// Kind of their origin: `folder`, `hub`, `random`, `stand_in`, or `labelled` of a file before schema 7.
        weights_kind: Option<WeightsKind>,
        /// SHA-256 of a checkpoint's weights; of kind `labelled` its first 16 digits.
        weights_sha256: Option<String>,
        /// Hub repository that a checkpoint was fetched from.
        weights_repository: Option<String>,
        /// Revision of the repository fetched or stood in for; null where not known.
        weights_revision: Option<String>,
        /// Seed of random weights.
        weights_seed: Option<u64>,
        /// Hub repository that random weights stand in for.
        weights_stand_in_for: Option<String>,
        /// Layer of the outlier that was added to the weights, from 0; null where there is none.
        weights_outlier_layer: Option<u64>,
        /// Its channel of the residual stream, from 0.
        weights_outlier_channel: Option<u64>,
        /// What was added there.
        weights_outlier_magnitude: Option<f64>,
        /// The outlier that was added to the weights, where one was: such a row speaks of no trained or published model.
        injection: Option<String>,
        /// SHA-256 of a checkpoint's config.json.
        config_sha256: Option<String>,
        /// SHA-256 over a line `SHA-256  NAME` of each of the checkpoint's tokenizer files; null where the input needs no tokenizer.
        tokenizer_sha256: Option<String>,
        /// SHA-256 of the file that the input was read from; null where it was read from none.
        input_sha256: Option<String>,
        /// SHA-256 of what the manifest says of the measurement, the numerics and the inputs beyond the configuration.
        settings_sha256: Option<String>,
        /// SHA-256 of the sources of this program that decide outputs and counts.
        arithmetic_sha256: Option<String>,
        /// What the output holds.
        output: Option<OutputKind>,
        /// Class of config.json whose head is not computed, so that the output is that of the trunk.
        dropped_head: Option<String>,
        /// Class of the checkpoint by label of the input's file, as `label=class`, or `=class` where no label is it, by semicolons.
        labels: Option<String>,
        /// Precision policy.
        precision: String,
        /// GPU generation the engine was built for, where the backend builds ahead of time.
        target: Option<Target>,
        /// Sequences per forward pass.
        batch_size: u64,
        /// Tokens per sequence, padding included.
        sequence_length: u64,
        /// Input name of the manifest.
        input: String,
        /// What kind of token ids the input yields.
        input_kind: InputKind,
        /// Where the configuration stands.
        status: Status,
        /// Why it failed, or was built but not executed.
        reason: Option<String>,
        /// Kind of failure.
        failure_kind: Option<FailureKind>,
        /// Timed executions.
        samples: Option<u64>,
        /// Processes that took them in turn, each with an engine of its own; null where one took all.
        processes: Option<u64>,
        /// Distance of the processes' extreme medians as a share of their median.
        process_spread: Option<f64>,
        /// Untimed executions before them.
        warmup: Option<u64>,
        /// Why sampling ended.
        stop_reason: Option<StopReason>,
        /// Mean wall time of one forward pass.
        latency_mean_ms: Option<f64>,
        /// Standard deviation (n - 1).
        latency_sd_ms: Option<f64>,
        /// Shortest.
        latency_min_ms: Option<f64>,
        /// Median; with several processes that of their medians.
        latency_p50_ms: Option<f64>,
        /// Lower end of the median's 95 % interval: by bootstrap; with several processes by their order, null below 6.
        latency_p50_low_ms: Option<f64>,
        /// Upper end of it.
        latency_p50_high_ms: Option<f64>,
        /// 90th percentile; null below 64 samples.
        latency_p90_ms: Option<f64>,
        /// 95th percentile; null below 130 samples.
        latency_p95_ms: Option<f64>,
        /// 99th percentile; null below 662 samples.
        latency_p99_ms: Option<f64>,
        /// Sequences per second at the median latency.
        throughput_sequences_per_s: Option<f64>,
        /// Tokens (padding included) per second at the median latency.
        throughput_tokens_per_s: Option<f64>,
        /// Median of the device's own time of the same passes, between two events on its stream.
        device_p50_ms: Option<f64>,
        /// Lower end of that median's 95 % bootstrap interval.
        device_p50_low_ms: Option<f64>,
        /// Upper end of it.
        device_p50_high_ms: Option<f64>,
        /// Mean of the device's time.
        device_mean_ms: Option<f64>,
        /// Executions timed end to end, after the others.
        end_to_end_samples: Option<u64>,
        /// Median wall time from token ids to outputs in host memory: binding, the pass, copying.
        end_to_end_p50_ms: Option<f64>,
        /// Passes enqueued back to back, where the manifest asks for them and the engine is on a device.
        sustained_passes: Option<u64>,
        /// Sequences per second that they came to.
        sustained_sequences_per_s: Option<f64>,
        /// Energy of the whole board per forward pass while passes run back to back, idle power included.
        energy_per_inference_mj: Option<f64>,
        /// Passes it is the mean of.
        energy_passes: Option<u64>,
        /// Why there is no energy, where passes ran back to back.
        energy_remark: Option<String>,
        /// Times the GPU's sensors were read, between blocks of samples.
        guard_readings: Option<u64>,
        /// Lowest clock of the GPU's multiprocessors among the readings.
        sm_clock_min_mhz: Option<u64>,
        /// Median of it.
        sm_clock_median_mhz: Option<f64>,
        /// Lowest clock of the GPU's memory.
        memory_clock_min_mhz: Option<u64>,
        /// Highest temperature of the GPU, degrees Celsius.
        temperature_max_c: Option<u64>,
        /// Mean of the board's power as read.
        power_mean_w: Option<f64>,
        /// Every reason for clocks below their highest, in NVML's terms, separated by commas; empty when there was none.
        throttle_reasons: Option<String>,
        /// Whether any of them is not a setting but power, heat or the supply.
        throttled: Option<bool>,
        /// Most compute processes of others on the GPU at once.
        foreign_processes: Option<u64>,
        /// Most device memory that these held at once.
        foreign_memory_bytes: Option<u64>,
        /// Mean number of the host CPUs the run may use that other processes kept busy while samples were taken.
        foreign_cpus: Option<f64>,
        /// Time by the runner's clock over the kernel's own count of it while samples were taken; null below a second.
        clock_ratio: Option<f64>,
        /// Why the GPU's sensors were not read, where there is a GPU.
        guard_remark: Option<String>,
        /// Reading or drawing the weights.
        load_s: Option<f64>,
        /// Building the engine, from the graph or from the engine cache, until it could be executed.
        build_s: Option<f64>,
        /// Library that built the engine, where another machine may execute it.
        builder: Option<String>,
        /// SHA-256 of the files of the backend's libraries, as `file=digest` by semicolons.
        engine_library_digests: Option<String>,
        /// Settings of the builder, as `key=value` by semicolons.
        engine_options: Option<String>,
        /// Of the build: writing the graph for that library.
        export_s: Option<f64>,
        /// Of the build: reading it there.
        parse_s: Option<f64>,
        /// Of the build: the builder itself. Of a cached engine: when it was built.
        compile_s: Option<f64>,
        /// Size of the serialised engine.
        engine_bytes: Option<u64>,
        /// Its digest.
        engine_sha256: Option<String>,
        /// Whether it came from the engine cache.
        engine_cached: Option<bool>,
        /// What the first execution took beyond a later one: device code compiled at run time.
        first_run_s: Option<f64>,
        /// Share of floating-point operations that the library's network computes in FP32, read back from it.
        flops_share_fp32: Option<f64>,
        /// The same in TF32: FP32 tensors whose products may use TF32 tensor cores.
        flops_share_tf32: Option<f64>,
        /// The same in BF16.
        flops_share_bf16: Option<f64>,
        /// The same in FP16.
        flops_share_fp16: Option<f64>,
        /// Share of them that a weakly typed network's builder may compute in FP16, as the policy requests, or in FP32.
        flops_share_permitted: Option<f64>,
        /// Layers of the built engine, as its inspector lists them.
        inspected_layers: Option<u64>,
        /// What these store in another format than the policy requests, by semicolons; empty where they show nothing.
        engine_findings: Option<String>,
        /// Parameters as the engine holds them.
        weights_bytes: Option<u64>,
        /// Intermediate tensors and outputs as the engine holds them.
        activations_bytes: Option<u64>,
        /// Scratch of libraries.
        workspace_bytes: Option<u64>,
        /// Growth of the device's used memory since before the engine's parts were made, by the driver's count.
        device_memory_bytes: Option<u64>,
        /// Peak resident host memory of the worker process while it built and measured.
        process_peak_bytes: Option<u64>,
        /// Computed, not measured: parameters in the policy's storage formats.
        policy_weights_bytes: Option<u64>,
        /// Computed, not measured: all intermediate tensors in the policy's storage formats.
        policy_activations_bytes: Option<u64>,
        /// Number of parameters.
        parameters: Option<u64>,
        /// Floating-point operations of one forward pass, counted from the graph (a multiply-add is two).
        flops: Option<u64>,
        /// The same per second at the median latency, in billions.
        gflops_per_s: Option<f64>,
        /// Computed, not measured: bytes a pass must move however it is fused (parameters once, ids, output).
        compulsory_bytes: Option<u64>,
        /// Operations per second of a large product in the formats of the linear layers, measured by the same process.
        ceiling_flops_per_s: Option<f64>,
        /// Bytes per second, read and written, of a large copy on the device, likewise.
        ceiling_bytes_per_s: Option<f64>,
        /// The longer of operations at the one rate and compulsory bytes at the other, over the median device time.
        ceiling_share: Option<f64>,
        /// `ceiling_flops_per_s` under sustained load, where the power limit sets the clock; measured once for a board.
        ceiling_sustained_flops_per_s: Option<f64>,
        /// `ceiling_share` with that rate.
        ceiling_sustained_share: Option<f64>,
        /// Output elements examined for NaN and infinity.
        output_elements: Option<u64>,
        /// NaN among them.
        nan_count: Option<u64>,
        /// Infinities among them.
        inf_count: Option<u64>,
        /// Forward passes over different rows of the input that were searched for NaN, infinity and silent failures.
        forwards: Option<u64>,
        /// Those with NaN in the output.
        nan_forwards: Option<u64>,
        /// Those with infinity in the output.
        inf_forwards: Option<u64>,
        /// Those in which the variance of a layer norm overflowed; null where the library does not show its tensors.
        silent_forwards: Option<u64>,
        /// Layer-norm rows with a reciprocal deviation of 0, over all of these passes: they came out as the bias.
        silent_rows: Option<u64>,
        /// Layer-norm rows over all of these passes.
        layer_norm_rows: Option<u64>,
        /// Output vectors of all of these passes that were compared with the FP32 reference; null where one pass has none.
        forward_compared_rows: Option<u64>,
        /// Finite ones among them that are broken: cosine or relative L2 error beyond the manifest's limits.
        forward_broken_rows: Option<u64>,
        /// Passes with a broken row.
        broken_forwards: Option<u64>,
        /// Passes that failed: NaN, infinity or a broken row in the output.
        failed_forwards: Option<u64>,
        /// Smallest cosine over the compared vectors of all passes; null when one of them is not finite.
        forward_cosine_min: Option<f64>,
        /// First operation that went wrong, in the first pass in which one did.
        first_bad_op: Option<String>,
        /// Its layer, from 0; null before the first and after the last.
        first_bad_layer: Option<u64>,
        /// What it did.
        first_bad_kind: Option<BadKind>,
        /// Largest finite magnitude that went into it.
        first_bad_magnitude: Option<f64>,
        /// That pass, from 0.
        first_bad_forward: Option<u64>,
        /// Of FP32 rows: largest magnitudes as `layer/class=value`, deviations as `deviation/layer norm=value`, by spaces.
        magnitudes: Option<Magnitudes>,
        /// Output vectors compared with the FP32 reference.
        compared_rows: Option<u64>,
        /// Finite ones among them that are broken.
        broken_rows: Option<u64>,
        /// Smallest cosine over compared vectors; null when one of them is not finite or one number, or none was compared.
        cosine_min: Option<f64>,
        /// Mean cosine over compared vectors.
        cosine_mean: Option<f64>,
        /// Largest absolute difference.
        max_abs_error: Option<f64>,
        /// Relative L2 error over all compared vectors.
        relative_l2_error: Option<f64>,
        /// Share of compared vectors with the reference's argmax (logits of alternatives only).
        argmax_agreement: Option<f64>,
        /// Spearman's rank correlation with the reference over the compared sequences, where an output is one number.
        rank_correlation: Option<f64>,
        /// Whether the manifest's tolerance for the policy holds in every examined pass; undefined where no limit is checked.
        within_tolerance: Option<bool>,
        /// Why there is no comparison, which tolerance is broken or not checked, and why labels are not scored.
        numerics_remark: Option<String>,
        /// Labelled sentences answered rightly.
        task_correct: Option<u64>,
        /// Labelled sentences.
        task_total: Option<u64>,
        /// Share of labelled sentences answered rightly.
        task_accuracy: Option<f64>,
        /// Predicted class per sentence in file order: a base-36 digit each, or numbers that a space ends; `?` is none.
        task_predictions: Option<String>,
        /// Answers in file order with what is right, as JSON: pairs of both by example, under the name of their kind.
        task_answers: Option<String>,
        /// Lower end of the accuracy's 95 % interval: Clopper-Pearson, of tokens the bootstrap over examples.
        task_accuracy_low: Option<f64>,
        /// Upper end of it.
        task_accuracy_high: Option<f64>,
        /// F1 of label 1 of two, or of the last of two names by their letters, whichever class of the checkpoint it is.
        task_f1: Option<f64>,
        /// Lower end of its 95 % interval by the bootstrap over examples, as of all scores below that name no other.
        task_f1_low: Option<f64>,
        /// Upper end of it.
        task_f1_high: Option<f64>,
        /// Mean F1 of the classes that are right or answered somewhere; of tokens where each has a class.
        task_f1_macro: Option<f64>,
        /// Lower end of its interval.
        task_f1_macro_low: Option<f64>,
        /// Upper end of it.
        task_f1_macro_high: Option<f64>,
        /// F1 of all classes of all examples together, where several classes may hold.
        task_f1_micro: Option<f64>,
        /// Lower end of its interval.
        task_f1_micro_low: Option<f64>,
        /// Upper end of it.
        task_f1_micro_high: Option<f64>,
        /// Matthews' correlation coefficient of classes.
        task_matthews: Option<f64>,
        /// Lower end of its interval.
        task_matthews_low: Option<f64>,
        /// Upper end of it.
        task_matthews_high: Option<f64>,
        /// Share of examples with exactly the right classes, where several may hold.
        task_subset_accuracy: Option<f64>,
        /// Lower end of its interval (Clopper-Pearson).
        task_subset_accuracy_low: Option<f64>,
        /// Upper end of it.
        task_subset_accuracy_high: Option<f64>,
        /// Pearson's correlation of answers that are numbers with the right ones.
        task_pearson: Option<f64>,
        /// Lower end of its interval.
        task_pearson_low: Option<f64>,
        /// Upper end of it.
        task_pearson_high: Option<f64>,
        /// Spearman's rank correlation of them.
        task_spearman: Option<f64>,
        /// Lower end of its interval.
        task_spearman_low: Option<f64>,
        /// Upper end of it.
        task_spearman_high: Option<f64>,
        /// Share of answered spans that are a right one.
        task_exact_match: Option<f64>,
        /// Lower end of its interval (Clopper-Pearson).
        task_exact_match_low: Option<f64>,
        /// Upper end of it.
        task_exact_match_high: Option<f64>,
        /// Mean F1 of an answered span's words with those of the nearest right one.
        task_span_f1: Option<f64>,
        /// Lower end of its interval.
        task_span_f1_low: Option<f64>,
        /// Upper end of it.
        task_span_f1_high: Option<f64>,
        /// Mean negative log-likelihood per token, nats.
        nll_mean: Option<f64>,
        /// Tokens it is the mean of.
        nll_tokens: Option<u64>,
        /// Exponential of the mean negative log-likelihood.
        perplexity: Option<f64>,
        /// Lower end of its 95 % interval by the bootstrap over windows or examples.
        perplexity_low: Option<f64>,
        /// Upper end of it.
        perplexity_high: Option<f64>,
        /// Exponential of the mean negative log-likelihood of tokens that were masked, 15 % of each row.
        pseudo_perplexity: Option<f64>,
        /// Lower end of its interval.
        pseudo_perplexity_low: Option<f64>,
        /// Upper end of it.
        pseudo_perplexity_high: Option<f64>,
        /// Library and version, in the engine's words.
        engine_library: Option<String>,
        /// Device name, in the engine's words.
        engine_device: Option<String>,
        /// CPU threads.
        threads: Option<u64>,
        /// Formats are emulated by rounding: the time says nothing about hardware with that format.
        emulated: Option<bool>,
        /// Environment the configuration ran in: name of a file under environments/.
        environment: Option<String>,
        /// `match`, or what differed from the pins, by semicolons; null where nothing was measured or compared.
        pins: Option<String>,
        /// When it was finished, whole seconds since 1970 UTC.
        finished_unix_s: Option<u64>,
        /// Wall time of the run since its row before: worker start, FP32 reference, load, build, samples and numerics.
        wall_s: Option<f64>,
        /// Rounds of an A/A test: the engine built twice, both timed by turns, four blocks a round.
        aa_rounds: Option<u64>,
        /// Median over rounds of the second engine's time over the first's: 1 but for noise.
        aa_ratio: Option<f64>,
        /// Lower end of its 95 % bootstrap interval over rounds.
        aa_ratio_low: Option<f64>,
        /// Upper end of it.
        aa_ratio_high: Option<f64>,
        /// Why there is no A/A test, where the manifest asks for one.
        aa_remark: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_columns_is_a_change_of_version() {
        let columns = ResultRow::columns().into_iter().chain(SampleRow::columns());
        let names: Vec<_> = columns.map(|column| format!("{} {}", column.name, column.dtype)).collect();
        let digest = crate::digest::sha256(names.join("\n").as_bytes());
        assert_eq!((SCHEMA_VERSION, &digest[..16]), (12, "211ace79e74b9abd"), "columns changed: raise SCHEMA_VERSION");
    }
}
