//! Forward passes of the main run and its repeats at a few shapes: times, what bounds them, power, memory. Of the own CUDA
//! backend, and times of TensorRT's engines.

use serde_json::{Value, json};

use super::runs::Run;
use crate::analysis::facts::engine_bytes;
use crate::engine::{BackendKind, DeviceKind};
use crate::graph::Preset;
use crate::numbers;
use crate::record::Status;
use crate::report::tables::latency::SHAPES;
use crate::results::data::{Data, distinct, shape};
use crate::results::study::{Study, run_of_repeat};
use crate::store::schema::ResultRow;

/// How far the driver's count of memory may exceed the engine's account to count as equal, as a share of the count.
const EQUAL_MEMORY: f64 = 0.05;

/// Shown where a run has no such row.
pub(super) const NONE: &str = "–";

/// Times of each model in milliseconds, in plan order: medians of every policy, the device's of hybrid in the repeats, and
/// the larger of the times of operations and of compulsory bytes at the measured rates, of hybrid. A value per shape.
pub(super) fn models(study: &Study) -> Vec<Value> {
    distinct(study.main.rows.iter().map(|row| row.model.as_str()))
        .into_iter()
        .map(|model| times(study, model))
        .collect()
}

fn times(study: &Study, model: &str) -> Value {
    let hybrid = cuda_at_shapes(&study.main, model, Preset::Hybrid);
    let device = |rows: &[Option<&ResultRow>]| cells(rows, |row| row.device_p50_ms.map(milliseconds));
    let policy = |preset: Preset| {
        let rows = cuda_at_shapes(&study.main, model, preset);
        let wall = cells(&rows, |row| row.latency_p50_ms.map(milliseconds));
        json!({"policy": preset.name(), "wall": wall, "device": device(&rows)})
    };
    let repeat = |(index, data): (usize, &Data)| json!({"run": run_of_repeat(index), "device": device(&cuda_at_shapes(data, model, Preset::Hybrid))});
    let bound =
        |row: &ResultRow| bounds_s(row).map(|[operations, bytes]| if bytes > operations { "bytes" } else { "FLOP" });
    let floor = |row: &ResultRow| bounds_s(row).map(|[operations, bytes]| milliseconds(operations.max(bytes) * 1e3));
    json!({
        "model": model,
        "shapes": shapes(),
        "policies": Preset::ALL.map(policy),
        "repeats": study.repeats.iter().enumerate().map(repeat).collect::<Vec<_>>(),
        "floor": cells(&hybrid, floor),
        "bound": cells(&hybrid, |row| bound(row).map(str::to_owned)),
    })
}

/// Engines of TensorRT that ran, by model and policy in plan order, of the policies that have any: the device's median in
/// milliseconds, seconds of parsing and compiling when the engine was made, and the engine's memory, a value per shape.
pub(super) fn tensorrt(study: &Study) -> Vec<Value> {
    let of = |model: &str| {
        let policy = |preset: Preset| {
            let rows = at_shapes(&study.main, BackendKind::TensorRt, model, preset);
            let made_s = |row: &ResultRow| Some(numbers::fixed(row.parse_s? + row.compile_s?, 0));
            let mebibytes = |row: &ResultRow| Some(numbers::fixed(engine_bytes(row)? as f64 / f64::from(1 << 20), 0));
            rows.iter().any(Option::is_some).then(|| {
                json!({
                    "policy": preset.name(),
                    "device": cells(&rows, |row| row.device_p50_ms.map(milliseconds)),
                    "build_s": cells(&rows, made_s),
                    "mib": cells(&rows, mebibytes),
                })
            })
        };
        json!({"model": model, "shapes": shapes(), "policies": Preset::ALL.into_iter().filter_map(policy).collect::<Vec<_>>()})
    };
    distinct(study.main.rows.iter().map(|row| row.model.as_str())).into_iter().map(of).collect()
}

/// Seconds for the operations and for the compulsory bytes of a pass, at the rates measured with the row.
fn bounds_s(row: &ResultRow) -> Option<[f64; 2]> {
    let operations = row.flops? as f64 / row.ceiling_flops_per_s?;
    Some([operations, row.compulsory_bytes? as f64 / row.ceiling_bytes_per_s?])
}

