//! A fake backend for testing the runner, the store and the report without executing a model.
//!
//! Its outputs are a hash of the token ids, so a row of a batch equals the row alone, and a forward pass takes microseconds.
//! Weights are never read. The environment variable [`FAULT_VARIABLE`] requests faults.

use std::alloc::{Layout, handle_alloc_error};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{
    Availability, Backend, BackendError, BackendKind, Build, BuildRequest, Engine, EngineDescription, MemoryBreakdown,
    Output,
};
use crate::graph::{OutputKind, PrecisionPolicy, Shape, ValueShape};
use crate::input::Batch;
use crate::model::Model;

/// Faults to act out, comma-separated, each `KIND`, or `KIND@BATCHxSEQUENCE` for one shape only, like
/// `crash@1x16,nan@2x16`. Kinds are those of [`MockFault`]; with anything else every configuration fails.
pub const FAULT_VARIABLE: &str = "MIXPREC_MOCK_FAULT";

/// A fault that the backend can act out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MockFault {
    /// `unavailable`: the backend says it cannot run here.
    Unavailable,
    /// `load`: the weights cannot be loaded.
    Load,
    /// `build`: building returns an error.
    Build,
    /// `error`: executing returns an error.
    Error,
    /// `panic`: executing panics.
    Panic,
    /// `crash`: executing aborts the process.
    Crash,
    /// `exit`: executing ends the process with exit code 3.
    Exit,
    /// `oom`: an allocation fails in the way the global allocator fails when memory is short.
    Oom,
    /// `oomerror`: the library reports that the device is out of memory.
    OomError,
    /// `hang`: executing never returns.
    Hang,
    /// `slow`: a forward pass takes 20 ms.
    Slow,
    /// `chatter`: the library prints an incomplete line to standard output.
    Chatter,
    /// `nan`: the first output element is NaN.
    Nan,
}

impl MockFault {
    const NAMES: [(&'static str, MockFault); 13] = [
        ("unavailable", MockFault::Unavailable),
        ("load", MockFault::Load),
        ("build", MockFault::Build),
        ("error", MockFault::Error),
        ("panic", MockFault::Panic),
        ("crash", MockFault::Crash),
        ("exit", MockFault::Exit),
        ("oom", MockFault::Oom),
        ("oomerror", MockFault::OomError),
        ("hang", MockFault::Hang),
        ("slow", MockFault::Slow),
        ("chatter", MockFault::Chatter),
        ("nan", MockFault::Nan),
    ];
}

/// A fault and the shape it is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlannedFault {
    fault: MockFault,
    shape: Option<Shape>,
}

/// The faults that the environment variable requests.
fn planned() -> Result<Vec<PlannedFault>, BackendError> {
    let text = std::env::var(FAULT_VARIABLE).unwrap_or_default();
    parse(&text).map_err(|entry| BackendError::Execution {
        backend: BackendKind::Mock,
        message: format!("{FAULT_VARIABLE} holds `{entry}`, which is no KIND or KIND@BATCHxSEQUENCE"),
    })
}

/// Parses a list of faults; the error is the entry that is no fault.
fn parse(text: &str) -> Result<Vec<PlannedFault>, &str> {
    let entry = |entry| {
        let (name, shape) = match str::split_once(entry, '@') {
            Some((name, shape)) => (name, Some(parse_shape(shape).ok_or(entry)?)),
            None => (entry, None),
        };
        let (_, fault) = MockFault::NAMES.into_iter().find(|(known, _)| *known == name).ok_or(entry)?;
        Ok(PlannedFault { fault, shape })
    };
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(entry).collect()
}

fn parse_shape(text: &str) -> Option<Shape> {
    let (batch, sequence) = text.split_once('x')?;
    Some(Shape { batch: batch.parse().ok()?, sequence: sequence.parse().ok()? })
}

/// The fake backend.
#[derive(Debug)]
pub struct MockBackend;

impl Backend for MockBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Mock
    }

    fn availability(&self) -> Result<Availability, BackendError> {
        if planned()?.iter().any(|planned| planned.fault == MockFault::Unavailable) {
            let reason = format!("{FAULT_VARIABLE} asks for it");
            return Err(BackendError::Unavailable { backend: BackendKind::Mock, reason });
        }
        Ok(Availability::executes("always available"))
    }

    fn load(&self, _model: &Arc<Model>, _policy: &PrecisionPolicy) -> Result<(), BackendError> {
        if planned()?.iter().any(|planned| planned.fault == MockFault::Load) {
            return Err(execution("no weights"));
        }
        Ok(())
    }

    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError> {
        let mut faults = planned()?;
        faults.retain(|planned| planned.shape.is_none_or(|shape| shape == request.shape));
        let faults: Vec<MockFault> = faults.into_iter().map(|planned| planned.fault).collect();
        if faults.contains(&MockFault::Build) {
            return Err(execution("no engine for this shape"));
        }
        let graph = &request.model.graph;
        let (rows, width) = match graph.value(graph.output).shape {
            ValueShape::Tokens(width) => (request.shape.tokens(), width),
            ValueShape::Sequences(width) => (request.shape.batch, width),
            ValueShape::Scores(heads) => (request.shape.tokens() * heads, request.shape.sequence),
        };
        let weights_bytes = graph.parameter_count() * 4;
        Ok(Build::of(MockEngine {
            shape: request.shape,
            kind: graph.output_kind,
            rows,
            width,
            weights_bytes,
            faults,
            row_hashes: Vec::new(),
            ids: Vec::new(),
        }))
    }
}

fn execution(message: &str) -> BackendError {
    BackendError::Execution { backend: BackendKind::Mock, message: message.to_owned() }
}

