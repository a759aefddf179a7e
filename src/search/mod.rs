//! `mixprec search`: which operations of a model need FP32 on an input, and the proof.
//!
//! A policy is tried by forwards of the input, each compared with the FP32 reference as in a run ([`crate::numerics`]). The
//! candidates are the operations that the policy at the start does not compute in FP32, ordered by headroom. Delta debugging
//! finds a set of them that keeps the tolerance in FP32 while none of its members can be dropped. The certificate names the
//! forward that needs each member, and how the set does on forwards that were held out.

mod candidates;
mod certify;
mod evaluator;
mod explore;
mod journal;
mod minimise;
mod page;
mod policy_yaml;
mod timing;
mod tolerance;

use std::path::PathBuf;

use thiserror::Error;

pub use certify::search;
pub use explore::Trial;
pub use tolerance::{DEFAULT_TOLERANCE, ForwardOutcome};

use crate::engine::{BackendError, BackendKind};
use crate::files::FileError;
use crate::graph::{PolicyError, PrecisionPolicy, Shape};
use crate::input::InputError;
use crate::lock::LockError;
use crate::manifest::schema::{InputEntry, ModelEntry, Numerics, SearchTolerance};
use crate::model::ModelError;
use crate::numerics::NumericsError;

/// Name of the file with the policy, an item of a manifest's `precisions:`.
pub const POLICY_FILE: &str = "policy.yaml";
/// Name of the file with the evidence for readers.
pub const CERTIFICATE_PAGE: &str = "certificate.md";

/// Name of the file with the token ids of all forwards.
pub const FORWARDS_FILE: &str = "forwards.json";

/// What to search.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// The model.
    pub model: ModelEntry,
    /// The input.
    pub input: InputEntry,
    /// The folder that relative paths of both start from.
    pub base_dir: PathBuf,
    /// The policy at the start.
    pub start: PrecisionPolicy,
    /// The limits that the policy found has to keep.
    pub tolerance: SearchTolerance,
    /// Which rows are broken.
    pub settings: Numerics,
    /// The backend to search on.
    pub backend: BackendKind,
    /// A second backend for the policy found.
    pub confirm: Option<BackendKind>,
    /// Batch size and sequence length.
    pub shape: Shape,
    /// Where the policy found is timed on a device.
    pub timed_shapes: Vec<Shape>,
    /// Forwards to search on, from the start of the input.
    pub forwards: usize,
    /// Further forwards to judge the policy found on.
    pub held_out: usize,
    /// Random supersets for the check of monotonicity.
    pub supersets: usize,
    /// Seed of their draw.
    pub seed: u64,
    /// CPU threads.
    pub threads: usize,
    /// The folder for the results.
    pub dir: PathBuf,
    /// The folder for journal and reference outputs, which searches of one model on one input may share.
    pub shared: PathBuf,
}

/// Progress of a search.
#[derive(Debug, Clone, Copy)]
pub enum SearchStep {
    /// A file with FP32 references is there.
    Reference {
        /// Files so far.
        done: usize,
        /// All.
        total: usize,
    },
    /// A set of operations was tried.
    Tried(Trial),
    /// The policy found is timed beside others at a shape.
    Timing(Shape),
}

/// Why a search cannot begin or go on.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum SearchError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// An engine.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The policy at the start.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The reference outputs.
    #[error(transparent)]
    Numerics(#[from] NumericsError),
    /// A file of the folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another search uses the folder.
    #[error("{path}: in use by the search with {holder}; wait for it, or name another folder with --out")]
    Locked { path: PathBuf, holder: String },
    /// The backend does not execute the policy here.
    #[error("{backend}: {reason}; choose another --backend, like reference")]
    Unsupported { backend: BackendKind, reason: String },
    /// The model has no engine of the shape.
    #[error("{}x{}: {error}; choose another batch size or sequence length (--batch, --seq)", shape.batch, shape.sequence)]
    UnfitShape { shape: Shape, error: BackendError },
    /// The input is too short.
    #[error(
        "input `{input}` has {rows} rows of {sequence} tokens; {forwards} forwards to search and {held_out} held out need \
         {needed}; lower --forwards, --held-out or --batch"
    )]
    FewRows { input: String, rows: usize, sequence: usize, forwards: usize, held_out: usize, needed: usize },
    /// The model has no engine of a shape to time.
    #[error("`time` asks for {}x{}: {error}; take it out", shape.batch, shape.sequence)]
    UntimedShape { shape: Shape, error: BackendError },
    /// The input fills no batch of a shape to time.
    #[error(
        "`time` asks for {}x{}, and input `{input}` has {rows} rows of {} tokens; take it out",
        shape.batch, shape.sequence, shape.sequence
    )]
    FewTimedRows { input: String, rows: usize, shape: Shape },
    /// There is nothing to search on.
    #[error("a search needs at least one forward; raise --forwards")]
    NoForward,
    /// A limit on a quantity that the output does not have.
    #[error("`{limit}` limits {reason}; leave it out of --tolerance")]
    UndefinedLimit { limit: &'static str, reason: String },
    /// A forward cannot be compared.
    #[error("forward {forward} was not compared: {reason}")]
    NoReference { forward: usize, reason: String },
    /// Not even FP32 is within the tolerance.
    #[error(
        "every operation in FP32 still breaks the tolerance on {breakage}; widen --tolerance, or search on another --backend"
    )]
    Unreachable { breakage: String },
    /// A document has no JSON form.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The page's template.
    #[error("{CERTIFICATE_PAGE}: {0}")]
    Template(#[from] tera::Error),
}
