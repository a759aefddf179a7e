//! Derives the tables from the plan and the journal's records. The functions are pure, so the tables can be derived
//! again at any time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::materials::Shared;
use super::quality::with_quality;
use super::schema::{ResultRow, SampleRow};
use super::series::TimedSeries;
use crate::engine::BuildReport;
use crate::graph::CostSummary;
use crate::graph::Format;
use crate::model::ModelOutput;
use crate::plan::{Configuration, ConfigurationId, Plan};
use crate::provenance::drift::stamp;
use crate::record::telemetry::{Sustained, Telemetry, ThrottleReason};
use crate::record::{Built, EngineMeasurements, Failure, ForwardSummary, Outcome, Record};
use crate::record::{InputKind, Status};
use crate::stats::{Summary, median, median_interval, ratio_of_rounds, summarize};

/// Seed of the bootstrap behind every interval. It is fixed, so that a table can be derived again to the byte.
const BOOTSTRAP_SEED: u64 = 0x6d69_7870_7265_6331;

/// One row per planned configuration, in plan order. The last record of a configuration wins. A configuration without a
/// record is pending. Records outside the plan are left out. So are measurements that contradict a later one in what both
/// should share ([`super::materials`]): a table holds one version of every file, even after an interrupted run.
pub fn derive(plan: &Plan, records: &[Record]) -> Vec<ResultRow> {
    let latest = latest(plan, records);
    plan.configurations
        .iter()
        .map(|configuration| {
            latest.get(&configuration.id).map_or_else(|| pending(configuration), |r| row(configuration, r))
        })
        .collect()
}

/// The row of this configuration, from its record.
pub(crate) fn row(configuration: &Configuration, record: &Record) -> ResultRow {
    let row = placed(configuration, record);
    match &record.outcome {
        Outcome::Failed(failure) => failed(row, failure),
        Outcome::Built(built) => built_row(row, built),
        Outcome::Ok(measured) => measured_row(row, configuration, measured),
    }
}

/// Raw samples of every measured configuration, in plan order.
pub fn samples(plan: &Plan, records: &[Record]) -> Vec<SampleRow> {
    let latest = latest(plan, records);
    let mut rows = Vec::new();
    for configuration in &plan.configurations {
        if let Some(Record { outcome: Outcome::Ok(measured), environment, .. }) = latest.get(&configuration.id) {
            rows.extend(TimedSeries::of(measured).rows(&configuration.id.0, environment));
        }
    }
    rows
}

/// The newest record of each configuration, as far as none contradicts it that was written later.
fn latest<'a>(plan: &Plan, records: &'a [Record]) -> HashMap<&'a ConfigurationId, &'a Record> {
    let outdated: HashSet<&ConfigurationId> = outdated(plan, records).into_iter().map(|(id, _)| id).collect();
    let latest = records.iter().map(|record| (&record.id, record));
    latest.filter(|(id, _)| !outdated.contains(id)).collect()
}

/// The configurations whose newest record contradicts a later one in what both should share, and what that is, like
/// `config.json of bert`.
pub fn outdated<'a>(plan: &Plan, records: &'a [Record]) -> Vec<(&'a ConfigurationId, String)> {
    let planned: HashMap<&ConfigurationId, &Configuration> =
        plan.configurations.iter().map(|configuration| (&configuration.id, configuration)).collect();
    let made_from = |record: &'a Record| {
        let environment = Some(record.environment.clone());
        let mut row = ResultRow { environment, ..pending(planned.get(&record.id)?) };
        row.set_materials_of(&record.outcome);
        Some((&record.id, row))
    };
    let rows: Vec<(&ConfigurationId, ResultRow)> = records.iter().filter_map(made_from).collect();
    let mut now = Shared::default();
    rows.iter().for_each(|(_, row)| now.replace(row, ()));
    let newest: HashMap<&ConfigurationId, &ResultRow> = rows.iter().map(|(id, row)| (*id, row)).collect();
    newest.into_iter().filter_map(|(id, row)| Some((id, now.contradicted_by(row)?.of(row)))).collect()
}

/// The row of a configuration that was not run.
pub fn pending(configuration: &Configuration) -> ResultRow {
    ResultRow {
        id: configuration.id.to_string(),
        backend: configuration.backend,
        device: configuration.backend.device(),
        model: configuration.model.clone(),
        precision: configuration.policy.name.clone(),
        target: configuration.target,
        batch_size: configuration.shape.batch as u64,
        sequence_length: configuration.shape.sequence as u64,
        input: configuration.input.clone(),
        input_kind: InputKind::from(&configuration.input_source),
        injection: configuration.model_source.injection().map(|injection| injection.to_string()),
        status: Status::Pending,
        ..ResultRow::default()
    }
}

