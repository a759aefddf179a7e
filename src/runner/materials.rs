//! Finds what rows of a folder would be made from now, because one folder must not mix two versions of a file. Only a worker
//! opens models and inputs, so the parent asks one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use super::RunnerError;
use super::child::{Reply, Worker};
use super::progress::ProgressDisplay;
use super::protocol::{Opened, Request, Response, Settings};
use crate::engine::BackendKind;
use crate::files::joined;
use crate::libraries;
use crate::model::{ModelSource, RawFiles, WeightsOrigin, WeightsProvenance};
use crate::plan::{Configuration, ConfigurationId, Plan};
use crate::provenance::arithmetic;
use crate::record::{Changed, Failure, FailureKind, Materials, Record, differing};

/// The present weights and other materials of the configurations that have rows.
#[derive(Debug, Default)]
pub(super) struct CurrentMaterials {
    settings_sha256: String,
    weights: BTreeMap<String, WeightsProvenance>,
    /// What was read for a model and an input.
    read: BTreeMap<(String, String), Materials>,
    /// The models and inputs that cannot be opened.
    refused: BTreeMap<(String, String), Refused>,
    libraries: BTreeMap<BackendKind, BTreeMap<String, String>>,
}

/// Something that a row was made from and that is another now; its text says so of a number of rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Replacement {
    /// Labels of the model's weights.
    Weights { model: String, before: String, now: String },
    /// The name of anything else.
    Other(String),
    /// The name of a file that is gone or unreadable.
    Gone(String),
    /// The name of a file that was another, or absent, when a row failed.
    OfFailure(String),
}

impl Replacement {
    /// The sentence about this many rows.
    pub fn notice(&self, rows: usize) -> String {
        match self {
            Replacement::Weights { model, before, now } => format!(
                "{model}: {rows} row(s) of this folder were measured with other weights ({before}) than the model has now \
                 ({now}) and are measured again"
            ),
            Replacement::Other(name) => format!(
                "{name}: {rows} row(s) of this folder were measured with another version of it than the present one and are \
                 measured again"
            ),
            Replacement::Gone(name) => format!(
                "{name}: {rows} row(s) of this folder were measured with it, and it is not here any more; they are measured again"
            ),
            Replacement::OfFailure(name) => format!(
                "{name}: {rows} row(s) of this folder failed when it was another or absent, and are measured again"
            ),
        }
    }
}

/// Why a model or its input cannot be opened, and the files that are there instead.
#[derive(Debug)]
pub(super) struct Refused {
    /// The model, or the model and its input.
    pub what: String,
    reason: String,
    files: RawFiles,
}

impl Refused {
    /// The sentence about this many rows that were made from the same bytes.
    pub fn notice(&self, rows: usize) -> String {
        let Refused { what, reason, .. } = self;
        format!(
            "{what}: {rows} row(s) of this folder stay as they are, though what they were measured with is refused now: {reason}"
        )
    }

    /// The files that a row was made from and that have other bytes now.
    fn replacements(&self, of: &Configuration, row: &Record) -> Vec<Replacement> {
        let mut found = Vec::new();
        let mut compare = |before: Option<&String>, now: Option<&String>, name: &dyn Fn() -> String| match (before, now)
        {
            (None, _) => {}
            (Some(_), None) => found.push(Replacement::Gone(name())),
            (Some(before), Some(now)) if before != now => found.push(Replacement::Other(name())),
            _ => {}
        };
        if let Some(before) = row.outcome.materials() {
            let named = |changed: Changed| move || name(&changed, of);
            compare(before.config_sha256.as_ref(), self.files.config_sha256.as_ref(), &named(Changed::Config));
            compare(before.input_sha256.as_ref(), self.files.input_sha256.as_ref(), &named(Changed::Input));
            for (file, digest) in &before.tokenizer {
                compare(Some(digest), self.files.tokenizer.get(file), &named(Changed::Tokenizer(file.clone())));
            }
            let new = self.files.tokenizer.keys().filter(|file| !before.tokenizer.contains_key(*file));
            let new = new.filter(|_| !before.tokenizer.is_empty()).map(|file| Changed::Tokenizer(file.clone()));
            found.extend(new.map(|file| Replacement::Other(name(&file, of))));
        }
        found
    }

    /// The weights that are there, with the outlier that is added to others.
    fn weights(&self, before: &WeightsProvenance) -> Option<WeightsProvenance> {
        let origin = WeightsOrigin::Folder { sha256: self.files.weights_sha256.clone()? };
        Some(WeightsProvenance { origin, outlier: before.outlier })
    }
}

/// The configurations of one model and input that have rows.
struct Asked<'a> {
    configuration: &'a Configuration,
    rows: usize,
}

