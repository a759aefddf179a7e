//! The quantities of the paper's abstract over all shapes of a run: typical value, extremes, and a sentence for each.

use super::disturbances::is_comparable;
use super::pairs::memory_reduction;
use super::pairs::{Ranged, speedup};
use crate::analysis::facts;
use crate::engine::DeviceKind;
use crate::graph::Preset;
use crate::numbers;
use crate::record::Status;
use crate::results::data::{Data, Group, Series, distinct, timed};
use crate::stats::median;
use crate::store::schema::ResultRow;

/// What a quantity is and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `2.31×`; the typical value is the geometric mean.
    Ratio,
    /// `0.412 ms`; the median.
    Milliseconds,
    /// `46.2 %`; the median.
    Share,
    /// `0.9999981`; the median.
    Cosine,
}

impl Unit {
    /// A value and its interval.
    pub fn write(self, (value, interval): Ranged) -> (String, Option<String>) {
        match self {
            Unit::Ratio => {
                let (text, interval) = numbers::with_interval(value, interval, 3);
                (format!("{text}×"), interval)
            }
            Unit::Milliseconds => {
                let (text, interval) = numbers::with_interval(value, interval, 3);
                (format!("{text} ms"), interval)
            }
            Unit::Share => (numbers::percent(value), None),
            Unit::Cosine => (numbers::cosine(value), None),
        }
    }

    /// What stands in the middle of many values.
    pub fn typical_name(self) -> &'static str {
        match self {
            Unit::Ratio => "geometric mean",
            Unit::Milliseconds | Unit::Share | Unit::Cosine => "median",
        }
    }
}

/// A value and the configuration it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// Value and interval.
    pub value: Ranged,
    /// `cuda hybrid, gpt2 32×512 random`
    pub place: String,
}

/// A quantity over all shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Headline {
    /// Letters only, for macros: `HybridOverFp`.
    pub key: &'static str,
    /// `Hybrid over FP32`
    pub quantity: &'static str,
    /// The claim of the paper that it bears on.
    pub claim: Option<&'static str>,
    /// How it is written.
    pub unit: Unit,
    /// What the values are of, as the subject of a sentence.
    subject: &'static str,
    /// What would have been needed, where there is none.
    lacking: &'static str,
    /// Ascending.
    values: Vec<Located>,
}

impl Headline {
    /// Shapes, summed over models, inputs and backends.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// The smallest value.
    pub fn lowest(&self) -> Option<&Located> {
        self.values.first()
    }

    /// The largest.
    pub fn highest(&self) -> Option<&Located> {
        self.values.last()
    }

    /// Geometric mean of ratios, its interval the geometric means of all lower and of all upper ends; the median of others,
    /// without an interval.
    pub fn typical(&self) -> Option<Ranged> {
        if self.unit != Unit::Ratio || self.values.is_empty() {
            let values: Vec<f64> = self.values.iter().map(|found| found.value.0).collect();
            return Some((median(&values)?, None));
        }
        let mean = |of: fn(Ranged) -> Option<f64>| -> Option<f64> {
            let logarithms: Option<Vec<f64>> =
                self.values.iter().map(|found| of(found.value).filter(|x| *x > 0.0).map(f64::ln)).collect();
            logarithms.map(|all| (all.iter().sum::<f64>() / all.len() as f64).exp())
        };
        let interval = mean(|(_, ends)| ends.map(|ends| ends.0)).zip(mean(|(_, ends)| ends.map(|ends| ends.1)));
        Some((mean(|(value, _)| Some(value))?, interval))
    }

    /// One sentence: the typical value and the extremes with their places; or why there is none.
    pub fn sentence(&self) -> String {
        let (Some(lowest), Some(highest), Some(typical)) = (self.lowest(), self.highest(), self.typical()) else {
            return format!("{}: not in this run, for {}.", self.quantity, self.lacking);
        };
        let with = |value| match self.unit.write(value) {
            (text, Some(interval)) => format!("{text} {interval}"),
            (text, None) => text,
        };
        if self.values.len() == 1 {
            return format!("{} {} ({}).", self.subject, with(lowest.value), lowest.place);
        }
        format!(
            "{} {} in the {} over {}, from {} ({}) to {} ({}).",
            self.subject,
            with(typical),
            self.unit.typical_name(),
            numbers::plural(self.count(), "configuration"),
            with(lowest.value),
            lowest.place,
            with(highest.value),
            highest.place
        )
    }
}