/// The pending row, with the environment and time of the run, and what it was made from.
fn placed(configuration: &Configuration, record: &Record) -> ResultRow {
    let mut row = pending(configuration);
    row.set_materials_of(&record.outcome);
    ResultRow {
        environment: Some(record.environment.clone()),
        finished_unix_s: record.finished_unix_s,
        wall_s: record.wall_s,
        ..row
    }
}

fn failed(row: ResultRow, failure: &Failure) -> ResultRow {
    ResultRow { status: Status::Failed, reason: Some(failure.reason.clone()), failure_kind: Some(failure.kind), ..row }
}

fn built_row(row: ResultRow, built: &Built) -> ResultRow {
    let row = ResultRow {
        status: Status::Built,
        reason: Some(built.reason.clone()),
        model_provenance: Some(built.model_provenance.clone()),
        load_s: Some(built.load_s),
        build_s: Some(built.build_s),
        process_peak_bytes: built.process_peak_bytes,
        pins: built.drift.as_deref().map(stamp),
        ..row
    };
    let row = with_output(row, built.output.as_ref());
    with_build(with_cost(row, &built.cost), &built.build)
}

fn with_output(row: ResultRow, output: Option<&ModelOutput>) -> ResultRow {
    ResultRow {
        output: output.map(|output| output.kind),
        dropped_head: output.and_then(|output| output.dropped_head.clone()),
        ..row
    }
}

fn with_cost(row: ResultRow, cost: &CostSummary) -> ResultRow {
    ResultRow {
        policy_weights_bytes: Some(cost.policy_weights_bytes),
        policy_activations_bytes: Some(cost.policy_activations_bytes),
        parameters: Some(cost.parameters),
        flops: Some(cost.flops),
        compulsory_bytes: cost.compulsory_bytes,
        ..row
    }
}

fn with_build(row: ResultRow, build: &BuildReport) -> ResultRow {
    let total = build.flops_by_format.values().copied().fold(build.permitted_flops, u64::saturating_add);
    let share_of = |flops: u64| (total > 0).then(|| flops as f64 / total as f64);
    let share = |format| share_of(build.flops_by_format.get(&format).copied().unwrap_or(0));
    let inspected = build.inspected_layers.is_some() || !build.engine_findings.is_empty();
    ResultRow {
        target: build.target.or(row.target),
        builder: build.builder.clone(),
        engine_library_digests: listed(&build.library_sha256).or(row.engine_library_digests),
        engine_options: listed(&build.options),
        export_s: build.export_s,
        parse_s: build.parse_s,
        compile_s: build.compile_s,
        engine_bytes: build.engine_bytes,
        engine_sha256: build.engine_sha256.clone(),
        engine_cached: build.engine_cached,
        first_run_s: build.first_run_s,
        flops_share_fp32: share(Format::Fp32),
        flops_share_tf32: share(Format::Tf32),
        flops_share_bf16: share(Format::Bf16),
        flops_share_fp16: share(Format::Fp16),
        flops_share_permitted: share_of(build.permitted_flops),
        inspected_layers: build.inspected_layers,
        engine_findings: inspected.then(|| build.engine_findings.join("; ")),
        ..row
    }
}

/// `key=value` by semicolons; `None` where there is nothing.
pub(super) fn listed(entries: &BTreeMap<String, String>) -> Option<String> {
    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!entries.is_empty()).then(|| entries.join("; "))
}

/// The entries of a [`listed`] text, by key.
pub(super) fn entries(text: &str) -> BTreeMap<&str, &str> {
    text.split("; ").filter_map(|one| one.split_once('=')).collect()
}

fn measured_row(row: ResultRow, configuration: &Configuration, measured: &EngineMeasurements) -> ResultRow {
    let row = ResultRow {
        status: Status::Ok,
        model_provenance: Some(measured.model_provenance.clone()),
        samples: Some(measured.samples_ms.len() as u64),
        warmup: Some(measured.warmup as u64),
        stop_reason: Some(measured.stop_reason),
        load_s: Some(measured.load_s),
        build_s: Some(measured.build_s),
        weights_bytes: measured.memory.weights_bytes,
        activations_bytes: measured.memory.activations_bytes,
        workspace_bytes: measured.memory.workspace_bytes,
        device_memory_bytes: measured.memory.device_bytes,
        process_peak_bytes: measured.process_peak_bytes,
        engine_library: Some(measured.engine.library.clone()),
        engine_device: Some(measured.engine.device.clone()),
        threads: measured.engine.threads.map(|threads| threads as u64),
        emulated: Some(measured.engine.emulated),
        pins: measured.drift.as_deref().map(stamp),
        ..row
    };
    let row = with_output(row, measured.output.as_ref());
    let row = with_build(with_cost(row, &measured.cost), &measured.build);
    let row = with_numerics(row, measured);
    let row = with_quality(row, &measured.quality);
    let row = with_telemetry(row, &measured.telemetry);
    let row = ResultRow { aa_remark: measured.aa_test.as_ref().and_then(|test| test.as_ref().err().cloned()), ..row };
    let row = match &measured.sustained {
        Some(sustained) => with_sustained(row, configuration, sustained),
        None => row,
    };
    with_ceilings(with_times(row, configuration, &TimedSeries::of(measured)), measured)
}

