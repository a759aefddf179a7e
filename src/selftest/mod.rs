//! `mixprec selftest`: injects known faults and asks the program's own detectors. Each detector sees the same thing whole
//! and mutated, and has to be quiet about the one and to speak about the other: one that never speaks is as useless as one
//! that always does.

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

/// What a detector says of a thing; `None` when it has nothing to object to.
pub type Objection = Result<Option<String>, SelftestError>;

/// Sets a thing up in an empty folder, mutated or whole, and asks its detector.
pub type Ask = Box<dyn Fn(&Path, Variant) -> Objection>;

/// A fault and who has to notice it.
pub struct Mutation {
    /// What is watched.
    pub name: &'static str,
    /// What is injected.
    pub injected: &'static str,
    /// The thing and its detector.
    pub ask: Ask,
}

impl Mutation {
    fn new(name: &'static str, injected: &'static str, ask: impl Fn(&Path, Variant) -> Objection + 'static) -> Self {
        Mutation { name, injected, ask: Box::new(ask) }
    }
}

/// Which of the two the detector sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The thing as it should be.
    Whole,
    /// The thing with the fault.
    Mutated,
}

impl Variant {
    /// Whether the fault is to be injected.
    pub fn is_mutated(self) -> bool {
        self == Variant::Mutated
    }
}

/// What came of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detection {
    /// The detector was quiet about the whole thing and said this about the mutated one.
    Caught(String),
    /// It was quiet about both.
    Missed,
    /// It said this about the whole thing.
    FalseAlarm(String),
    /// The thing could not be set up.
    NotTried(String),
}

/// A mutation with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutationResult {
    /// What is watched.
    pub name: &'static str,
    /// What was injected.
    pub injected: &'static str,
    /// What came of it.
    pub outcome: Detection,
}

impl MutationResult {
    /// Whether all is well.
    pub fn is_caught(&self) -> bool {
        matches!(self.outcome, Detection::Caught(_))
    }
}

/// A thing to mutate that could not be set up.
#[derive(Debug, Error)]
pub enum SelftestError {
    /// There is no room for scratch files.
    #[error("{path}: {source}; set TMPDIR to a folder with room")]
    Scratch {
        /// The system's folder for temporary files.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file.
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
    /// Something is not where this test expects it.
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

/// Tries every mutation, each in folders of its own that are deleted afterwards.
///
/// # Errors
/// [`SelftestError::Scratch`]. What goes wrong later is an outcome.
pub fn run(mutations: &[Mutation]) -> Result<Vec<MutationResult>, SelftestError> {
    let verdict = |mutation: &Mutation| {
        let outcome = outcome(mutation)?;
        Ok(MutationResult { name: mutation.name, injected: mutation.injected, outcome })
    };
    mutations.iter().map(verdict).collect()
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

/// What the detector says, on one line and without the scratch folder's name.
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
            let verdicts = run(&mutations).unwrap();
            for (at, verdict) in verdicts.iter().enumerate() {
                assert_eq!(verdict.is_caught(), at != index, "{verdict:?}");
            }
            let text = text(&verdicts);
            assert!(text.contains(&format!("MISSED: {}", verdicts[index].name)), "{text}");
            assert!(text.ends_with("5 of 6 injected faults caught\n"), "{text}");
        }
    }

    #[test]
    fn every_fault_is_caught_and_every_control_is_quiet() {
        let mutations = mutations();
        let verdicts = run(&mutations).unwrap();
        for verdict in &verdicts {
            assert!(verdict.is_caught(), "{verdict:?}");
        }
        let mut names: Vec<&str> = verdicts.iter().map(|verdict| verdict.injected).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), verdicts.len(), "two mutations inject the same");
    }
}
