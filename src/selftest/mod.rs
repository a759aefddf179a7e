//! `mixprec selftest`: injects known faults and runs the program's own detectors. Each detector sees the same subject
//! intact and mutated. It must report the mutated one and only that one. A detector that always reports is as useless
//! as one that never does.

mod assets;
mod clock;
mod engines;
mod experiment;
mod numerics;
mod pins;
mod print;
mod tables;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use print::{json, text};

/// A detector's report; `None` when it finds no fault.
pub type Objection = Result<Option<String>, SelftestError>;

/// Sets the subject up in an empty folder, intact or mutated, and runs its detector.
pub type Ask = Box<dyn Fn(&Path, Variant) -> Objection>;

/// A fault and the detector that must find it.
pub struct Mutation {
    /// What the detector checks.
    pub name: &'static str,
    /// The injected fault.
    pub injected: &'static str,
    /// Sets up the subject and runs the detector.
    pub ask: Ask,
}

impl Mutation {
    fn new(name: &'static str, injected: &'static str, ask: impl Fn(&Path, Variant) -> Objection + 'static) -> Self {
        Mutation { name, injected, ask: Box::new(ask) }
    }
}

/// The variant of the subject that the detector sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The intact subject.
    Whole,
    /// The subject with the fault.
    Mutated,
}

impl Variant {
    /// Whether to inject the fault.
    pub fn is_mutated(self) -> bool {
        self == Variant::Mutated
    }
}

/// What the detector made of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detection {
    /// The detector reported only the mutated variant, with this text.
    Caught(String),
    /// The detector reported neither variant.
    Missed,
    /// The detector reported the intact variant, with this text.
    FalseAlarm(String),
    /// The subject could not be set up.
    NotTried(String),
}

/// The result of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutationResult {
    /// What the detector checks.
    pub name: &'static str,
    /// The injected fault.
    pub injected: &'static str,
    /// The detection.
    pub outcome: Detection,
}

impl MutationResult {
    /// Whether the fault was caught.
    pub fn is_caught(&self) -> bool {
        matches!(self.outcome, Detection::Caught(_))
    }
}

/// Why a subject could not be set up.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum SelftestError {
    /// A scratch folder cannot be created.
    #[error("{path}: {source}; set TMPDIR to a folder with room")]
    Scratch { path: PathBuf, source: std::io::Error },
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] crate::manifest::ManifestError),
    /// A model.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// An engine.
    #[error(transparent)]
    Backend(#[from] crate::engine::BackendError),
    /// An input.
    #[error(transparent)]
    Input(#[from] crate::input::InputError),
    /// A reference.
    #[error(transparent)]
    Numerics(#[from] crate::numerics::NumericsError),
    /// A run's folder.
    #[error(transparent)]
    Runner(#[from] crate::runner::RunnerError),
    /// A journal.
    #[error(transparent)]
    Journal(#[from] crate::store::journal::JournalError),
    /// A table.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A dataframe.
    #[error(transparent)]
    Frame(#[from] polars::prelude::PolarsError),
    /// An environment.
    #[error(transparent)]
    Environment(#[from] crate::provenance::EnvironmentError),
    /// The engine cache.
    #[error(transparent)]
    Cache(#[from] crate::cache::CacheError),
    /// A checkpoint's tensors.
    #[error(transparent)]
    Tensors(#[from] safetensors::SafeTensorError),
    /// The subject differs from what this test expects.
    #[error("{0}")]
    Unexpected(String),
}

/// Every mutation.
pub fn mutations() -> Vec<Mutation> {
    [numerics::mutations(), assets::mutations(), clock::mutations(), pins::mutations(), tables::mutations()]
        .into_iter()
        .flatten()
        .chain(engines::mutations())
        .collect()
}

/// Tries every mutation in temporary folders of its own.
///
/// # Errors
/// [`SelftestError::Scratch`]. A later error becomes the mutation's result.
pub fn run(mutations: &[Mutation]) -> Result<Vec<MutationResult>, SelftestError> {
    let result = |mutation: &Mutation| {
        let outcome = outcome(mutation)?;
        Ok(MutationResult { name: mutation.name, injected: mutation.injected, outcome })
    };
    mutations.iter().map(result).collect()
}

fn outcome(mutation: &Mutation) -> Result<Detection, SelftestError> {
    let [whole, mutated] = [said(mutation, Variant::Whole)?, said(mutation, Variant::Mutated)?];
    Ok(match (whole, mutated) {
        (Err(error), _) | (_, Err(error)) => Detection::NotTried(error),
        (Ok(Some(text)), _) => Detection::FalseAlarm(text),
        (Ok(None), Ok(Some(text))) => Detection::Caught(text),
        (Ok(None), Ok(None)) => Detection::Missed,
    })
}

/// The detector's report, on one line and without the scratch folder's name.
fn said(mutation: &Mutation, variant: Variant) -> Result<Result<Option<String>, String>, SelftestError> {
    let scratch =
        tempfile::tempdir().map_err(|source| SelftestError::Scratch { path: std::env::temp_dir(), source })?;
    let folder = scratch.path().join("x");
    std::fs::create_dir(&folder).map_err(|source| SelftestError::Scratch { path: folder.clone(), source })?;
    let line = |text: String| {
        let text =
            text.replace(&format!("{}/", folder.display()), "").replace(&*folder.to_string_lossy(), "the folder");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    Ok(match (mutation.ask)(&folder, variant) {
        Ok(said) => Ok(said.map(line)),
        Err(error) => Err(line(error.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub(ask: impl Fn(Variant) -> Objection + 'static) -> Vec<Mutation> {
        vec![Mutation::new("stub", "a fault", move |_, variant| ask(variant))]
    }

    fn outcome_of(ask: impl Fn(Variant) -> Objection + 'static) -> Detection {
        run(&stub(ask)).unwrap().remove(0).outcome
    }

    #[test]
    fn a_detector_has_to_speak_of_the_fault_and_of_nothing_else() {
        let caught = outcome_of(|variant| Ok(variant.is_mutated().then(|| "it\n is  broken".to_owned())));
        assert_eq!(caught, Detection::Caught("it is broken".to_owned()));
        assert_eq!(outcome_of(|_| Ok(None)), Detection::Missed);
        assert_eq!(outcome_of(|_| Ok(Some("always".to_owned()))), Detection::FalseAlarm("always".to_owned()));
        let broken = outcome_of(|_| Err(SelftestError::Unexpected("no thing".to_owned())));
        assert_eq!(broken, Detection::NotTried("no thing".to_owned()));
    }

    #[test]
    fn a_silenced_detector_turns_the_whole_test_red() {
        for index in [0, 5] {
            let mut mutations: Vec<Mutation> = mutations().into_iter().take(6).collect();
            mutations[index].ask = Box::new(|_, _| Ok(None));
            let results = run(&mutations).unwrap();
            for (at, result) in results.iter().enumerate() {
                assert_eq!(result.is_caught(), at != index, "{result:?}");
            }
            let text = text(&results);
            assert!(text.contains(&format!("MISSED: {}", results[index].name)), "{text}");
            assert!(text.ends_with("5 of 6 injected faults caught\n"), "{text}");
        }
    }
}