/// Fills the columns that follow from the samples alone.
pub(crate) fn with_times(row: ResultRow, configuration: &Configuration, series: &TimedSeries<'_>) -> ResultRow {
    let row = with_aa_test(with_other_times(row, series), series);
    match summarize(&series.wall_ms, BOOTSTRAP_SEED) {
        Some(summary) => {
            let medians = series.medians_of_processes_ms();
            let summary = if medians.is_empty() { summary } else { over_processes(summary, &medians) };
            with_processes(with_latency(row, configuration, &summary), &medians)
        }
        None => row,
    }
}

/// Where several processes took the samples, what varies is drawn once a process: where its pages and threads lie. Their medians
/// are the observations, then, and the samples within a process no independent ones (Kalibera and Jones, "Rigorous Benchmarking in
/// Reasonable Time", ISMM 2013).
fn over_processes(summary: Summary, medians: &[f64]) -> Summary {
    Summary { median: median(medians).unwrap_or(summary.median), median_interval: median_interval(medians), ..summary }
}

fn with_processes(row: ResultRow, medians: &[f64]) -> ResultRow {
    let ends = medians.iter().copied().reduce(f64::min).zip(medians.iter().copied().reduce(f64::max));
    let spread = ends.zip(row.latency_p50_ms).map(|((least, most), median)| (most - least) / median);
    ResultRow { processes: (!medians.is_empty()).then_some(medians.len() as u64), process_spread: spread, ..row }
}

fn with_latency(row: ResultRow, configuration: &Configuration, summary: &Summary) -> ResultRow {
    let forwards_per_s = (summary.median > 0.0).then(|| 1e3 / summary.median);
    ResultRow {
        latency_mean_ms: Some(summary.mean),
        latency_sd_ms: summary.sd,
        latency_min_ms: Some(summary.min),
        latency_p50_ms: Some(summary.median),
        latency_p50_low_ms: summary.median_interval.map(|interval| interval.low),
        latency_p50_high_ms: summary.median_interval.map(|interval| interval.high),
        latency_p90_ms: summary.p90,
        latency_p95_ms: summary.p95,
        latency_p99_ms: summary.p99,
        throughput_sequences_per_s: forwards_per_s.map(|rate| rate * configuration.shape.batch as f64),
        throughput_tokens_per_s: forwards_per_s.map(|rate| rate * configuration.shape.tokens() as f64),
        gflops_per_s: forwards_per_s.zip(row.flops).map(|(rate, flops)| rate * flops as f64 / 1e9),
        ..row
    }
}

fn with_other_times(row: ResultRow, series: &TimedSeries<'_>) -> ResultRow {
    let device = summarize(&series.device_ms, BOOTSTRAP_SEED);
    let interval = device.and_then(|summary| summary.median_interval);
    ResultRow {
        device_p50_ms: device.map(|summary| summary.median),
        device_p50_low_ms: interval.map(|interval| interval.low),
        device_p50_high_ms: interval.map(|interval| interval.high),
        device_mean_ms: device.map(|summary| summary.mean),
        end_to_end_samples: (!series.end_to_end_ms.is_empty()).then_some(series.end_to_end_ms.len() as u64),
        end_to_end_p50_ms: median(&series.end_to_end_ms),
        ..row
    }
}

fn with_ceilings(row: ResultRow, measured: &EngineMeasurements) -> ResultRow {
    let Some(ceilings) = measured.ceilings else { return row };
    let share = |flops_per_s: f64| {
        let computing = measured.cost.flops as f64 / flops_per_s;
        let floor_s = computing.max(measured.cost.compulsory_bytes? as f64 / ceilings.bytes_per_s);
        Some(floor_s * 1e3 / row.device_p50_ms?)
    };
    ResultRow {
        ceiling_flops_per_s: Some(ceilings.flops_per_s),
        ceiling_bytes_per_s: Some(ceilings.bytes_per_s),
        ceiling_share: share(ceilings.flops_per_s),
        ceiling_sustained_flops_per_s: ceilings.sustained_flops_per_s,
        ceiling_sustained_share: ceilings.sustained_flops_per_s.and_then(share),
        ..row
    }
}

