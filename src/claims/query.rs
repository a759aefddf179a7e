//! Which rows a claim looks at, and the values it takes of them. Intervals are added by those who know the rows.

use std::collections::HashMap;

use super::schema::{Counterpart, Event, Filter, Key, Pairing, Quantity};
use crate::analysis::facts::engine_bytes;
use crate::analysis::facts::{has_infinity, has_nan};
use crate::engine::BackendKind;
use crate::record::Status;
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

/// A value made of two rows; `None` where it is undefined.
#[derive(Debug, Clone)]
pub struct Pair<'a> {
    /// The numerator's row.
    pub numerator: &'a ResultRow,
    /// The denominator's row.
    pub denominator: &'a ResultRow,
    /// The numerator's value.
    pub first: Option<f64>,
    /// The denominator's value.
    pub second: Option<f64>,
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
        Quantity::EngineMemoryBytes => count(engine_bytes(row)),
        Quantity::ProcessPeakBytes => count(row.process_peak_bytes),
        Quantity::CosineMin => row.cosine_min,
        Quantity::MaxAbsError => row.max_abs_error,
        Quantity::RelativeL2Error => row.relative_l2_error,
        Quantity::NanShare => Some(count(row.nan_count)? / count(row.output_elements)?),
        Quantity::NanRate => Some(count(row.nan_forwards)? / count(row.forwards)?),
        Quantity::TaskAccuracy => row.task_accuracy,
        Quantity::Perplexity => row.perplexity,
    };
    value.filter(|value| value.is_finite())
}

/// Whether an event happened in the compared pass, or in any other that was examined.
pub fn happened(row: &ResultRow, event: Event) -> bool {
    match event {
        Event::Nan => has_nan(row),
        Event::NonFinite => has_nan(row) || has_infinity(row),
    }
}

/// Rows of one filter with those of another that agree in the columns of `counterpart`.
pub fn counterparts<'a>(
    all: &'a [ResultRow],
    filter: &Filter,
    counterpart: &Counterpart,
    admitted: &Admitted,
) -> Vec<(&'a ResultRow, &'a ResultRow)> {
    joined(rows(all, filter, admitted), rows(all, &counterpart.filter, admitted), &counterpart.joined_by)
}

/// Numerator and denominator rows that agree in the columns of `pairing`, with their values.
pub fn pairs<'a>(all: &'a [ResultRow], pairing: &Pairing, admitted: &Admitted) -> Vec<Pair<'a>> {
    let side = |filter: &Filter| rows(all, filter, admitted);
    joined(side(&pairing.numerator), side(&pairing.denominator), &pairing.joined_by)
        .into_iter()
        .map(|(numerator, denominator)| Pair {
            numerator,
            denominator,
            first: value(numerator, pairing.of),
            second: value(denominator, pairing.of),
        })
        .collect()
}

/// Every pair that agrees in these columns, in the order of ids; a row is never paired with itself.
fn joined<'a>(
    first: Vec<&'a ResultRow>,
    second: Vec<&'a ResultRow>,
    keys: &[Key],
) -> Vec<(&'a ResultRow, &'a ResultRow)> {
    let key = |row: &ResultRow| keys.iter().map(|key| column(row, *key)).collect::<Vec<String>>();
    let mut others: HashMap<Vec<String>, Vec<&ResultRow>> = HashMap::new();
    for row in second {
        others.entry(key(row)).or_default().push(row);
    }
    let of = |row: &'a ResultRow| others.get(&key(row)).into_iter().flatten().map(move |other| (row, *other));
    let mut pairs: Vec<_> = first.into_iter().flat_map(of).filter(|(row, other)| row.id != other.id).collect();
    pairs.sort_by(|a, b| (&a.0.id, &a.1.id).cmp(&(&b.0.id, &b.1.id)));
    pairs
}

fn column(row: &ResultRow, key: Key) -> String {
    match key {
        Key::Backend => row.backend.to_string(),
        Key::Model => row.model.clone(),
        Key::Precision => row.precision.clone(),
        Key::BatchSize => row.batch_size.to_string(),
        Key::SequenceLength => row.sequence_length.to_string(),
        Key::Input => row.input.clone(),
    }
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
}
