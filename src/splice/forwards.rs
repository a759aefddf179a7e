//! Forward passes of the main run and its repeats at a few shapes: times, what bounds them, power, memory.

use serde::Serialize;

use super::runs::PublishedRun;
use crate::analysis::facts::engine_bytes;
use crate::engine::{BackendKind, DeviceKind};
use crate::graph::Preset;
use crate::numbers;
use crate::record::Status;
use crate::results::data::{Data, distinct, shape};
use crate::results::study::{Study, run_of_repeat};
use crate::store::schema::ResultRow;

/// Batch size and sequence length of the shapes that a page shows.
const SHAPES: [(u64, u64); 6] = [(1, 32), (1, 128), (1, 512), (8, 128), (32, 128), (32, 512)];

/// How far the driver's count of memory may exceed the engine's account to count as equal, as a share of the count.
const EQUAL_MEMORY: f64 = 0.05;

/// Shown where a run has no such row.
const NONE: &str = "–";

/// Times of one model, in milliseconds, a value per shape.
#[derive(Debug, Serialize)]
pub(super) struct ModelForwards {
    pub model: String,
    /// `1x32`
    pub shapes: Vec<String>,
    pub policies: Vec<PolicyForwards>,
    /// Device times of hybrid in the repeats.
    pub repeats: Vec<RepeatForwards>,
    /// The larger of the times of operations and of compulsory bytes at the measured rates, of hybrid.
    pub floor: Vec<String>,
    /// `bytes` or `FLOP`: which of them is larger.
    pub bound: Vec<String>,
}

/// Times of one policy.
#[derive(Debug, Serialize)]
pub(super) struct PolicyForwards {
    pub policy: &'static str,
    /// Median wall time.
    pub wall: Vec<String>,
    /// Median device time.
    pub device: Vec<String>,
}

/// Device times of a repeat.
#[derive(Debug, Serialize)]
pub(super) struct RepeatForwards {
    /// `second`
    pub run: String,
    pub device: Vec<String>,
}

/// Power and clocks.
#[derive(Debug, Serialize)]
pub(super) struct PowerFacts {
    /// Power limit of the board, watts.
    pub limit_w: String,
    /// Highest clock of the multiprocessors, MHz.
    pub clock_mhz: String,
    /// Rows of hybrid, by model.
    pub models: Vec<ModelPower>,
    /// Throttled rows on the GPU, the main run first: `112 of 360`.
    pub throttled: Vec<String>,
    /// Fewest tokens of a batch from which every hybrid and bf16 row of the main run was throttled.
    pub always_from_tokens: String,
}

/// What the guard read, a value per shape.
#[derive(Debug, Serialize)]
pub(super) struct ModelPower {
    pub model: String,
    pub shapes: Vec<String>,
    /// Mean power of the board, watts.
    pub watts: Vec<String>,
    /// Lowest clock, MHz.
    pub clock_min: Vec<String>,
    /// Median clock, MHz.
    pub clock_median: Vec<String>,
}

/// The driver's count of memory against the engines' account, in one run.
#[derive(Debug, Serialize)]
pub(super) struct MemoryAccount {
    pub folder: String,
    pub rows: usize,
    /// Rows in which the count exceeds the account by at most 5 % of the count.
    pub equal: usize,
    /// Largest excess, as a share of the count.
    pub largest: String,
    /// Smallest and largest excess, MiB.
    pub least_mib: String,
    pub most_mib: String,
}

/// Times by model, in plan order.
pub(super) fn models(study: &Study) -> Vec<ModelForwards> {
    distinct(study.main.rows.iter().map(|row| row.model.as_str()))
        .into_iter()
        .map(|model| times(study, model))
        .collect()
}

fn times(study: &Study, model: &str) -> ModelForwards {
    let hybrid = at_shapes(&study.main, model, Preset::Hybrid);
    let device = |rows: &[Option<&ResultRow>]| cells(rows, |row| row.device_p50_ms.map(milliseconds));
    let policy = |preset: Preset| {
        let rows = at_shapes(&study.main, model, preset);
        let wall = cells(&rows, |row| row.latency_p50_ms.map(milliseconds));
        PolicyForwards { policy: preset.name(), wall, device: device(&rows) }
    };
    let repeat = |(index, data): (usize, &Data)| RepeatForwards {
        run: run_of_repeat(index),
        device: device(&at_shapes(data, model, Preset::Hybrid)),
    };
    ModelForwards {
        model: model.to_owned(),
        shapes: shapes(),
        policies: Preset::ALL.map(policy).into(),
        repeats: study.repeats.iter().enumerate().map(repeat).collect(),
        floor: cells(&hybrid, |row| {
            let [operations, bytes] = bounds_s(row)?;
            Some(milliseconds(operations.max(bytes) * 1e3))
        }),
        bound: cells(&hybrid, |row| {
            let [operations, bytes] = bounds_s(row)?;
            Some(if bytes > operations { "bytes" } else { "FLOP" }.to_owned())
        }),
    }
}

