//! The one rule for which two rows are compared, and the one interval of their ratio.
//!
//! Two rows pair when they agree in everything but what is compared, contradict each other in nothing that they should share
//! ([`crate::store::materials`]) and were measured in the same environment. A pair with a
//! disturbed row is shown and marked. It decides nothing while an undisturbed pair of the same quantity exists.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::disturbances::Disturbance;
use super::facts::{engine_bytes, latency};
use crate::provenance::Environment;
use crate::results::data::{Data, Group, Series, series, shape};
use crate::store::schema::ResultRow;

/// A value and, where one is known, the ends of its interval.
pub type Ranged = (f64, Option<(f64, f64)>);

/// A column in which the rows of a pair agree; what is left out of a list of them is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Backend and, where its engines are built for one, the target.
    Backend,
    /// Model and its weights.
    Model,
    /// Policy name.
    Precision,
    /// Batch size.
    BatchSize,
    /// Sequence length.
    SequenceLength,
    /// Input name.
    Input,
}

impl Column {
    fn value(self, row: &ResultRow) -> String {
        match self {
            Column::Backend => series(row).builder(),
            Column::Model => row.model.clone(),
            Column::Precision => row.precision.clone(),
            Column::BatchSize => row.batch_size.to_string(),
            Column::SequenceLength => row.sequence_length.to_string(),
            Column::Input => row.input.clone(),
        }
    }
}

/// Two rows that are compared.
#[derive(Debug, Clone, Copy)]
pub struct RowPair<'a> {
    /// The row whose value is divided, or from whose value is subtracted.
    pub numerator: &'a ResultRow,
    /// The row that it is compared with.
    pub denominator: &'a ResultRow,
}

impl RowPair<'_> {
    /// The disturbance that spoils the ratio of these rows' times.
    pub fn disturbance(&self) -> Option<Disturbance> {
        [self.numerator, self.denominator].into_iter().find_map(Disturbance::of_ratios)
    }

    /// Whether the GPU of either row was throttled by a power limit or heat. Such a pair is marked, and it decides.
    pub fn is_throttled(&self) -> bool {
        [self.numerator, self.denominator].into_iter().any(|row| Disturbance::Throttled.of(row))
    }

    /// Ratio of the median latencies.
    pub fn latency_ratio(&self) -> Option<Ranged> {
        ratio(latency(self.numerator)?, latency(self.denominator)?)
    }

    /// How much less the numerator's engine holds, as a share: 0.5 is half.
    pub fn memory_reduction(&self) -> Option<f64> {
        let (bytes, base) = (engine_bytes(self.numerator)?, engine_bytes(self.denominator)?);
        less(bytes, base)
    }
}

/// The pairs of a quantity that decide it.
#[derive(Debug, Clone, Default)]
pub struct Deciding<'a> {
    /// The undisturbed ones; all where every one is disturbed.
    pub pairs: Vec<RowPair<'a>>,
    /// Disturbed pairs, where an undisturbed pair decides.
    pub left_out: usize,
    /// Whether every pair is disturbed, so that none can decide.
    pub all_disturbed: bool,
}

impl<'a> Deciding<'a> {
    /// The deciding pairs among all pairs of one quantity of time.
    pub fn of(pairs: Vec<RowPair<'a>>) -> Self {
        let (disturbed, calm): (Vec<RowPair>, Vec<RowPair>) =
            pairs.into_iter().partition(|pair| pair.disturbance().is_some());
        match (disturbed.is_empty(), calm.is_empty()) {
            (false, true) => Deciding { pairs: disturbed, left_out: 0, all_disturbed: true },
            _ => Deciding { pairs: calm, left_out: disturbed.len(), all_disturbed: false },
        }
    }
}

/// Every pair of rows that agree in these columns, in the order of ids. A row is never paired with itself.
pub fn join<'a>(
    data: &Data,
    numerators: Vec<&'a ResultRow>,
    denominators: Vec<&'a ResultRow>,
    agreeing: &[Column],
) -> Vec<RowPair<'a>> {
    let key = |row: &ResultRow| agreeing.iter().map(|column| column.value(row)).collect::<Vec<String>>();
    let mut others: HashMap<Vec<String>, Vec<&ResultRow>> = HashMap::new();
    for row in denominators {
        others.entry(key(row)).or_default().push(row);
    }
    let of = |numerator: &'a ResultRow| {
        let beside = others.get(&key(numerator)).into_iter().flatten();
        beside.map(move |&denominator| RowPair { numerator, denominator })
    };
    let one_model = agreeing.contains(&Column::Model);
    let mut pairs: Vec<RowPair> = numerators
        .into_iter()
        .flat_map(of)
        .filter(|pair| !one_model || pair.numerator.shares_weights(pair.denominator))
        .filter(|pair| may_pair(data, pair.numerator, pair.denominator))
        .collect();
    pairs.sort_by(|a, b| (&a.numerator.id, &a.denominator.id).cmp(&(&b.numerator.id, &b.denominator.id)));
    pairs
}