impl CurrentMaterials {
    /// Asks a worker about every model and input with rows in `earlier` and about models that may have other weights, and
    /// reports where random weights stand in. Of what cannot be opened, the bytes are read.
    pub fn ask(
        plan: &Plan,
        earlier: &BTreeMap<&ConfigurationId, &Record>,
        limit: Duration,
        progress: &ProgressDisplay,
    ) -> Result<ControlFlow<(), Self>, RunnerError> {
        let mut found = CurrentMaterials { settings_sha256: plan.protocol_sha256(), ..CurrentMaterials::default() };
        let measured = |of: &Configuration| earlier.get(&of.id).is_some_and(|row| row.outcome.weights().is_some());
        for (model, inputs) in wanted(plan, measured) {
            progress.working_on(&format!("opening {model}"));
            let mut worker = Worker::spawn(None)?;
            for Asked { configuration, rows } in inputs {
                let request = Request::Open {
                    settings: Settings::of(plan),
                    configuration: Box::new(configuration.clone()),
                    input: rows > 0,
                };
                let reply = worker.call(&request, limit)?;
                if matches!(reply, Reply::Interrupted) {
                    return Ok(ControlFlow::Break(()));
                }
                let alive = matches!(reply, Reply::Response(_));
                if let Err((what, reason)) = found.understand(configuration, reply, progress)
                    && rows > 0
                {
                    found.read_raw(plan, configuration, what, reason);
                }
                if !alive {
                    worker = Worker::spawn(None)?;
                }
            }
            worker.finish();
        }
        let backends: BTreeSet<BackendKind> =
            plan.configurations.iter().filter(|one| measured(one)).map(|one| one.backend).collect();
        found.libraries = backends.into_iter().map(|kind| (kind, libraries::digests(kind))).collect();
        Ok(ControlFlow::Continue(found))
    }

    /// Keeps what a worker has opened; otherwise returns what it has not, and why.
    fn understand(
        &mut self,
        of: &Configuration,
        reply: Reply,
        progress: &ProgressDisplay,
    ) -> Result<(), (String, String)> {
        let opened = match reply {
            Reply::Response(response) => match *response {
                Response::Opened(opened) => opened,
                Response::Replaced(file) => Err(format!("{file} changed while it was read")),
                other => Err(format!("the worker sent an unexpected response: {other:?}")),
            },
            Reply::Died(failure) => Err(failure.reason),
            Reply::TimedOut | Reply::Interrupted => Err("it took too long".to_owned()),
        };
        let Opened { weights, materials } = opened.map_err(|reason| (of.model.clone(), reason))?;
        if self.weights.insert(of.model.clone(), weights.clone()).is_none() && weights.stands_in_for().is_some() {
            progress.notice(&of.model_source.stand_in_notice(&of.model));
        }
        let materials = materials.map_err(|reason| (format!("{}, input {}", of.model, of.input), reason))?;
        self.read.insert((of.model.clone(), of.input.clone()), materials);
        Ok(())
    }

    fn read_raw(&mut self, plan: &Plan, of: &Configuration, what: String, reason: String) {
        let refused = Refused { what, reason, files: files_here(plan, of) };
        self.refused.insert((of.model.clone(), of.input.clone()), refused);
    }

    /// Why the model or the input of a configuration cannot be opened, where it cannot.
    pub fn refused(&self, of: &Configuration) -> Option<&Refused> {
        self.refused.get(&(of.model.clone(), of.input.clone()))
    }

    /// Libraries that a row of this environment was measured with and that are not found now.
    pub fn missing_libraries(&self, of: &Configuration, row: &Record, environment: &str) -> Vec<String> {
        let before = row.outcome.materials().filter(|_| row.environment == environment);
        let names = before.into_iter().flat_map(|before| before.libraries.keys());
        let now = self.libraries.get(&of.backend);
        names.filter(|name| now.is_some_and(|now| !now.contains_key(*name))).cloned().collect()
    }

    /// Whether what this row was made from can be opened and is the same now.
    pub fn reproduces(&self, configuration: &Configuration, row: &Record, environment: &str) -> bool {
        let states = row.outcome.materials().is_some();
        states && self.refused(configuration).is_none() && self.replacements(configuration, row, environment).is_empty()
    }