/// Power and clocks of the main run: of the boards, of hybrid by model as the guard read them (a value per shape), and how
/// many GPU rows of each run were throttled.
pub(super) fn power(study: &Study) -> Value {
    let gpus = || study.main.environments.values().flat_map(|environment| &environment.gpus);
    let known = |of: fn(&crate::provenance::Gpu) -> Option<u32>| {
        distinct(gpus().filter_map(of)).iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    };
    let of = |model: &str| {
        let rows = cuda_at_shapes(&study.main, model, Preset::Hybrid);
        json!({
            "model": model,
            "shapes": shapes(),
            "watts": cells(&rows, |row| row.power_mean_w.map(|watts| numbers::fixed(watts, 0))),
            "clock_min": cells(&rows, |row| row.sm_clock_min_mhz.map(|mhz| mhz.to_string())),
            "clock_median": cells(&rows, |row| row.sm_clock_median_mhz.map(|mhz| numbers::fixed(mhz, 0))),
        })
    };
    let throttled = |data: &Data| {
        let rows = || on_gpu(data);
        format!("{} of {}", rows().filter(|row| row.throttled == Some(true)).count(), rows().count())
    };
    let models = distinct(study.main.rows.iter().map(|row| row.model.as_str()));
    json!({
        "limit_w": known(|gpu| gpu.power_limit_w),
        "clock_mhz": known(|gpu| gpu.sm_clock_max_mhz),
        "models": models.into_iter().map(of).collect::<Vec<_>>(),
        "throttled": std::iter::once(&study.main).chain(&study.repeats).map(throttled).collect::<Vec<_>>(),
        "always_from_tokens": always_throttled_from(&study.main),
    })
}

/// Fewest tokens of a batch from which every hybrid and bf16 row was throttled.
fn always_throttled_from(data: &Data) -> String {
    let narrow = [Preset::Hybrid.name(), Preset::Bf16.name()];
    let rows = || on_gpu(data).filter(|row| narrow.contains(&row.precision.as_str()));
    let tokens = |row: &ResultRow| row.batch_size * row.sequence_length;
    let free = rows().filter(|row| row.throttled != Some(true)).map(tokens).max().unwrap_or(0);
    rows().map(tokens).filter(|&tokens| tokens > free).min().map_or_else(|| NONE.to_owned(), numbers::count)
}

/// The account of every run of the main experiment that has GPU rows.
pub(super) fn accounts(runs: &[Run]) -> Vec<Value> {
    runs.iter().filter(|run| run.experiment() == runs[0].experiment()).filter_map(account).collect()
}

/// How far the driver's count of memory exceeds the engines' account: at most a share of [`EQUAL_MEMORY`] in `equal` rows, at
/// most `largest` of the count in any.
fn account(run: &Run) -> Option<Value> {
    let excess = |row: &ResultRow| {
        let counted = row.device_memory_bytes?;
        let bytes = counted as f64 - engine_bytes(row)? as f64;
        Some((bytes, bytes / counted as f64))
    };
    let found: Vec<(f64, f64)> = on_gpu(run.data).filter_map(excess).collect();
    let largest = found.iter().map(|(_, share)| *share).reduce(f64::max)?;
    let mebibytes = |pick: fn(f64, f64) -> f64| {
        let bytes = found.iter().map(|(bytes, _)| *bytes).reduce(pick);
        bytes.map(|bytes| numbers::fixed(bytes / f64::from(1 << 20), 0))
    };
    Some(json!({
        "folder": run.folder,
        "rows": found.len(),
        "equal": found.iter().filter(|(_, share)| *share <= EQUAL_MEMORY).count(),
        "largest": numbers::percent(largest),
        "least_mib": mebibytes(f64::min),
        "most_mib": mebibytes(f64::max),
    }))
}

fn on_gpu(data: &Data) -> impl Iterator<Item = &ResultRow> {
    data.measured().filter(|row| row.device == DeviceKind::Gpu)
}

pub(super) fn cuda_at_shapes<'a>(data: &'a Data, model: &str, preset: Preset) -> Vec<Option<&'a ResultRow>> {
    at_shapes(data, BackendKind::Cuda, model, preset)
}

/// The measured rows of a backend at the shapes, in their order.
fn at_shapes<'a>(data: &'a Data, backend: BackendKind, model: &str, preset: Preset) -> Vec<Option<&'a ResultRow>> {
    let of = |row: &&ResultRow| {
        row.backend == backend && row.status == Status::Ok && row.model == model && row.precision == preset.name()
    };
    SHAPES.iter().map(|&at| data.rows.iter().filter(of).find(|row| shape(row) == at)).collect()
}

/// The text of each value, [`NONE`] where there is none.
pub(super) fn cells<T: Copy>(values: &[Option<T>], of: impl Fn(T) -> Option<String>) -> Vec<String> {
    values.iter().map(|value| value.and_then(&of).unwrap_or_else(|| NONE.to_owned())).collect()
}

pub(super) fn milliseconds(ms: f64) -> String {
    numbers::significant(ms, 3)
}

pub(super) fn shapes() -> Vec<String> {
    SHAPES.iter().map(|(batch, sequence)| format!("{batch}x{sequence}")).collect()
}