/// The row of another series that pairs with `row`: of the same group, shape, weights and environment.
pub fn counterpart<'a>(data: &Data, group: &Group<'a>, wanted: &Series, row: &ResultRow) -> Option<&'a ResultRow> {
    group.rows.iter().copied().find(|other| {
        series(other) == *wanted
            && shape(other) == shape(row)
            && row.shares_weights(other)
            && may_pair(data, row, other)
    })
}

/// The FP32 row of the same backend that pairs with `row`; `None` of FP32 itself.
pub fn fp32_counterpart<'a>(data: &Data, group: &Group<'a>, row: &ResultRow) -> Option<&'a ResultRow> {
    counterpart(data, group, &series(row).fp32(), row)
}

/// Whether two rows that agree in their columns may be compared.
fn may_pair(data: &Data, a: &ResultRow, b: &ResultRow) -> bool {
    a.id != b.id && a.contradicts(b).is_none() && share_an_environment(data, a, b)
}

/// Whether two rows were measured in one environment. Rows on one device must have the same environment; rows on a
/// host's CPU and GPU may each have had their own share of the host.
fn share_an_environment(data: &Data, a: &ResultRow, b: &ResultRow) -> bool {
    if a.environment == b.environment {
        return true;
    }
    let host = |row: &ResultRow| data.environments.get(row.environment.as_deref()?).map(Environment::of_host);
    a.device != b.device && host(a).is_some_and(|one| host(b) == Some(one))
}

/// A quotient and, where both sides have one, its interval; `None` over anything that is not positive.
pub fn ratio(numerator: Ranged, denominator: Ranged) -> Option<Ranged> {
    let quotient = numerator.0 / Some(denominator.0).filter(|value| *value > 0.0)?;
    Some((quotient, numerator.1.zip(denominator.1).map(|(a, b)| quotient_interval(a, b))))
}

/// The smallest quotient that two intervals allow to the largest; without an upper end where the denominator may be 0.
/// Conservative: both values lie in their 95 % intervals with at least 90 %.
pub fn quotient_interval(numerator: (f64, f64), denominator: (f64, f64)) -> (f64, f64) {
    let high = if denominator.0 > 0.0 { numerator.1 / denominator.0 } else { f64::INFINITY };
    (numerator.0 / denominator.1, high)
}

/// How much less `bytes` is than `base`, as a share; `None` over an empty base.
pub fn less(bytes: u64, base: u64) -> Option<f64> {
    (base > 0).then(|| reduction(bytes as f64 / base as f64))
}

