//! What parent and worker say to each other: one JSON document a line, requests to the worker's standard input, responses
//! from its standard output.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::{BackendKind, BuildProgress};
use crate::manifest::schema::{Measurement, NoiseFloor, Numerics, Tolerance};
use crate::plan::{Configuration, Plan};
use crate::record::{Failure, Outcome};

/// What is the same for all configurations of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub base_dir: PathBuf,
    pub measurement: Measurement,
    pub noise_floor: Option<NoiseFloor>,
    pub numerics: Numerics,
    pub tolerances: BTreeMap<String, Tolerance>,
}

impl Settings {
    pub fn of(plan: &Plan) -> Self {
        Settings {
            base_dir: plan.base_dir.clone(),
            measurement: plan.measurement,
            noise_floor: plan.noise_floor.clone(),
            numerics: plan.numerics,
            tolerances: plan.tolerances.clone(),
        }
    }
}

/// Where a configuration's FP32 reference is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ReferenceLocation {
    File(PathBuf),
    /// There is none, and why.
    Missing(String),
}

/// Parent to worker. Each is answered by the response named after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Whether the backend can execute here at all.
    Probe { settings: Settings, backend: BackendKind },
    /// Open this configuration's model.
    Open { settings: Settings, configuration: Box<Configuration> },
    /// Make sure that this file holds the reference outputs of this configuration.
    Reference { settings: Settings, configuration: Box<Configuration>, path: PathBuf },
    /// Measure this configuration.
    Measure { settings: Settings, configuration: Box<Configuration>, reference: ReferenceLocation },
}

/// What a backend can do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probed {
    /// Its engines can be executed here, not only built.
    pub executes: bool,
}

/// What opening a model tells of its weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenedModel {
    /// As rows have it.
    pub provenance: String,
    /// They are random.
    pub drawn: bool,
}

/// Worker to parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Response {
    /// Not an answer: before one, any number of times.
    Building(BuildProgress),
    Probed(Result<Probed, Failure>),
    Opened(Result<OpenedModel, String>),
    Referenced(Result<(), String>),
    Measured(Outcome),
}