    /// What this row was made from and its configuration is not made from now. Libraries are compared only where the row is
    /// of this environment: those of another machine may differ.
    pub fn replacements(&self, configuration: &Configuration, row: &Record, environment: &str) -> Vec<Replacement> {
        let model = &configuration.model;
        let refused = self.refused(configuration);
        let replaced = |before: &WeightsProvenance| {
            let now = self.weights.get(model).cloned().or_else(|| refused?.weights(before));
            match now {
                Some(now) if before.same_weights(&now) => None,
                Some(now) => {
                    let (before, now) = (before.to_string(), now.to_string());
                    Some(Replacement::Weights { model: model.clone(), before, now })
                }
                None => refused.filter(|_| !before.is_random()).map(|_| Replacement::Gone(format!("{model}: weights"))),
            }
        };
        let weights = row.outcome.weights().and_then(replaced);
        let unread = || Materials {
            config_sha256: None,
            tokenizer: BTreeMap::new(),
            input_sha256: None,
            libraries: BTreeMap::new(),
            settings_sha256: self.settings_sha256.clone(),
            arithmetic_sha256: None,
        };
        let read = self.read.get(&(model.clone(), configuration.input.clone()));
        let libraries = self.libraries.get(&configuration.backend).filter(|_| row.environment == environment);
        let now = Materials {
            libraries: libraries.cloned().unwrap_or_default(),
            arithmetic_sha256: arithmetic::sha256(configuration.backend).map(str::to_owned),
            ..read.cloned().unwrap_or_else(unread)
        };
        let changed = row.outcome.materials().map(|before| before.changed(&now)).unwrap_or_default();
        let others = changed.into_iter().map(|changed| match &changed {
            Changed::Tokenizer(file) if !now.tokenizer.contains_key(file) => {
                Replacement::Gone(name(&changed, configuration))
            }
            _ => Replacement::Other(name(&changed, configuration)),
        });
        let raw = refused.into_iter().flat_map(|refused| refused.replacements(configuration, row));
        weights.into_iter().chain(others).chain(raw).collect()
    }
}

/// The models to open, each with its inputs: those with rows, and of a model that may have other weights at least one.
fn wanted<'a>(plan: &'a Plan, measured: impl Fn(&Configuration) -> bool) -> BTreeMap<&'a str, Vec<Asked<'a>>> {
    let mut models: BTreeMap<&str, Vec<Asked>> = BTreeMap::new();
    for configuration in &plan.configurations {
        let source = configuration.model_source.base();
        let may_stand_in = source.stand_in().is_some() || matches!(source, ModelSource::FirstOf { .. });
        let has_row = reads_files(configuration) && measured(configuration);
        if !has_row && (!may_stand_in || models.contains_key(configuration.model.as_str())) {
            continue;
        }
        let inputs = models.entry(&configuration.model).or_default();
        match inputs.iter_mut().find(|asked| asked.configuration.input == configuration.input) {
            Some(asked) => asked.rows += usize::from(has_row),
            None => inputs.push(Asked { configuration, rows: usize::from(has_row) }),
        }
    }
    models
}

/// Whether its model or its input is read from files.
fn reads_files(of: &Configuration) -> bool {
    !matches!(of.model_source.base(), ModelSource::Random { .. }) || of.input_source.path().is_some()
}

/// Whether a failure is told with the files of its configuration: a backend that is not available has read none.
pub(super) fn states_files(of: &Configuration, failure: &Failure) -> bool {
    failure.kind != FailureKind::Unavailable && reads_files(of)
}

/// The files of a configuration as they are now, whether they can be opened or not.
pub(super) fn files_here(plan: &Plan, of: &Configuration) -> RawFiles {
    let folder = of.model_source.checkpoint_here(&plan.base_dir).and_then(|source| source.folder(&plan.base_dir));
    let input = of.input_source.path().map(|path| joined(&plan.base_dir, path));
    RawFiles::of(folder.as_deref(), input.as_deref())
}

/// The files that were others, or absent, when a row failed.
pub(super) fn replaced_since_failure(of: &Configuration, before: &RawFiles, now: &RawFiles) -> Vec<Replacement> {
    let changed = |differs: bool, what: Changed| differs.then(|| name(&what, of));
    let single = [
        (before.weights_sha256 != now.weights_sha256).then(|| format!("{}: weights", of.model)),
        changed(before.config_sha256 != now.config_sha256, Changed::Config),
        changed(before.input_sha256 != now.input_sha256, Changed::Input),
    ];
    let tokenizer = differing(&before.tokenizer, &now.tokenizer).into_iter().map(Changed::Tokenizer);
    let names = single.into_iter().flatten().chain(tokenizer.map(|what| name(&what, of)));
    names.map(Replacement::OfFailure).collect()
}

/// What a change is called in a message.
fn name(changed: &Changed, of: &Configuration) -> String {
    match (changed, of.input_source.path()) {
        (Changed::Config | Changed::Tokenizer(_), _) => format!("{}: {changed}", of.model),
        (Changed::Input, Some(path)) => format!("{} (input {})", path.display(), of.input),
        (Changed::Arithmetic, _) => format!("{changed} ({})", of.backend),
        _ => changed.to_string(),
    }
}
