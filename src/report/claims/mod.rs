//! Claims of the paper as checkable expressions over the results, and what these results say of them.

pub mod answered;
pub mod describe;
pub mod evaluate;
pub mod interval;
pub mod print;
pub mod query;
pub mod schema;
pub mod verdict;

use std::path::Path;

use super::ReportError;
use super::data::Data;
pub use print::{to_json, to_text};
pub use schema::{Claims, ClaimsError};
pub use verdict::{Outcome, Verdict};

/// Judges every claim by the results in `dir`, in the order of the file.
///
/// # Errors
/// [`ReportError`] when the run folder cannot be read or the dataframe library fails.
pub fn verify(dir: &Path, claims: &Claims) -> Result<Vec<Verdict>, ReportError> {
    judge(&Data::read(dir)?, claims)
}

/// Judges every claim by results that were read already.
///
/// # Errors
/// [`ReportError::Frame`] when the dataframe library fails.
pub fn judge(data: &Data, claims: &Claims) -> Result<Vec<Verdict>, ReportError> {
    let results = evaluate::Results::new(data).map_err(ReportError::Frame)?;
    claims.claims.iter().map(|claim| verdict::judge(&results, claim)).collect()
}
