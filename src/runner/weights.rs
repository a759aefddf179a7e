//! Finds the current weights of models whose manifest does not pin them or names several sources, because one folder must
//! not mix two sets of weights. Only a worker opens models, so the parent asks one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use super::RunnerError;
use super::child::{Reply, Worker};
use super::progress::ProgressDisplay;
use super::protocol::{Request, Response, Settings};
use crate::model::{ModelSource, WeightsProvenance};
use crate::plan::{Configuration, Plan};
use crate::record::{Outcome, Record};

/// Provenance by model name, of the models whose weights may change.
#[derive(Debug, Default)]
pub(super) struct CurrentWeights {
    now: BTreeMap<String, WeightsProvenance>,
}

impl CurrentWeights {
    /// Asks a worker about every model whose weights may differ from those of the rows in `earlier`, and reports where
    /// random weights stand in. A model that cannot be opened is skipped. Its rows stay, and new rows fail with the
    /// reason.
    pub fn ask(
        plan: &Plan,
        earlier: &[Record],
        limit: Duration,
        progress: &ProgressDisplay,
    ) -> Result<ControlFlow<(), Self>, RunnerError> {
        let measured: BTreeSet<_> =
            earlier.iter().filter(|row| row.outcome.weights().is_some()).map(|row| &row.id).collect();
        let mut wanted: BTreeMap<&str, &Configuration> = BTreeMap::new();
        for configuration in &plan.configurations {
            let asks = match configuration.model_source.base() {
                ModelSource::Hub { fallback, .. } => fallback.is_some(),
                ModelSource::Checkpoint { sha256, .. } => sha256.is_none() && measured.contains(&configuration.id),
                ModelSource::FirstOf { .. } => true,
                ModelSource::Random { .. } | ModelSource::Injected { .. } => false,
            };
            if asks {
                wanted.entry(&configuration.model).or_insert(configuration);
            }
        }
        let mut weights = CurrentWeights::default();
        for (model, configuration) in wanted {
            progress.working_on(&format!("opening {model}"));
            let request =
                Request::Open { settings: Settings::of(plan), configuration: Box::new(configuration.clone()) };
            let mut worker = Worker::spawn()?;
            let opened = match worker.call(&request, limit)? {
                Reply::Response(response) => {
                    worker.finish();
                    match *response {
                        Response::Opened(result) => result.ok(),
                        _ => None,
                    }
                }
                Reply::Died(_) | Reply::TimedOut => None,
                Reply::Interrupted => return Ok(ControlFlow::Break(())),
            };
            let Some(found) = opened else { continue };
            if found.stands_in_for().is_some() {
                progress.notice(&configuration.model_source.stand_in_notice(model));
            }
            weights.now.insert(model.to_owned(), found);
        }
        Ok(ControlFlow::Continue(weights))
    }

    /// Labels of the weights that this row was measured with and of those its model has now, where they differ.
    pub fn replacing(&self, configuration: &Configuration, row: &Outcome) -> Option<(String, String)> {
        let now = self.now.get(&configuration.model)?;
        row.weights().filter(|before| !before.same_weights(now)).map(|before| (before.to_string(), now.to_string()))
    }
}