fn with_aa_test(row: ResultRow, series: &TimedSeries<'_>) -> ResultRow {
    let found = ratio_of_rounds(&series.aa_first_ms, &series.aa_second_ms, BOOTSTRAP_SEED);
    let interval = found.and_then(|(_, interval)| interval);
    ResultRow {
        aa_rounds: (!series.aa_first_ms.is_empty()).then_some(series.aa_first_ms.len() as u64),
        aa_ratio: found.map(|(ratio, _)| ratio),
        aa_ratio_low: interval.map(|interval| interval.low),
        aa_ratio_high: interval.map(|interval| interval.high),
        ..row
    }
}

fn with_sustained(row: ResultRow, configuration: &Configuration, sustained: &Sustained) -> ResultRow {
    let sequences = (sustained.forwards * configuration.shape.batch as u64) as f64;
    let energy = sustained.energy.as_ref();
    ResultRow {
        sustained_passes: Some(sustained.forwards),
        sustained_sequences_per_s: (sustained.elapsed_s > 0.0).then(|| sequences / sustained.elapsed_s),
        energy_per_inference_mj: energy.ok().map(|energy| energy.energy_mj as f64 / energy.forwards as f64),
        energy_passes: energy.ok().map(|energy| energy.forwards),
        energy_remark: energy.err().cloned(),
        ..row
    }
}

fn with_telemetry(row: ResultRow, telemetry: &Telemetry) -> ResultRow {
    let reasons = telemetry.throttle_reasons.as_ref();
    let names = |reasons: &BTreeSet<ThrottleReason>| reasons.iter().map(|reason| reason.name()).collect::<Vec<_>>();
    ResultRow {
        guard_readings: (telemetry.readings > 0).then_some(telemetry.readings),
        sm_clock_min_mhz: telemetry.sm_clock_min_mhz,
        sm_clock_median_mhz: telemetry.sm_clock_median_mhz,
        memory_clock_min_mhz: telemetry.memory_clock_min_mhz,
        temperature_max_c: telemetry.temperature_max_c,
        power_mean_w: telemetry.power_mean_w,
        throttle_reasons: reasons.map(|reasons| names(reasons).join(", ")),
        throttled: reasons.map(|reasons| reasons.iter().any(|reason| reason.throttles())),
        foreign_processes: telemetry.foreign_processes,
        foreign_memory_bytes: telemetry.foreign_memory_bytes,
        foreign_cpus: telemetry.foreign_cpus,
        clock_ratio: telemetry.clock_ratio,
        guard_remark: telemetry.remark.clone(),
        ..row
    }
}

fn with_forwards(row: ResultRow, forwards: &ForwardSummary) -> ResultRow {
    let first = forwards.first_bad.as_ref();
    ResultRow {
        forwards: Some(forwards.forwards),
        nan_forwards: Some(forwards.nan_forwards),
        inf_forwards: Some(forwards.inf_forwards),
        silent_forwards: forwards.silent_forwards,
        silent_rows: forwards.silent_rows,
        layer_norm_rows: forwards.layer_norm_rows,
        forward_compared_rows: forwards.compared_rows,
        forward_broken_rows: forwards.broken_rows,
        broken_forwards: forwards.broken_forwards,
        failed_forwards: forwards.failed_forwards,
        forward_cosine_min: forwards.cosine_min,
        first_bad_op: first.map(|first| first.op.clone()),
        first_bad_layer: first.and_then(|first| first.layer),
        first_bad_kind: first.map(|first| first.kind),
        first_bad_magnitude: first.and_then(|first| first.magnitude),
        first_bad_forward: first.map(|first| first.forward),
        magnitudes: forwards.magnitudes.clone(),
        ..row
    }
}

fn with_numerics(row: ResultRow, measured: &EngineMeasurements) -> ResultRow {
    let numerics = &measured.numerics;
    let row = match &numerics.forwards {
        Some(forwards) => with_forwards(row, forwards),
        None => row,
    };
    ResultRow {
        output_elements: Some(numerics.output_elements),
        nan_count: Some(numerics.nan_count),
        inf_count: Some(numerics.inf_count),
        compared_rows: Some(numerics.compared_rows),
        broken_rows: numerics.broken_rows,
        cosine_min: numerics.cosine_min,
        cosine_mean: numerics.cosine_mean,
        max_abs_error: numerics.max_abs,
        relative_l2_error: numerics.relative_l2,
        argmax_agreement: numerics.argmax_agreement,
        rank_correlation: numerics.rank_correlation,
        within_tolerance: numerics.within_tolerance,
        numerics_remark: numerics.remark.clone(),
        ..row
    }
}