/// Every headline of one machine's rows, in the order of the paper's abstract.
pub fn headlines(data: &Data) -> Vec<Headline> {
    [against_the_cpu(data), against_fp32(data), of_outputs(data)].concat()
}

fn against_the_cpu(data: &Data) -> Vec<Headline> {
    let lacking = "no GPU engine and undisturbed CPU baseline were timed at one shape";
    vec![
        Headline {
            key: "GpuOverCpu",
            quantity: "Any GPU engine over the CPU baseline",
            claim: Some("C1"),
            unit: Unit::Ratio,
            subject: "A GPU engine is faster than the CPU baseline by a factor of",
            lacking,
            values: sorted(over_cpu(data, &Preset::ALL)),
        },
        Headline {
            key: "HybridOverCpu",
            quantity: "Hybrid on the GPU over the CPU baseline",
            claim: None,
            unit: Unit::Ratio,
            subject: "Hybrid on the GPU is faster than the CPU baseline by a factor of",
            lacking,
            values: sorted(over_cpu(data, &[Preset::Hybrid])),
        },
        Headline {
            key: "LatencyOne",
            quantity: "Latency of one sequence, FP16 and hybrid on the GPU",
            claim: Some("C2"),
            unit: Unit::Milliseconds,
            subject: "One sequence takes FP16 and hybrid engines on the GPU",
            lacking: "no such engine was timed at batch size 1",
            values: sorted(of_one(data, |row| {
                Some((row.latency_p50_ms?, row.latency_p50_low_ms.zip(row.latency_p50_high_ms)))
            })),
        },
        Headline {
            key: "EndToEndOne",
            quantity: "The same from token ids to outputs in host memory",
            claim: None,
            unit: Unit::Milliseconds,
            subject: "From token ids to outputs in host memory it takes them",
            lacking: "no such engine was timed end to end at batch size 1",
            values: sorted(of_one(data, |row| Some((row.end_to_end_p50_ms?, None)))),
        },
    ]
}

fn against_fp32(data: &Data) -> Vec<Headline> {
    let speed = |key, quantity, subject, presets: &[Preset]| Headline {
        key,
        quantity,
        claim: None,
        unit: Unit::Ratio,
        subject,
        lacking: "no backend timed that policy and FP32 natively at one shape",
        values: sorted(over_fp32(data, presets)),
    };
    let memory = |key, quantity, subject, presets: &[Preset]| Headline {
        key,
        quantity,
        claim: Some("C3"),
        unit: Unit::Share,
        subject,
        lacking: "no GPU engine gave account of its memory under both policies",
        values: sorted(less_memory(data, presets)),
    };
    let (fp16, hybrid) = (&[Preset::Fp16][..], &[Preset::Hybrid][..]);
    let hybrid_is = "Hybrid is faster than FP32 of the same backend by a factor of";
    let fp16_is = "FP16 throughout is faster than FP32 of the same backend by a factor of";
    let fp16_holds = "An FP16 engine holds less than the FP32 engine of the same backend and shape by";
    let hybrid_holds = "A hybrid engine holds less than the FP32 engine of the same backend and shape by";
    vec![
        speed("HybridOverFp", "Hybrid over FP32", hybrid_is, hybrid),
        speed("FpSixteenOverFp", "FP16 over FP32", fp16_is, fp16),
        memory("FpSixteenMemory", "Less memory than FP32, FP16", fp16_holds, fp16),
        memory("HybridMemory", "Less memory than FP32, hybrid", hybrid_holds, hybrid),
    ]
}

fn of_outputs(data: &Data) -> Vec<Headline> {
    vec![
        Headline {
            key: "HybridCosine",
            quantity: "Smallest cosine to FP32, hybrid",
            claim: Some("C4"),
            unit: Unit::Cosine,
            subject: "The smallest cosine of an output vector under hybrid to its FP32 reference is",
            lacking: "no hybrid engine's outputs were compared",
            values: sorted(cosines(data, &[Preset::Hybrid])),
        },
        Headline {
            key: "FpSixteenCosine",
            quantity: "Smallest cosine to FP32, FP16",
            claim: None,
            unit: Unit::Cosine,
            subject: "The smallest cosine of an output vector under FP16 throughout to its FP32 reference is",
            lacking: "no finite output of an FP16 engine was compared",
            values: sorted(cosines(data, &[Preset::Fp16])),
        },
    ]
}

