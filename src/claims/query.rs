//! The rows that a claim looks at, and the values that it takes from them. The callers add intervals.

use super::schema::{Counterpart, Event, Filter, Pairing, Quantity};
use crate::analysis::facts::{breaks, engine_bytes, fails, has_infinity, has_nan, smallest_cosine};
use crate::analysis::pairs::{self, RowPair};
use crate::engine::BackendKind;
use crate::record::Status;
use crate::results::data::Data;
use crate::store::schema::ResultRow;

/// Rows a claim may look at.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Whether rows with emulated formats are among them.
    pub emulated: bool,
    /// Only rows of these environments; `None` admits all.
    pub environments: Option<Vec<String>>,
}

impl Admitted {
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
    of_status(all, Status::Ok, filter).filter(|row| admitted.admits(row)).collect()
}

/// Whether a row passes the filter and failed. Whether it would have been emulated is not known.
pub fn has_failed(row: &ResultRow, filter: &Filter, admitted: &Admitted) -> bool {
    row.status == Status::Failed && passes(row, filter) && admitted.admits_machine(row)
}

/// Number of rows that pass the filter and are still to be run.
pub fn pending(all: &[ResultRow], filter: &Filter) -> usize {
    of_status(all, Status::Pending, filter).count()
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

fn of_status<'a>(all: &'a [ResultRow], status: Status, filter: &Filter) -> impl Iterator<Item = &'a ResultRow> {
    all.iter().filter(move |row| row.status == status && passes(row, filter))
}

/// Whether the filter has the row; never one of the mock backend, which is an instrument for testing the runner, nor one of
/// weights with an injected outlier, which are no model of the paper.
fn passes(row: &ResultRow, filter: &Filter) -> bool {
    fn one_of<T: PartialEq>(allowed: &[T], value: &T) -> bool {
        allowed.is_empty() || allowed.contains(value)
    }
    let begins = |prefix: &String| row.input.starts_with(prefix.as_str());
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
        && (filter.input_prefix.is_empty() || filter.input_prefix.iter().any(begins))
        && (filter.trained.is_none() || filter.trained == trained())
}
