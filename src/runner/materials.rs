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
use crate::libraries;
use crate::model::{ModelSource, WeightsProvenance};
use crate::plan::{Configuration, ConfigurationId, Plan};
use crate::provenance::arithmetic;
use crate::record::{Changed, Materials, Record};

/// The present weights and other materials of the configurations that have rows.
#[derive(Debug, Default)]
pub(super) struct CurrentMaterials {
    settings_sha256: String,
    weights: BTreeMap<String, WeightsProvenance>,
    /// What was read for a model and an input.
    read: BTreeMap<(String, String), Materials>,
    libraries: BTreeMap<BackendKind, BTreeMap<String, String>>,
}

/// Something that a row was made from and that is another now; its text says so of a number of rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Replacement {
    /// Labels of the model's weights.
    Weights { model: String, before: String, now: String },
    /// The name of anything else.
    Other(String),
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
        }
    }
}

/// Numbers of rows by what could not be opened and why.
type Unread = BTreeMap<(String, String), usize>;

/// The configurations of one model and input that have rows.
struct Asked<'a> {
    configuration: &'a Configuration,
    rows: usize,
}

impl CurrentMaterials {
    /// Asks a worker about every model and input with rows in `earlier` and about models that may have other weights, and
    /// reports where random weights stand in. What cannot be opened is reported: its rows stay, and new rows fail with the
    /// reason.
    pub fn ask(
        plan: &Plan,
        earlier: &BTreeMap<&ConfigurationId, &Record>,
        limit: Duration,
        progress: &ProgressDisplay,
    ) -> Result<ControlFlow<(), Self>, RunnerError> {
        let mut found = CurrentMaterials { settings_sha256: plan.protocol_sha256(), ..CurrentMaterials::default() };
        let mut unread = Unread::default();
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
                found.understand(&Asked { configuration, rows }, reply, &mut unread, progress);
                if !alive {
                    worker = Worker::spawn(None)?;
                }
            }
            worker.finish();
        }
        for ((what, reason), rows) in unread {
            progress.notice(&format!(
                "{what}: {rows} row(s) of this folder stay as they are, for what they were measured with cannot be compared with \
                 what is here now: {reason}"
            ));
        }
        let backends: BTreeSet<BackendKind> =
            plan.configurations.iter().filter(|one| measured(one)).map(|one| one.backend).collect();
        found.libraries = backends.into_iter().map(|kind| (kind, libraries::digests(kind))).collect();
        Ok(ControlFlow::Continue(found))
    }

    fn understand(&mut self, asked: &Asked<'_>, reply: Reply, unread: &mut Unread, progress: &ProgressDisplay) {
        let Asked { configuration: of, rows } = asked;
        let opened = match reply {
            Reply::Response(response) => match *response {
                Response::Opened(opened) => opened,
                Response::Replaced(file) => Err(format!("{file} changed while it was read")),
                other => Err(format!("the worker sent an unexpected response: {other:?}")),
            },
            Reply::Died(failure) => Err(failure.reason),
            Reply::TimedOut | Reply::Interrupted => Err("it took too long".to_owned()),
        };
        let mut kept = |what: String, reason: String| {
            if *rows > 0 {
                *unread.entry((what, reason)).or_default() += rows;
            }
        };
        match opened {
            Ok(Opened { weights, materials }) => {
                match materials {
                    Ok(materials) => drop(self.read.insert((of.model.clone(), of.input.clone()), materials)),
                    Err(reason) => kept(format!("{}, input {}", of.model, of.input), reason),
                }
                if self.weights.insert(of.model.clone(), weights.clone()).is_none() && weights.stands_in_for().is_some()
                {
                    progress.notice(&of.model_source.stand_in_notice(&of.model));
                }
            }
            Err(reason) => kept(of.model.clone(), reason),
        }
    }

    /// What this row was made from and its configuration is not made from now. Libraries are compared only where the row is
    /// of this environment: those of another machine may differ.
    pub fn replacements(&self, configuration: &Configuration, row: &Record, environment: &str) -> Vec<Replacement> {
        let model = &configuration.model;
        let weights =
            row.outcome.weights().zip(self.weights.get(model)).filter(|(before, now)| !before.same_weights(now));
        let weights = weights.map(|(before, now)| Replacement::Weights {
            model: model.clone(),
            before: before.to_string(),
            now: now.to_string(),
        });
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
        let others = changed.into_iter().map(|changed| Replacement::Other(name(&changed, configuration)));
        weights.into_iter().chain(others).collect()
    }
}

/// The models to open, each with its inputs: those with rows, and of a model that may have other weights at least one.
fn wanted<'a>(plan: &'a Plan, measured: impl Fn(&Configuration) -> bool) -> BTreeMap<&'a str, Vec<Asked<'a>>> {
    let mut models: BTreeMap<&str, Vec<Asked>> = BTreeMap::new();
    for configuration in &plan.configurations {
        let source = configuration.model_source.base();
        let may_stand_in = source.stand_in().is_some() || matches!(source, ModelSource::FirstOf { .. });
        let has_files = !matches!(source, ModelSource::Random { .. }) || configuration.input_source.path().is_some();
        let has_row = has_files && measured(configuration);
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

/// What a change is called in a message.
fn name(changed: &Changed, of: &Configuration) -> String {
    match (changed, of.input_source.path()) {
        (Changed::Config | Changed::Tokenizer(_), _) => format!("{}: {changed}", of.model),
        (Changed::Input, Some(path)) => format!("{} (input {})", path.display(), of.input),
        (Changed::Arithmetic, _) => format!("{changed} ({})", of.backend),
        _ => changed.to_string(),
    }
}
