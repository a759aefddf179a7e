//! One engine that takes samples on request, so that its samples can be interleaved with those of another program. Requests
//! come on standard input, one JSON document per line, and answers go to standard output in the same form:
//!
//! ```text
//! -> {"ready": {"model": "random weights, seed 0", "build_s": 1.25, "library": "...", "device": "...", ...}}
//! <- {"block": 3, "warmup": 1}
//! -> {"device_ms": [0.201, 0.202, 0.201], "wall_ms": [0.214, 0.213, 0.214]}
//! ```
//!
//! `device_ms` is null if the engine has no device. The engine stays loaded between blocks and is idle.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::backend::backend;
use crate::engine::{BackendError, BackendKind, BuildRequest, Engine, EngineDescription};
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::input::{InputError, InputSource, InputStream};
use crate::measure::clock::Clock;
use crate::model::{Head, Model, ModelArgument, ModelError};

/// Most samples of one block, so that even a mistyped request ends.
const MAX_SAMPLES: usize = 1_000_000;

/// Seed of the token ids, which are uniform: no row is padded.
const IDS_SEED: u64 = 0;

/// What to time.
#[derive(Debug, Clone)]
pub struct TimingRequest {
    /// Model.
    pub model: ModelArgument,
    /// Head.
    pub head: Head,
    /// Backend.
    pub backend: BackendKind,
    /// Policy.
    pub precision: Preset,
    /// Batch size and sequence length.
    pub shape: Shape,
}

/// Why an engine cannot be timed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum TimingError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its token ids.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The engine.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A line is no request.
    #[error("standard input, line {line}: {message}; ask for samples as in {{\"block\": 100, \"warmup\": 3}}")]
    Request { line: usize, message: String },
    /// A standard stream failed.
    #[error("standard {stream}: {source}")]
    Io { stream: &'static str, source: io::Error },
}

/// The first answer, before any request.
#[derive(Debug, Clone, Serialize)]
struct Ready {
    /// Where the weights come from.
    model: String,
    /// Seconds to build the engine, weights loaded.
    build_s: f64,
    #[serde(flatten)]
    engine: EngineDescription,
}

/// A request for samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    /// Number of samples.
    block: usize,
    /// Untimed forward passes before them, since the device did other work in between.
    #[serde(default)]
    warmup: usize,
}

/// Samples in the order taken, milliseconds per forward pass.
#[derive(Debug, Clone, Serialize)]
struct Samples {
    /// The device's own time.
    device_ms: Option<Vec<f64>>,
    /// Wall time on the host.
    wall_ms: Vec<f64>,
}

/// Builds the engine, reports it, and answers requests until the input ends.
///
/// # Errors
/// [`TimingError`], one message that names the place and the cure.
pub fn serve(request: &TimingRequest, input: impl BufRead, mut output: impl Write) -> Result<(), TimingError> {
    let (mut engine, ready) = build(request)?;
    let mut clock = Clock::of(engine.as_ref())?;
    answer(&mut output, &serde_json::json!({ "ready": ready }))?;
    for (index, line) in input.lines().enumerate() {
        let line = line.map_err(|source| TimingError::Io { stream: "input", source })?;
        let block = parse(&line).map_err(|message| TimingError::Request { line: index + 1, message })?;
        answer(&mut output, &sample(engine.as_mut(), &mut clock, block)?)?;
    }
    Ok(())
}

fn build(request: &TimingRequest) -> Result<(Box<dyn Engine>, Ready), TimingError> {
    let model = Model::open(&request.model.name, &request.model.source, Path::new("."), request.head)?;
    let model = Arc::new(model);
    let source = InputSource::Random { seed: IDS_SEED };
    let input = InputStream::open(&source, Path::new("."), &model)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let policy = PrecisionPolicy::preset(request.precision);
    let backend = backend(request.backend)?;
    backend.availability()?;
    backend.load(&model, &policy)?;
    let start = Instant::now();
    let to_build = BuildRequest::new(Arc::clone(&model), policy, request.shape, threads);
    let mut engine = backend.build(&BuildRequest { padded: source.is_padded(), ..to_build })?.engine?;
    let build_s = start.elapsed().as_secs_f64();
    engine.bind(&input.batch(request.shape, 0)?)?;
    let ready = Ready { model: model.provenance.to_string(), build_s, engine: engine.describe() };
    Ok((engine, ready))
}

