//! Rows whose outputs fail, in words.

use super::disturbances::names;
use crate::analysis::facts::fails;
use crate::manifest::schema::Numerics;
use crate::numbers;
use crate::results::data::Data;
use crate::store::schema::ResultRow;

/// `an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1)`
fn broken(settings: Numerics) -> String {
    let Numerics { broken_cosine, broken_relative_l2, .. } = settings;
    format!(
        "an output row is broken (finite, but its cosine to FP32 is below {broken_cosine} or its relative L2 error above \
         {broken_relative_l2})"
    )
}

/// The footnote of a configuration whose outputs fail.
pub fn footnote(settings: Numerics) -> String {
    format!(
        "Outputs fail: in at least one forward pass there is NaN or infinity, or {}. Times and sizes are those of a \
         computation that fails.",
        broken(settings)
    )
}

/// What a broken row is, for the notes of a table that counts them.
pub fn definition(settings: Numerics) -> String {
    format!("A pass fails if its output holds NaN or infinity, or if {}.", broken(settings))
}

/// The rows whose outputs fail; `None` where there are none.
pub fn caveat(data: &Data) -> Option<String> {
    let rows: Vec<&ResultRow> = data.measured().filter(|row| fails(row) == Some(true)).collect();
    let known = data.measured().filter(|row| fails(row).is_some()).count();
    (!rows.is_empty()).then(|| {
        format!(
            "Outputs fail in {} of {} ({}): in at least one forward pass there is NaN or infinity, or {}. Tables mark \
             these rows †.",
            numbers::count(rows.len() as u64),
            numbers::plural(known, "row"),
            names(&rows),
            broken(data.plan.numerics)
        )
    })
}
