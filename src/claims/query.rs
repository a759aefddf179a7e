//! The rows that a claim looks at, and the values that it takes from them. The callers add intervals.

use std::collections::HashMap;

use super::findings::{RowName, Unfit};
use super::schema::{Counterpart, Event, Filter, Pairing, Quantity};
use crate::analysis::facts::{breaks, engine_bytes, fails, has_infinity, has_nan, smallest_cosine};
use crate::analysis::pairs::{self, RowPair};
use crate::engine::BackendKind;
use crate::record::Status;
use crate::results::data::Data;
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// Rows a claim may look at.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Whether rows with emulated formats are among them.
    pub emulated: bool,
    /// Only rows of these environments; `None` admits all.
    pub environments: Option<Vec<String>>,
    /// Digests of input files that the manifest pins, by configuration.
    pinned: HashMap<String, String>,
}

impl Admitted {
    /// Of the rows of these results.
    pub fn of(data: &Data, emulated: bool, environments: Option<Vec<String>>) -> Self {
        Admitted { emulated, environments, pinned: data.pinned_inputs() }
    }

    /// Digest of the file that a row's input was read from: the row's own, or the manifest's pin, without which no row is
    /// measured. `None` where neither is recorded.
    pub fn input_sha256<'a>(&'a self, row: &'a ResultRow) -> Option<&'a String> {
        row.input_sha256.as_ref().or_else(|| self.pinned.get(&row.id))
    }

    fn admits(&self, row: &ResultRow) -> bool {
        (self.emulated || row.emulated == Some(false)) && self.admits_machine(row)
    }

    fn admits_machine(&self, row: &ResultRow) -> bool {
        let here = |known: &Vec<String>| row.environment.as_ref().is_some_and(|id| known.contains(id));
        self.environments.as_ref().is_none_or(here)
    }
}

/// Measured rows that pass the filter.
pub fn rows<'a>(all: &'a [ResultRow], filter: &Filter, admitted: &Admitted) -> Vec<&'a ResultRow> {
    let may = |row: &&ResultRow| admitted.admits(row) && is_above(row, filter.accuracy_above);
    of_status(all, Status::Ok, filter, admitted).filter(may).collect()
}

/// Whether the accuracy is surely above a share; that of a row without one is not.
fn is_above(row: &ResultRow, share: Option<f64>) -> bool {
    let low = || clopper_pearson(row.task_correct?, row.task_total?).map(|found| found.low);
    share.is_none_or(|share| low().is_some_and(|low| low > share))
}

/// Why a measured row that passes the rest of the filter does not answer; `None` of one that passes all or not even that.
pub fn unfit(row: &ResultRow, filter: &Filter, admitted: &Admitted) -> Option<Unfit> {
    let loose = Filter {
        model_prefix: vec![],
        parameters_at_least: None,
        input_sha256: vec![],
        input_prefix: if filter.input_sha256.is_empty() { filter.input_prefix.clone() } else { vec![] },
        ..filter.clone()
    };
    if row.status != Status::Ok || !admitted.admits(row) || !passes(row, &loose, admitted) {
        return None;
    }
    if !is_of_model(row, filter) {
        return Some(Unfit::Model(row.model.clone()));
    }
    if !is_of_input(row, filter, admitted) {
        return Some(Unfit::Input(row.input.clone()));
    }
    let share = filter.accuracy_above.filter(|_| !is_above(row, filter.accuracy_above))?;
    Some(match row.task_accuracy {
        Some(accuracy) => Unfit::AtChance { row: RowName::of(row), accuracy, share },
        None => Unfit::Quantity(RowName::of(row)),
    })
}

/// Whether a row passes the filter and failed. Whether it would have been emulated is not known.
pub fn has_failed(row: &ResultRow, filter: &Filter, admitted: &Admitted) -> bool {
    row.status == Status::Failed && passes(row, filter, admitted) && admitted.admits_machine(row)
}

/// Number of rows that pass the filter and are still to be run.
pub fn pending(all: &[ResultRow], filter: &Filter, admitted: &Admitted) -> usize {
    of_status(all, Status::Pending, filter, admitted).count()
}

/// A row's value of a quantity. NaN is undefined, like null: it must not win a comparison.
pub fn value(row: &ResultRow, of: Quantity) -> Option<f64> {
    let count = |value: Option<u64>| value.map(|value| value as f64);
    let value = match of {
        Quantity::LatencyP50Ms => row.latency_p50_ms,
        Quantity::EndToEndP50Ms => row.end_to_end_p50_ms,
        Quantity::EngineMemoryBytes => count(engine_bytes(row)),
        Quantity::ProcessPeakBytes => count(row.process_peak_bytes),
        Quantity::CosineMin => row.cosine_min,
        Quantity::ForwardCosineMin => row.forward_cosine_min,
        Quantity::SmallestCosine => smallest_cosine(row),
        Quantity::LargestDeviation => largest_deviation(row),
        Quantity::MaxAbsError => row.max_abs_error,
        Quantity::RelativeL2Error => row.relative_l2_error,
        Quantity::NanShare => Some(count(row.nan_count)? / count(row.output_elements)?),
        Quantity::NanRate | Quantity::BrokenRate | Quantity::FailureRate | Quantity::SilentRate => {
            failing_forwards(row, of).map(|(failing, all)| failing as f64 / all as f64)
        }
        Quantity::TaskAccuracy => row.task_accuracy,
        Quantity::Perplexity => row.perplexity,
    };
    value.filter(|value| value.is_finite())
}

