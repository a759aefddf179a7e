//! The messages between parent and worker, one JSON document per line. Requests go to the worker's standard input;
//! responses come from its standard output.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::{BackendKind, BuildProgress};
use crate::manifest::schema::{Measurement, NoiseFloorTest, Numerics, Tolerance};
use crate::model::WeightsProvenance;
use crate::numerics::Part;
use crate::plan::{Configuration, Plan};
use crate::record::telemetry::Telemetry;
use crate::record::{Failure, Materials, Outcome};

/// The settings shared by all configurations of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub base_dir: PathBuf,
    pub measurement: Measurement,
    pub noise_floor: Option<NoiseFloorTest>,
    pub numerics: Numerics,
    pub tolerances: BTreeMap<String, Tolerance>,
    /// Digest of all of these, as rows carry it.
    pub protocol_sha256: String,
}

impl Settings {
    pub fn of(plan: &Plan) -> Self {
        Settings {
            base_dir: plan.base_dir.clone(),
            measurement: plan.measurement,
            noise_floor: plan.noise_floor.clone(),
            numerics: plan.numerics,
            tolerances: plan.tolerances.clone(),
            protocol_sha256: plan.protocol_sha256(),
        }
    }
}

/// The FP32 references of a configuration: the folder with all files, and of both kinds of files why there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct References {
    pub dir: PathBuf,
    /// Why the first sequences have none.
    pub compared_missing: Option<String>,
    /// Why those of forwards have none.
    pub forwards_missing: Option<String>,
}

/// A request from parent to worker. The response of the same name answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Ask whether the backend can execute on this machine.
    Probe { settings: Settings, backend: BackendKind },
    /// Open this configuration's model and, where asked, its input.
    Open { settings: Settings, configuration: Box<Configuration>, input: bool },
    /// Ensure that this file holds this part of the reference outputs of this configuration.
    Reference { settings: Settings, configuration: Box<Configuration>, part: Part, path: PathBuf },
    /// Build an engine of this configuration, for the next request.
    Prepare { settings: Settings, configuration: Box<Configuration> },
    /// Take this process's share of the samples of this configuration with the engine that was prepared.
    Sample { settings: Settings, configuration: Box<Configuration> },
    /// Measure this configuration, with this process's share of the samples.
    Measure { settings: Settings, configuration: Box<Configuration>, references: References },
}

/// What a backend can do on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probed {
    /// Whether its engines can be executed here as well as built.
    pub executes: bool,
}

/// What a worker has opened for a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Opened {
    /// Where the weights of the model came from, as stored in rows.
    pub weights: WeightsProvenance,
    /// What else was read, or why the input was not. Libraries are not among it.
    pub materials: Result<Materials, String>,
}

/// What a further process adds to a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ProcessSamples {
    /// In the order taken, milliseconds of wall time per forward.
    pub samples_ms: Vec<f64>,
    /// Telemetry of the machine during them.
    pub telemetry: Telemetry,
}

/// A response from worker to parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Response {
    /// Progress of a build. Any number of these precede the response proper.
    Building(BuildProgress),
    Probed(Result<Probed, Failure>),
    Opened(Result<Opened, String>),
    /// What the reference was computed from.
    Referenced(Result<Opened, String>),
    Prepared(Result<(), Failure>),
    Sampled(Result<ProcessSamples, Failure>),
    Measured(Outcome),
    /// This file was changed since the worker read it. Nothing that the worker would answer has one origin; another worker
    /// reads the file anew.
    Replaced(String),
}