fn sorted(mut values: Vec<Located>) -> Vec<Located> {
    values.sort_by(|a, b| a.value.0.total_cmp(&b.value.0));
    values
}

fn is_of(series: &Series, presets: &[Preset]) -> bool {
    presets.iter().any(|preset| preset.name() == series.precision)
}

/// Ratios of two series' medians at every shape of a group that has both timed, undisturbed. The rows are one machine's, if not of one
/// sitting: which CPUs or GPU a run may use is part of an environment.
fn ratios(group: &Group, slow: &Series, fast: &Series) -> Vec<Located> {
    let ratio = |at| {
        let (slow, fast) = (group.row(slow, at)?, group.row(fast, at)?);
        let value = (is_comparable(slow) && is_comparable(fast)).then(|| speedup(slow, fast)).flatten()?;
        Some(Located { value, place: facts::configuration_label(fast) })
    };
    group.shapes().into_iter().filter_map(ratio).collect()
}

fn over_fp32(data: &Data, presets: &[Preset]) -> Vec<Located> {
    let of = |group: &Group| -> Vec<Located> {
        let wanted = group.series().into_iter().filter(|series| is_of(series, presets));
        wanted.flat_map(|series| ratios(group, &series.fp32(), &series)).collect()
    };
    data.groups().iter().flat_map(of).collect()
}

fn over_cpu(data: &Data, presets: &[Preset]) -> Vec<Located> {
    let of = |group: &Group| -> Vec<Located> {
        let Some(baseline) = group.cpu_baseline() else { return vec![] };
        let on_gpu = |series: &Series| series.backend.device() == DeviceKind::Gpu && is_of(series, presets);
        group.series().into_iter().filter(on_gpu).flat_map(|series| ratios(group, &baseline, &series)).collect()
    };
    data.groups().iter().flat_map(of).collect()
}

/// Measured rows on a GPU under these policies, models as they are.
fn on_gpu<'a>(data: &'a Data, presets: &'a [Preset]) -> impl Iterator<Item = &'a ResultRow> {
    let wanted = move |row: &&ResultRow| presets.iter().any(|preset| preset.name() == row.precision);
    let native = |row: &&ResultRow| row.device == DeviceKind::Gpu && row.injection.is_none();
    data.measured().filter(wanted).filter(native)
}

/// A time of every FP16 and hybrid engine on a GPU at batch size 1.
fn of_one(data: &Data, time: fn(&ResultRow) -> Option<Ranged>) -> Vec<Located> {
    let rows = on_gpu(data, &[Preset::Fp16, Preset::Hybrid]).filter(|row| row.batch_size == 1);
    rows.filter_map(|row| Some(Located { value: time(row)?, place: facts::configuration_label(row) })).collect()
}

fn less_memory(data: &Data, presets: &[Preset]) -> Vec<Located> {
    let groups = data.groups();
    let located = groups.iter().flat_map(|group| {
        let rows = group.rows.iter().copied().filter(|row| row.device == DeviceKind::Gpu && row.status == Status::Ok);
        let wanted = rows.filter(|row| presets.iter().any(|preset| preset.name() == row.precision));
        let found = wanted.filter_map(|row| {
            Some(Located { value: (memory_reduction(group, row)?, None), place: facts::configuration_label(row) })
        });
        found.collect::<Vec<_>>()
    });
    located.collect()
}

fn cosines(data: &Data, presets: &[Preset]) -> Vec<Located> {
    let wanted =
        |row: &&ResultRow| row.injection.is_none() && presets.iter().any(|preset| preset.name() == row.precision);
    let located = data
        .measured()
        .filter(wanted)
        .filter_map(|row| Some(Located { value: (row.cosine_min?, None), place: facts::configuration_label(row) }));
    located.collect()
}

/// Backends whose times any headline divides, in plan order.
pub fn timed_backends(data: &Data) -> Vec<crate::engine::BackendKind> {
    distinct(data.rows.iter().filter(|row| timed(row)).map(|row| row.backend))
}
