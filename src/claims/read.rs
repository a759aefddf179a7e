//! Reads a claims file: within its size, strictly, and refused where it is well-formed but senseless.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::schema::Claims;
use crate::files::FileError;

/// Larger files are refused before they are read.
const MAX_BYTES: u64 = 1 << 20;
const BUILT_IN: &str = include_str!("../../experiments/claims.yaml");

/// A claims file that cannot be used.
#[derive(Debug, Error)]
pub enum ClaimsError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is far larger than any claims file.
    #[error("{path}: {bytes} bytes; a claims file has at most {MAX_BYTES}")]
    Size {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
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
    Claim {
        /// Which file.
        file: String,
        /// Which claim.
        claim: String,
        /// What is wrong.
        message: String,
    },
    /// A headline that cannot be shown.
    #[error("{file}: headline `{headline}`: {message}")]
    Headline {
        /// Which file.
        file: String,
        /// Which headline.
        headline: String,
        /// What is wrong.
        message: String,
    },
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
        super::verdict::check_sense(&claims, file)?;
        Ok(claims)
    }
}