/// The reduction that a ratio is, as a share: of 0.25, three quarters.
pub fn reduction(ratio: f64) -> f64 {
    1.0 - ratio
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::{BackendKind, DeviceKind};
    use crate::manifest::schema::Numerics;
    use crate::model::WeightsOrigin;
    use crate::plan::Plan;

    fn row(id: &str, precision: &str, latency: f64) -> ResultRow {
        ResultRow {
            id: id.to_owned(),
            backend: BackendKind::Cuda,
            device: DeviceKind::Gpu,
            model: "m".to_owned(),
            precision: precision.to_owned(),
            environment: Some("e".to_owned()),
            latency_p50_ms: Some(latency),
            latency_p50_low_ms: Some(latency * 0.5),
            latency_p50_high_ms: Some(latency * 2.0),
            emulated: Some(false),
            ..ResultRow::default()
        }
    }

    fn data(rows: Vec<ResultRow>) -> Data {
        let document = serde_json::json!({
            "schema": 1, "name": "n", "question": "q", "manifest_sha256": "", "base_dir": ".", "configurations": [],
            "excluded": [], "count_words": "", "measurement": crate::manifest::schema::Measurement::default(),
            "numerics": Numerics::default(), "tolerances": {},
            "axes": {"models": 1, "backends": 1, "precisions": 1, "batch_sizes": 1, "sequence_lengths": 1, "inputs": 1},
        });
        let plan: Plan = serde_json::from_value(document).unwrap();
        Data { plan, rows, environments: BTreeMap::new() }
    }

    const ALL_BUT_PRECISION: [Column; 5] =
        [Column::Backend, Column::Model, Column::BatchSize, Column::SequenceLength, Column::Input];

    fn joined(rows: Vec<ResultRow>) -> Vec<(String, String)> {
        let data = data(rows);
        let of = |precision: &str| data.rows.iter().filter(|row| row.precision == precision).collect();
        let pairs = join(&data, of("fp32"), of("fp16"), &ALL_BUT_PRECISION);
        pairs.iter().map(|pair| (pair.numerator.id.clone(), pair.denominator.id.clone())).collect()
    }

    /// Any one column that differs keeps two rows apart.
    #[test]
    fn rows_pair_when_they_agree_in_everything_but_what_is_compared() {
        let slow = ResultRow { input_sha256: Some("one".to_owned()), ..row("a", "fp32", 2.0) };
        let pair = [("a".to_owned(), "b".to_owned())];
        assert_eq!(joined(vec![slow.clone(), row("b", "fp16", 1.0)]), pair);
        let changes: [fn(&mut ResultRow); 9] = [
            |row| row.input_sha256 = Some("other".to_owned()),
            |row| row.backend = BackendKind::TensorRt,
            |row| row.model = "other".to_owned(),
            |row| row.set_weights(&WeightsOrigin::Random { seed: 1 }.into()),
            |row| row.batch_size = 2,
            |row| row.sequence_length = 2,
            |row| row.input = "other".to_owned(),
            |row| row.environment = Some("other".to_owned()),
            |row| row.target = Some(crate::engine::Target::Sm80),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut fast = row("b", "fp16", 1.0);
            change(&mut fast);
            assert_eq!(joined(vec![slow.clone(), fast]), [], "change {index}");
        }
    }

    #[test]
    fn the_cpu_and_the_gpu_of_a_host_may_have_had_different_shares_of_it() {
        let environment = |cpus: usize| {
            let mut environment = Environment::capture();
            environment.machine.cpu.usable_cpus = Some(cpus);
            environment
        };
        let mut cpu = ResultRow { device: DeviceKind::Cpu, ..row("a", "fp32", 2.0) };
        cpu.environment = Some("whole".to_owned());
        let gpu = row("b", "fp16", 1.0);
        let mut data = data(vec![]);
        data.environments = [("whole".to_owned(), environment(32)), ("e".to_owned(), environment(16))].into();
        assert!(share_an_environment(&data, &cpu, &gpu));
        let also_gpu = ResultRow { device: DeviceKind::Gpu, ..cpu.clone() };
        assert!(!share_an_environment(&data, &also_gpu, &gpu), "rows on one device share it to the letter");
        data.environments.get_mut("e").unwrap().machine.cpu.model = Some("another processor".to_owned());
        assert!(!share_an_environment(&data, &cpu, &gpu));
        data.environments.clear();
        assert!(!share_an_environment(&data, &cpu, &gpu), "what is not known is not the same");
    }

    #[test]
    fn a_disturbed_pair_decides_only_that_nothing_is_decided() {
        let (slow, fast) = (row("a", "fp32", 2.0), row("b", "fp16", 1.0));
        let shared = ResultRow { foreign_processes: Some(1), ..fast.clone() };
        let calm = RowPair { numerator: &slow, denominator: &fast };
        let disturbed = RowPair { numerator: &slow, denominator: &shared };
        let found = Deciding::of(vec![calm, disturbed]);
        assert_eq!((found.pairs.len(), found.left_out, found.all_disturbed), (1, 1, false));
        assert!(found.pairs[0].disturbance().is_none());
        let found = Deciding::of(vec![disturbed, disturbed]);
        assert_eq!((found.pairs.len(), found.left_out, found.all_disturbed), (2, 0, true));
        let found = Deciding::of(vec![]);
        assert_eq!((found.pairs.len(), found.left_out, found.all_disturbed), (0, 0, false));
    }

    /// Against every quotient of a grid over both intervals.
    #[test]
    fn the_interval_of_a_ratio_holds_every_quotient_of_its_sides() {
        let steps = |(low, high): (f64, f64)| (0..=8).map(move |step| low + (high - low) * f64::from(step) / 8.0);
        for (a, b) in [((1.0, 2.0), (4.0, 8.0)), ((0.5, 0.5), (0.25, 1.0)), ((3.0, 9.0), (0.125, 0.5))] {
            let (low, high) = quotient_interval(a, b);
            let quotients: Vec<f64> = steps(a).flat_map(|x| steps(b).map(move |y| x / y)).collect();
            assert_eq!(quotients.iter().copied().reduce(f64::min), Some(low));
            assert_eq!(quotients.iter().copied().reduce(f64::max), Some(high));
        }
        assert_eq!(quotient_interval((1.0, 2.0), (0.0, 4.0)), (0.25, f64::INFINITY));
        assert_eq!(ratio((1.0, None), (0.0, None)), None);
        let (slow, fast) = (row("a", "fp32", 2.0), row("b", "fp16", 1.0));
        let found = RowPair { numerator: &slow, denominator: &fast }.latency_ratio();
        assert_eq!(found, Some((2.0, Some((0.5, 8.0)))));
    }
}
