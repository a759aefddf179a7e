//! Reads a claims file: within its size, strictly, and refused where it is well-formed but senseless.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::headline::wrong_with;
use super::schema::{CLAIMS_VERSION, Check, Claim, Claims, Expression, Share, Slack};
use crate::files::{FileError, read_text};

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
        Claims::parse(&read_text(path)?, &path.display().to_string())
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
        let second = claim.second_reading();
        let found = wrong_words(claim).or_else(|| wrong_checks(claim));
        if let Some(message) = found.or_else(|| second.as_ref().and_then(wrong_checks).map(of_second)) {
            return wrong(&claim.id, message);
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

fn of_second(message: String) -> String {
    format!("its second reading: {message}")
}

/// Whether the words are the paper's, with its value, or ours, without one.
fn wrong_words(claim: &Claim) -> Option<String> {
    let message = match (&claim.sentence, &claim.finding, &claim.paper_value) {
        (Some(_), None, Some(_)) => return None,
        (None, Some(_), None) if claim.second.is_none() => return None,
        (Some(_), Some(_), _) => {
            "it has both `sentence` and `finding`; keep `sentence` for the paper's words, or `finding` for ours"
        }
        (None, None, _) => "it has no words; give the paper's in `sentence`, or ours in `finding`",
        (Some(_), None, None) => "it has no `paper_value`; give the paper's figure",
        (None, Some(_), Some(_)) => "a finding is not the paper's; remove `paper_value`",
        (None, Some(_), None) => "a finding says what it means; remove `second`, or write another finding",
    };
    Some(message.to_owned())
}

/// What the checks of a claim lack.
fn wrong_checks(claim: &Claim) -> Option<String> {
    if claim.checks.is_empty() {
        return Some("it has no checks; a claim without one cannot be judged".to_owned());
    }
    claim.checks.iter().find_map(wrong_check).map(str::to_owned)
}

fn wrong_check(check: &Check) -> Option<&'static str> {
    let expect = check.expect;
    let limits = [expect.at_least, expect.at_most, expect.more_than, expect.less_than];
    let slack = expect.tolerance.map(|(Slack::Relative(amount) | Slack::Absolute(amount))| amount);
    if limits.iter().all(Option::is_none) {
        return Some("`expect` has no limit; give at_least, at_most, more_than or less_than");
    }
    if limits.iter().flatten().chain(&slack).any(|limit| !limit.is_finite()) || slack.is_some_and(|amount| amount < 0.0)
    {
        return Some("a limit is not a finite number, or the tolerance is negative");
    }
    let joined_by = match &check.expression {
        Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
            &pairing.joined_by
        }
        Expression::Share(Share { eliminated_from: Some(counterpart), .. }) => &counterpart.joined_by,
        _ => return None,
    };
    joined_by.is_empty().then_some("`joined_by` is empty; name the columns in which a pair agrees")
}
