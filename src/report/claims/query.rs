//! Expressions compiled to lazy dataframe expressions. What comes back are values with the ids of the rows they are
//! made of; intervals are added by those who know the rows.

use std::collections::BTreeSet;

use polars::prelude::{
    Column, DataFrame, DataType, Expr, IntoLazy, JoinArgs, JoinType, LazyFrame, PolarsResult, col, lit,
};

use super::schema::{Counterpart, Event, Filter, Key, Pairing, Quantity, Reduce};
use crate::backend::BackendKind;
use crate::store::cell::Cell;

/// Rows a claim may look at.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Whether rows with emulated formats are among them.
    pub emulated: bool,
    /// Only rows of these environments; `None` admits all.
    pub environments: Option<Vec<String>>,
}

/// A value made of two rows; `None` where it is undefined.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Id of the numerator's row.
    pub numerator: String,
    /// Id of the denominator's row.
    pub denominator: String,
    /// The numerator's value.
    pub first: Option<f64>,
    /// The denominator's value.
    pub second: Option<f64>,
}

/// Measured rows that pass the filter.
pub fn rows(frame: &DataFrame, filter: &Filter, admitted: &Admitted) -> LazyFrame {
    let measured = col("status").eq(lit("ok"));
    frame.clone().lazy().filter(measured.and(predicate(frame, filter)).and(admission(admitted)))
}

/// Ids of rows that pass the filter and failed. Whether they would have been emulated is not known.
///
/// # Errors
/// The dataframe library's own.
pub fn failed(frame: &DataFrame, filter: &Filter, admitted: &Admitted) -> PolarsResult<Vec<String>> {
    let any = Admitted { emulated: true, ..admitted.clone() };
    let failed = col("status").eq(lit("failed"));
    ids(frame.clone().lazy().filter(failed.and(predicate(frame, filter)).and(admission(&any))))
}

/// Number of rows that pass the filter and are still to be run.
///
/// # Errors
/// The dataframe library's own.
pub fn pending(frame: &DataFrame, filter: &Filter) -> PolarsResult<usize> {
    let pending = col("status").eq(lit("pending")).and(predicate(frame, filter));
    Ok(frame.clone().lazy().filter(pending).select([col("id")]).collect()?.height())
}

/// Ids of the rows.
///
/// # Errors
/// The dataframe library's own.
pub fn ids(rows: LazyFrame) -> PolarsResult<Vec<String>> {
    strings(rows.select([col("id")]).collect()?.column("id")?)
}

/// Ids and values of a quantity.
///
/// # Errors
/// The dataframe library's own.
pub fn values(rows: LazyFrame, of: Quantity) -> PolarsResult<Vec<(String, Option<f64>)>> {
    let found = rows.select([col("id"), quantity(of).alias("value")]).collect()?;
    Ok(strings(found.column("id")?)?.into_iter().zip(numbers(found.column("value")?)?).collect())
}

/// Ids of the rows in which an event happened, in the compared pass or in any other that was examined.
///
/// # Errors
/// The dataframe library's own.
pub fn events(rows: LazyFrame, event: Event) -> PolarsResult<Vec<String>> {
    let happened = match event {
        Event::Nan => &["nan_count", "nan_forwards"][..],
        Event::NonFinite => &["nan_count", "nan_forwards", "inf_count", "inf_forwards"],
    };
    let any = happened.iter().map(|name| col(*name).fill_null(lit(0_u64)).gt(lit(0_u64))).reduce(Expr::or);
    ids(rows.filter(any.unwrap_or_else(|| lit(false))))
}

/// Joins rows of one filter with those of another; ids of both.
///
/// # Errors
/// The dataframe library's own.
pub fn counterparts(
    frame: &DataFrame,
    filter: &Filter,
    counterpart: &Counterpart,
    admitted: &Admitted,
) -> PolarsResult<Vec<(String, String)>> {
    let pairing = Pairing {
        of: Quantity::NanShare,
        numerator: filter.clone(),
        denominator: counterpart.filter.clone(),
        joined_by: counterpart.joined_by.clone(),
        reduce: Reduce::Each,
    };
    Ok(pairs(frame, &pairing, admitted)?.into_iter().map(|pair| (pair.numerator, pair.denominator)).collect())
}

