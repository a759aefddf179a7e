//! The reference backend beside ONNX Runtime on the same cores, in alternating blocks of one run. `make bench` runs it;
//! it needs python3 with onnxruntime, onnx and numpy, and the graph builder in ../shared/peers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use mixprec::backend::reference::ReferenceBackend;
use mixprec::backend::{Backend, BuildRequest, Engine};
use mixprec::graph::{PrecisionPolicy, Preset, Shape};
use mixprec::input::InputStream;
use mixprec::manifest::schema::{Architecture, InputSource, ModelSource};
use mixprec::measure::clock::sample;
use mixprec::model::{Head, Model};
use mixprec::stats::median;

const BLOCKS: usize = 6;
const PASSES: usize = 10;

/// A Python process that times one block whenever it is told to.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Builds the ONNX graph and starts the peer; `Err` is the reason to skip.
    fn start(shape: Shape, threads: usize) -> Result<(Peer, String), String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let builder = root.join("../shared/peers/make_onnx.py");
        if !builder.exists() {
            return Err(format!("{} is absent", builder.display()));
        }
        let (batch, sequence) = (shape.batch.to_string(), shape.sequence.to_string());
        let graph = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bert-base-{batch}x{sequence}.onnx"));
        let made = Command::new("python3").arg(&builder).args(["bert-base", &batch, &sequence]).arg(&graph).output();
        let made = made.map_err(|error| format!("python3: {error}"))?;
        if !made.status.success() {
            return Err(format!("make_onnx.py: {}", String::from_utf8_lossy(&made.stderr).trim_end()));
        }
        let mut child = Command::new("python3")
            .arg(root.join("tests/bench_onnxruntime.py"))
            .arg(&graph)
            .args([&batch, &sequence, "30522", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut peer = Peer { child, input, output };
        let ready = peer.line();
        match ready.strip_prefix("ready ") {
            Some(version) => Ok((peer, version.trim_end().to_owned())),
            None => Err("onnxruntime cannot be imported or the graph cannot be loaded".to_owned()),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn block(&mut self) -> Vec<f64> {
        writeln!(self.input, "{PASSES}").unwrap();
        self.line().split_whitespace().map(|time| time.parse().unwrap()).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn engine(shape: Shape, threads: usize) -> Box<dyn Engine> {
    let source = ModelSource::Random { seed: 1, architecture: Architecture::BertBase };
    let model = Arc::new(Model::open("bert-base", &source, Path::new("."), Head::Natural).unwrap());
    let ids = InputStream::open(&InputSource::Random { seed: 1 }, Path::new("."), &model).unwrap();
    let policy = PrecisionPolicy::preset(Preset::Fp32);
    let mut engine = {
        let request = BuildRequest::new(model, policy, shape, threads);
        ReferenceBackend::default().build(&request).unwrap().engine.unwrap()
    };
    engine.bind(&ids.batch(shape, 0).unwrap()).unwrap();
    for _ in 0..3 {
        engine.enqueue().unwrap();
    }
    engine
}

#[test]
#[ignore = "a benchmark: run it with make bench, on a quiet machine"]
fn bench_reference_against_onnxruntime() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for (batch, sequence) in [(1, 32), (1, 128), (8, 128)] {
        let shape = Shape { batch, sequence };
        let (mut peer, version) = match Peer::start(shape, threads) {
            Ok(started) => started,
            Err(reason) => return println!("skipped: {reason}"),
        };
        let mut engine = engine(shape, threads);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..BLOCKS {
            ours.extend((0..PASSES).map(|_| sample(engine.as_mut()).unwrap()));
            theirs.extend(peer.block());
        }
        let (ours, theirs) = (median(&ours).unwrap(), median(&theirs).unwrap());
        println!(
            "BERT-base fp32 {batch}x{sequence} on {threads} threads: reference {ours:.1} ms, ONNX Runtime {version} \
             {theirs:.1} ms, ratio {:.2}",
            ours / theirs
        );
    }
}