/// Forward passes that fail in the way of a rate, and all that were examined.
pub fn failing_forwards(row: &ResultRow, of: Quantity) -> Option<(u64, u64)> {
    let failing = match of {
        Quantity::NanRate => row.nan_forwards,
        Quantity::BrokenRate => row.broken_forwards,
        Quantity::FailureRate => row.failed_forwards,
        Quantity::SilentRate => row.silent_forwards,
        _ => None,
    };
    failing.zip(row.forwards)
}

/// Forward passes of all rows with an event, and all that were examined; `None` where one row does not know them. Of NaN and
/// infinity, which are counted apart, the larger number.
pub fn passes_with(rows: &[&ResultRow], event: Event) -> Option<(u64, u64)> {
    let with_event = |row: &ResultRow| match event {
        Event::Nan => row.nan_forwards,
        Event::NonFinite => row.nan_forwards.max(row.inf_forwards),
        Event::Broken => row.broken_forwards,
        Event::Failed => row.failed_forwards,
    };
    let both = |row: &&ResultRow| with_event(row).zip(row.forwards);
    rows.iter()
        .map(both)
        .try_fold((0, 0), |sum: (u64, u64), found| found.map(|found| (sum.0 + found.0, sum.1 + found.1)))
}

fn largest_deviation(row: &ResultRow) -> Option<f64> {
    let deviations = &row.magnitudes.as_ref()?.deviations;
    deviations.iter().map(|(_, deviation)| *deviation).reduce(f64::max)
}

/// Whether an event happened in the compared pass, or in any other that was examined. `None` where that is not known.
pub fn happened(row: &ResultRow, event: Event) -> Option<bool> {
    let non_finite = || has_nan(row) || has_infinity(row);
    match event {
        Event::Nan => Some(has_nan(row)),
        Event::NonFinite => Some(non_finite()),
        Event::Broken => breaks(row),
        Event::Failed => {
            if non_finite() {
                Some(true)
            } else {
                fails(row)
            }
        }
    }
}

/// Rows of one filter with those of another that agree in the columns of `counterpart`.
pub fn counterparts<'a>(
    data: &'a Data,
    filter: &Filter,
    counterpart: &Counterpart,
    admitted: &Admitted,
) -> Vec<RowPair<'a>> {
    let side = |filter: &Filter| rows(&data.rows, filter, admitted);
    pairs::join(data, side(filter), side(&counterpart.filter), &counterpart.joined_by)
}

/// Numerator and denominator rows that agree in the columns of `pairing`.
pub fn pairs_of<'a>(data: &'a Data, pairing: &Pairing, admitted: &Admitted) -> Vec<RowPair<'a>> {
    let side = |filter: &Filter| rows(&data.rows, filter, admitted);
    pairs::join(data, side(&pairing.numerator), side(&pairing.denominator), &pairing.joined_by)
}

fn of_status<'a>(
    all: &'a [ResultRow],
    status: Status,
    filter: &Filter,
    admitted: &Admitted,
) -> impl Iterator<Item = &'a ResultRow> {
    all.iter().filter(move |row| row.status == status && passes(row, filter, admitted))
}

/// Whether the filter has the row; never one of the mock backend, which is an instrument for testing the runner, nor one of
/// weights with an injected outlier, which are no model of the paper.
fn passes(row: &ResultRow, filter: &Filter, admitted: &Admitted) -> bool {
    fn one_of<T: PartialEq>(allowed: &[T], value: &T) -> bool {
        allowed.is_empty() || allowed.contains(value)
    }
    let trained = || row.weights().map(|weights| !weights.is_random());
    let real = row.backend != BackendKind::Mock && row.injection.is_none();
    real && one_of(&filter.backend, &row.backend)
        && one_of(&filter.device, &row.device)
        && one_of(&filter.model, &row.model)
        && one_of(&filter.precision, &row.precision)
        && one_of(&filter.batch_size, &row.batch_size)
        && one_of(&filter.sequence_length, &row.sequence_length)
        && one_of(&filter.input, &row.input)
        && one_of(&filter.input_kind, &row.input_kind)
        && is_of_model(row, filter)
        && is_of_input(row, filter, admitted)
        && (filter.trained.is_none() || filter.trained == trained())
}

/// Whether name and size are those of a model of the filter; the size of a row that was not measured is not known.
fn is_of_model(row: &ResultRow, filter: &Filter) -> bool {
    let large = |least: u64| row.parameters.is_none_or(|parameters| parameters >= least);
    begins(&row.model, &filter.model_prefix) && filter.parameters_at_least.is_none_or(large)
}

/// Whether the input was read from a file of the filter: by its digest, or by name where there is none to compare.
fn is_of_input(row: &ResultRow, filter: &Filter, admitted: &Admitted) -> bool {
    match admitted.input_sha256(row).filter(|_| !filter.input_sha256.is_empty()) {
        Some(digest) => filter.input_sha256.contains(digest),
        None if filter.input_prefix.is_empty() => filter.input_sha256.is_empty(),
        None => begins(&row.input, &filter.input_prefix),
    }
}

fn begins(name: &str, prefixes: &[String]) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
}