#[derive(Debug)]
struct MockEngine {
    shape: Shape,
    kind: OutputKind,
    rows: usize,
    width: usize,
    weights_bytes: u64,
    faults: Vec<MockFault>,
    ids: Vec<u32>,
    row_hashes: Vec<u64>,
}

impl MockEngine {
    fn act_out(&self) -> Result<(), BackendError> {
        for fault in &self.faults {
            match fault {
                MockFault::Error => return Err(execution("asked to fail")),
                MockFault::OomError => {
                    return Err(BackendError::OutOfMemory {
                        backend: BackendKind::Mock,
                        message: "asked to run out of device memory".to_owned(),
                    });
                }
                MockFault::Panic => std::panic::panic_any("asked to panic"),
                MockFault::Crash => std::process::abort(),
                MockFault::Exit => std::process::exit(3),
                MockFault::Oom => handle_alloc_error(Layout::new::<[u8; 1 << 40]>()),
                MockFault::Hang => loop {
                    std::thread::sleep(Duration::from_secs(1));
                },
                MockFault::Slow => std::thread::sleep(Duration::from_millis(20)),
                MockFault::Chatter => print!("library: half a line"),
                MockFault::Unavailable | MockFault::Load | MockFault::Build | MockFault::Nan => {}
            }
        }
        Ok(())
    }
}

impl Engine for MockEngine {
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError> {
        if batch.shape != self.shape {
            let (got, built) = (batch.shape, self.shape);
            return Err(BackendError::Inputs(format!(
                "a batch of {}x{} for an engine of {}x{}",
                got.batch, got.sequence, built.batch, built.sequence
            )));
        }
        self.ids.clone_from(&batch.ids);
        Ok(())
    }

    fn enqueue(&mut self) -> Result<(), BackendError> {
        self.act_out()?;
        let sequences = self.ids.chunks(self.shape.sequence.max(1));
        self.row_hashes = sequences.map(|ids| ids.iter().fold(0, |hash, &id| work(hash ^ u64::from(id)))).collect();
        Ok(())
    }

    fn outputs(&mut self) -> Result<Output, BackendError> {
        let per_sequence = self.rows / self.shape.batch.max(1) * self.width;
        let elements = self.row_hashes.iter().flat_map(|&hash| (0..per_sequence as u64).map(move |i| mix(hash ^ i)));
        // 24 bits fit an f32 exactly: every value is in [-1, 1).
        let mut values: Vec<f32> = elements.map(|bits| (bits >> 40) as f32 / (1_u32 << 23) as f32 - 1.0).collect();
        if self.faults.contains(&MockFault::Nan)
            && let Some(first) = values.first_mut()
        {
            *first = f32::NAN;
        }
        Ok(Output { kind: self.kind, rows: self.rows, width: self.width, values })
    }

    fn memory(&self) -> MemoryBreakdown {
        let activations_bytes = Some((self.rows * self.width * 4) as u64);
        MemoryBreakdown { weights_bytes: Some(self.weights_bytes), activations_bytes, ..MemoryBreakdown::default() }
    }

    fn describe(&self) -> EngineDescription {
        EngineDescription {
            library: format!("mock {}", env!("CARGO_PKG_VERSION")),
            device: "none".to_owned(),
            threads: None,
            emulated: true,
        }
    }
}

/// The work of one token: enough for a clock to measure, microseconds for a sequence.
fn work(bits: u64) -> u64 {
    (0..256).fold(bits, |bits, _| mix(bits))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(batch: usize, faults: Vec<MockFault>) -> MockEngine {
        MockEngine {
            shape: Shape { batch, sequence: 4 },
            kind: OutputKind::Hidden,
            rows: batch * 4,
            width: 8,
            weights_bytes: 0,
            faults,
            ids: Vec::new(),
            row_hashes: Vec::new(),
        }
    }

    fn outputs(engine: &mut MockEngine, ids: &[u32]) -> Vec<f32> {
        let shape = engine.shape;
        let batch = Batch::new(shape, ids.to_vec(), vec![4; shape.batch]);
        engine.bind(&batch).unwrap();
        engine.enqueue().unwrap();
        engine.outputs().unwrap().values
    }

    #[test]
    fn a_row_of_a_batch_equals_the_row_alone() {
        let both = outputs(&mut engine(2, vec![]), &[1, 2, 3, 4, 9, 8, 7, 6]);
        let second = outputs(&mut engine(1, vec![]), &[9, 8, 7, 6]);
        assert_eq!(both[32..], second);
        assert_ne!(both[..32], second);
        assert!(both.iter().all(|x| (-1.0..1.0).contains(x)));
    }

    #[test]
    fn faults_are_acted_out() {
        assert!(outputs(&mut engine(1, vec![MockFault::Nan]), &[1, 2, 3, 4])[0].is_nan());
        assert!(engine(1, vec![MockFault::Error]).enqueue().is_err());
        let wrong = Batch::new(Shape { batch: 2, sequence: 4 }, vec![], vec![]);
        let error = engine(1, vec![]).bind(&wrong).unwrap_err().to_string();
        assert_eq!(error, "inputs do not fit the engine: a batch of 2x4 for an engine of 1x4");
    }

    #[test]
    fn fault_lists_are_parsed_strictly() {
        let shape = Some(Shape { batch: 2, sequence: 16 });
        let list =
            [PlannedFault { fault: MockFault::Crash, shape }, PlannedFault { fault: MockFault::Nan, shape: None }];
        assert_eq!(parse("crash@2x16, nan").unwrap(), list);
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("crash@2"), Err("crash@2"));
        assert_eq!(parse("nan,explode@1x1"), Err("explode@1x1"));
    }
}