/// Seconds for the operations and for the compulsory bytes of a pass, at the rates measured with the row.
fn bounds_s(row: &ResultRow) -> Option<[f64; 2]> {
    let operations = row.flops? as f64 / row.ceiling_flops_per_s?;
    Some([operations, row.compulsory_bytes? as f64 / row.ceiling_bytes_per_s?])
}

/// Power and clocks of the main run, and throttled rows of every run.
pub(super) fn power(study: &Study) -> PowerFacts {
    let gpus = || study.main.environments.values().flat_map(|environment| &environment.gpus);
    let known = |of: fn(&crate::provenance::Gpu) -> Option<u32>| {
        distinct(gpus().filter_map(of)).iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    };
    let of = |model: &str| {
        let rows = at_shapes(&study.main, model, Preset::Hybrid);
        ModelPower {
            model: model.to_owned(),
            shapes: shapes(),
            watts: cells(&rows, |row| row.power_mean_w.map(|watts| numbers::fixed(watts, 0))),
            clock_min: cells(&rows, |row| row.sm_clock_min_mhz.map(|mhz| mhz.to_string())),
            clock_median: cells(&rows, |row| row.sm_clock_median_mhz.map(|mhz| numbers::fixed(mhz, 0))),
        }
    };
    let throttled = |data: &Data| {
        let rows = || on_gpu(data);
        format!("{} of {}", rows().filter(|row| row.throttled == Some(true)).count(), rows().count())
    };
    PowerFacts {
        limit_w: known(|gpu| gpu.power_limit_w),
        clock_mhz: known(|gpu| gpu.sm_clock_max_mhz),
        models: distinct(study.main.rows.iter().map(|row| row.model.as_str())).into_iter().map(of).collect(),
        throttled: std::iter::once(&study.main).chain(&study.repeats).map(throttled).collect(),
        always_from_tokens: always_throttled_from(&study.main),
    }
}

fn always_throttled_from(data: &Data) -> String {
    let narrow = [Preset::Hybrid.name(), Preset::Bf16.name()];
    let rows = || on_gpu(data).filter(|row| narrow.contains(&row.precision.as_str()));
    let tokens = |row: &ResultRow| row.batch_size * row.sequence_length;
    let free = rows().filter(|row| row.throttled != Some(true)).map(tokens).max().unwrap_or(0);
    rows().map(tokens).filter(|&tokens| tokens > free).min().map_or_else(|| NONE.to_owned(), numbers::count)
}

/// The account of every run of an experiment that has GPU rows.
pub(super) fn accounts(runs: &[(PublishedRun, &Data)], experiment: &str) -> Vec<MemoryAccount> {
    let of_it = runs.iter().filter(|(run, _)| run.experiment == experiment);
    of_it.filter_map(|(run, data)| account(run, data)).collect()
}

fn account(run: &PublishedRun, data: &Data) -> Option<MemoryAccount> {
    let excess = |row: &ResultRow| {
        let counted = row.device_memory_bytes?;
        let bytes = counted as f64 - engine_bytes(row)? as f64;
        Some((bytes, bytes / counted as f64))
    };
    let found: Vec<(f64, f64)> = on_gpu(data).filter_map(excess).collect();
    let largest = found.iter().map(|(_, share)| *share).reduce(f64::max)?;
    let mebibytes = |bytes: Option<f64>| bytes.map(|bytes| numbers::fixed(bytes / f64::from(1 << 20), 0));
    Some(MemoryAccount {
        folder: run.folder.clone(),
        rows: found.len(),
        equal: found.iter().filter(|(_, share)| *share <= EQUAL_MEMORY).count(),
        largest: numbers::percent(largest),
        least_mib: mebibytes(found.iter().map(|(bytes, _)| *bytes).reduce(f64::min)).unwrap_or_default(),
        most_mib: mebibytes(found.iter().map(|(bytes, _)| *bytes).reduce(f64::max)).unwrap_or_default(),
    })
}

fn on_gpu(data: &Data) -> impl Iterator<Item = &ResultRow> {
    data.measured().filter(|row| row.device == DeviceKind::Gpu)
}

/// The measured rows of the own CUDA backend at the shapes, in their order.
fn at_shapes<'a>(data: &'a Data, model: &str, preset: Preset) -> Vec<Option<&'a ResultRow>> {
    let of = |row: &&ResultRow| {
        row.backend == BackendKind::Cuda
            && row.status == Status::Ok
            && row.model == model
            && row.precision == preset.name()
    };
    SHAPES.iter().map(|&at| data.rows.iter().filter(of).find(|row| shape(row) == at)).collect()
}

fn cells(rows: &[Option<&ResultRow>], of: impl Fn(&ResultRow) -> Option<String>) -> Vec<String> {
    rows.iter().map(|row| row.and_then(&of).unwrap_or_else(|| NONE.to_owned())).collect()
}

fn milliseconds(ms: f64) -> String {
    numbers::significant(ms, 3)
}

fn shapes() -> Vec<String> {
    SHAPES.iter().map(|(batch, sequence)| format!("{batch}x{sequence}")).collect()
}