fn parse(line: &str) -> Result<Block, String> {
    let block: Block = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match block.block.max(block.warmup) <= MAX_SAMPLES && block.block > 0 {
        true => Ok(block),
        false => Err(format!("a block has 1 to {MAX_SAMPLES} samples")),
    }
}

fn sample(engine: &mut dyn Engine, clock: &mut Clock, block: Block) -> Result<Samples, BackendError> {
    for _ in 0..block.warmup {
        clock.sample(engine)?;
    }
    let mut samples = Samples { device_ms: clock.has_device_time().then(Vec::new), wall_ms: Vec::new() };
    for _ in 0..block.block {
        let taken = clock.sample(engine)?;
        samples.wall_ms.push(taken.wall_ms);
        if let (Some(device_ms), Some(ms)) = (&mut samples.device_ms, taken.device_ms) {
            device_ms.push(ms);
        }
    }
    Ok(samples)
}

/// Writes one line. The newline before it ends an incomplete line that a library may have left on standard output.
fn answer(output: &mut impl Write, document: &impl Serialize) -> Result<(), TimingError> {
    let text = serde_json::to_string(document).map_err(io::Error::from);
    let written = text.and_then(|text| write!(output, "\n{text}\n")).and_then(|()| output.flush());
    written.map_err(|source| TimingError::Io { stream: "output", source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DeviceTimer;

    #[test]
    fn a_block_is_asked_for_in_so_many_words() {
        assert_eq!(parse(r#"{"block": 3}"#), Ok(Block { block: 3, warmup: 0 }));
        assert_eq!(parse(r#"{"block": 3, "warmup": 2}"#), Ok(Block { block: 3, warmup: 2 }));
        for (line, message) in [
            ("", "EOF"),
            ("7", "expected struct Block"),
            (r#"{"blocks": 3}"#, "unknown field `blocks`"),
            (r#"{"block": 0}"#, "1 to 1000000 samples"),
            (r#"{"block": 1, "warmup": 1000001}"#, "1 to 1000000 samples"),
            (r#"{"block": -1}"#, "invalid value"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
    }

    fn request() -> TimingRequest {
        TimingRequest {
            head: Head::Natural,
            model: "bert-tiny:1".parse().unwrap(),
            backend: BackendKind::Reference,
            precision: Preset::Fp32,
            shape: Shape { batch: 2, sequence: 8 },
        }
    }

    #[test]
    fn requests_are_answered_in_order_until_the_input_ends() {
        let request = request();
        let mut output = Vec::new();
        serve(&request, &b"{\"block\": 4, \"warmup\": 1}\n{\"block\": 2}\n"[..], &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0]["ready"]["model"], "random weights, seed 1");
        assert_eq!(lines[0]["ready"]["emulated"], false);
        for (line, count) in lines[1..].iter().zip([4, 2]) {
            let samples = line["wall_ms"].as_array().unwrap();
            assert_eq!(samples.len(), count);
            assert!(samples.iter().all(|sample| sample.as_f64().unwrap() > 0.0), "{line}");
            assert!(line["device_ms"].is_null());
        }
        let error = serve(&request, &b"more\n"[..], io::sink()).unwrap_err().to_string();
        assert!(error.starts_with("standard input, line 1: ") && error.contains(r#"{"block": 100"#), "{error}");
    }

    /// A device on which every forward pass takes a quarter of a millisecond.
    struct Steady;

    impl DeviceTimer for Steady {
        fn start(&mut self) -> Result<(), String> {
            Ok(())
        }
        fn stop(&mut self) -> Result<(), String> {
            Ok(())
        }
        fn elapsed_ms(&mut self) -> Result<f64, String> {
            Ok(0.25)
        }
    }

    #[test]
    fn an_engine_on_a_device_has_both_times() {
        let (mut engine, _) = build(&request()).unwrap();
        let block = Block { block: 3, warmup: 1 };
        let samples = sample(engine.as_mut(), &mut Clock::with(Steady), block).unwrap();
        assert_eq!((samples.device_ms, samples.wall_ms.len()), (Some(vec![0.25; 3]), 3));
    }
}
