//! Reads a claims file: within its size, strictly, and refused where it is well-formed but senseless.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::headline::wrong_with;
use super::schema::{CLAIMS_VERSION, Claims, Expression, Slack};
use crate::files::FileError;

/// Larger files are refused before they are read.
const MAX_BYTES: u64 = 1 << 20;
const BUILT_IN: &str = include_str!("../../experiments/claims.yaml");

/// A claims file that cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ClaimsError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is far larger than any claims file.
    #[error("{path}: {bytes} bytes; a claims file has at most {MAX_BYTES}")]
    Size { path: PathBuf, bytes: u64 },
    /// Not YAML, or not of this shape.
    #[error("{place}: {message}")]
    Yaml {
        /// `file:line:column`
        place: String,
        /// What was found and what is allowed.
        message: String,
    },
    /// Well-formed, but senseless.
    #[error("{file}: claim `{claim}`: {message}")]
    Claim { file: String, claim: String, message: String },
    /// A headline that cannot be shown.
    #[error("{file}: headline `{headline}`: {message}")]
    Headline { file: String, headline: String, message: String },
}

impl Claims {
    /// The claims this program was built with: `experiments/claims.yaml`.
    ///
    /// # Errors
    /// [`ClaimsError`] when that file is not one; a test rules it out.
    pub fn builtin() -> Result<Claims, ClaimsError> {
        Claims::parse(BUILT_IN, "experiments/claims.yaml")
    }

    /// Reads a claims file.
    ///
    /// # Errors
    /// [`ClaimsError`] with file, line and column.
    pub fn load(path: &Path) -> Result<Claims, ClaimsError> {
        let bytes = std::fs::metadata(path).map_err(FileError::at(path))?.len();
        if bytes > MAX_BYTES {
            return Err(ClaimsError::Size { path: path.to_owned(), bytes });
        }
        Claims::parse(&std::fs::read_to_string(path).map_err(FileError::at(path))?, &path.display().to_string())
    }

    /// Reads the text of a claims file; `file` is its name in messages.
    ///
    /// # Errors
    /// [`ClaimsError`] with file, line and column.
    pub fn parse(text: &str, file: &str) -> Result<Claims, ClaimsError> {
        let claims: Claims = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location().map_or_else(
                || file.to_owned(),
                |location| format!("{file}:{}:{}", location.line(), location.column()),
            );
            let message = error.without_snippet().to_string();
            ClaimsError::Yaml { place, message: message.lines().next().unwrap_or_default().to_owned() }
        })?;
        check_sense(&claims, file)?;
        Ok(claims)
    }
}

/// Rules a well-formed claims file can still break.
fn check_sense(claims: &Claims, file: &str) -> Result<(), ClaimsError> {
    let wrong = |claim: &str, message: String| {
        Err(ClaimsError::Claim { file: file.to_owned(), claim: claim.to_owned(), message })
    };
    if claims.schema != CLAIMS_VERSION {
        return wrong("", format!("schema {} is not the version this program reads, {CLAIMS_VERSION}", claims.schema));
    }
    for (index, claim) in claims.claims.iter().enumerate() {
        if claim.id.is_empty() || claims.claims[..index].iter().any(|other| other.id == claim.id) {
            return wrong(&claim.id, "its id is empty or taken; give every claim its own".to_owned());
        }
        if claim.checks.is_empty() {
            return wrong(&claim.id, "it has no checks; a claim without one cannot be judged".to_owned());
        }
        for check in &claim.checks {
            let expect = check.expect;
            let limits = [expect.at_least, expect.at_most, expect.more_than, expect.less_than];
            let slack = expect.tolerance.map(|(Slack::Relative(amount) | Slack::Absolute(amount))| amount);
            if limits.iter().all(Option::is_none) {
                return wrong(
                    &claim.id,
                    "`expect` has no limit; give at_least, at_most, more_than or less_than".to_owned(),
                );
            }
            if limits.iter().flatten().chain(&slack).any(|limit| !limit.is_finite())
                || slack.is_some_and(|amount| amount < 0.0)
            {
                return wrong(&claim.id, "a limit is not a finite number, or the tolerance is negative".to_owned());
            }
            let pairing = match &check.expression {
                Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
                    pairing
                }
                _ => continue,
            };
            if pairing.joined_by.is_empty() {
                return wrong(&claim.id, "`joined_by` is empty; name the columns in which a pair agrees".to_owned());
            }
        }
    }
    for (index, spec) in claims.headlines.iter().enumerate() {
        let taken = claims.headlines[..index].iter().any(|other| other.key == spec.key);
        let message = if taken { Some("another headline has its key".to_owned()) } else { wrong_with(claims, spec) };
        if let Some(message) = message {
            return Err(ClaimsError::Headline { file: file.to_owned(), headline: spec.key.clone(), message });
        }
    }
    Ok(())
}