/// Joins numerator and denominator rows; a row is never paired with itself.
///
/// # Errors
/// The dataframe library's own.
pub fn pairs(frame: &DataFrame, pairing: &Pairing, admitted: &Admitted) -> PolarsResult<Vec<Pair>> {
    let keys: Vec<Expr> = pairing.joined_by.iter().map(|key| col(key_name(*key))).collect();
    let side = |filter: &Filter, id: &str, value: &str| {
        let mut wanted = keys.clone();
        wanted.push(col("id").alias(id));
        wanted.push(quantity(pairing.of).alias(value));
        rows(frame, filter, admitted).select(wanted)
    };
    let found = side(&pairing.numerator, "numerator", "first")
        .join(
            side(&pairing.denominator, "denominator", "second"),
            keys.clone(),
            keys.clone(),
            JoinArgs::new(JoinType::Inner),
        )
        .filter(col("numerator").neq(col("denominator")))
        .collect()?;
    let ids = strings(found.column("numerator")?)?.into_iter().zip(strings(found.column("denominator")?)?);
    let values = numbers(found.column("first")?)?.into_iter().zip(numbers(found.column("second")?)?);
    let mut pairs: Vec<Pair> = ids
        .zip(values)
        .map(|((numerator, denominator), (first, second))| Pair { numerator, denominator, first, second })
        .collect();
    // A join promises no order.
    pairs.sort_by(|a, b| (&a.numerator, &a.denominator).cmp(&(&b.numerator, &b.denominator)));
    Ok(pairs)
}

fn quantity(of: Quantity) -> Expr {
    let known = |name: &str| col(name).cast(DataType::Float64);
    match of {
        Quantity::LatencyP50Ms => known("latency_p50_ms"),
        // An engine without its weights' size has no account; scratch it does not know is none it allocates.
        Quantity::EngineMemoryBytes => {
            known("weights_bytes") + known("activations_bytes") + known("workspace_bytes").fill_null(lit(0.0))
        }
        Quantity::ProcessPeakBytes => known("process_peak_bytes"),
        Quantity::CosineMin => known("cosine_min"),
        Quantity::MaxAbsError => known("max_abs_error"),
        Quantity::RelativeL2Error => known("relative_l2_error"),
        Quantity::NanShare => known("nan_count") / known("output_elements"),
        Quantity::NanRate => known("nan_forwards") / known("forwards"),
        Quantity::TaskAccuracy => known("task_accuracy"),
        Quantity::Perplexity => known("perplexity"),
    }
}

fn admission(admitted: &Admitted) -> Expr {
    let native = if admitted.emulated { lit(true) } else { col("emulated").eq(lit(false)) };
    match &admitted.environments {
        None => native,
        Some(environments) => native.and(one_of("environment", environments.iter().map(|id| lit(id.clone())))),
    }
}

/// The filter's rows; never those of the mock backend, which is an instrument for testing the runner, nor those of weights
/// with an injected outlier, which are no model of the paper.
fn predicate(frame: &DataFrame, filter: &Filter) -> Expr {
    let text = |values: &[String]| values.iter().cloned().map(lit).collect::<Vec<Expr>>();
    let conditions = [
        ("backend", named(&filter.backend)),
        ("device", named(&filter.device)),
        ("model", text(&filter.model)),
        ("precision", text(&filter.precision)),
        ("batch_size", filter.batch_size.iter().map(|&value| lit(value)).collect()),
        ("sequence_length", filter.sequence_length.iter().map(|&value| lit(value)).collect()),
        ("input", text(&filter.input)),
        ("input_kind", named(&filter.input_kind)),
    ];
    let real = col("backend").neq(lit(BackendKind::Mock.name())).and(col("injection").is_null());
    let real = if filter.input_prefix.is_empty() {
        real
    } else {
        real.and(one_of("input", inputs_beginning(frame, &filter.input_prefix).into_iter().map(lit)))
    };
    conditions
        .into_iter()
        .filter(|(_, allowed)| !allowed.is_empty())
        .fold(real, |all, (column, allowed)| all.and(one_of(column, allowed.into_iter())))
}

/// Names of inputs that begin with one of `prefixes`.
fn inputs_beginning(frame: &DataFrame, prefixes: &[String]) -> BTreeSet<String> {
    let names = frame.column("input").and_then(strings).unwrap_or_default();
    names.into_iter().filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))).collect()
}

fn named<T: Cell<Stored = String>>(values: &[T]) -> Vec<Expr> {
    values.iter().filter_map(Cell::store).map(lit).collect()
}

/// False for no values.
fn one_of(column: &str, allowed: impl Iterator<Item = Expr>) -> Expr {
    allowed.fold(lit(false), |any, value| any.or(col(column).eq(value)))
}

fn key_name(key: Key) -> &'static str {
    match key {
        Key::Backend => "backend",
        Key::Model => "model",
        Key::Precision => "precision",
        Key::BatchSize => "batch_size",
        Key::SequenceLength => "sequence_length",
        Key::Input => "input",
    }
}

fn strings(column: &Column) -> PolarsResult<Vec<String>> {
    Ok(column.str()?.iter().flatten().map(str::to_owned).collect())
}

/// NaN is undefined, like null: it must not win a comparison.
fn numbers(column: &Column) -> PolarsResult<Vec<Option<f64>>> {
    Ok(column.f64()?.iter().map(|value| value.filter(|value| value.is_finite())).collect())
}
