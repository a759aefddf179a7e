//! The command line. Each command has a file of its name, with its arguments and what it does with them. Results go to
//! standard output, everything else that people read to standard error.

mod appendix;
mod artifact;
#[cfg_attr(not(feature = "tensorrt"), path = "build_absent.rs")]
mod build;
mod cache;
mod choices;
mod compare;
mod doctor;
mod explain;
mod export;
mod fetch;
mod help;
mod infer;
mod merge;
mod output;
mod plan;
mod report;
mod rerun;
mod run;
mod search;
mod selftest;
mod splice;
mod time;
mod verify;
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use clap::{FromArgMatches, Parser, Subcommand};

pub use output::one_line;

/// Nothing failed: every row was measured, every claim that could be judged holds.
const OK: u8 = 0;
/// Some rows or claims failed, two runs disagree, or a pin differs.
const SOME_FAILED: u8 = 1;
/// The input is at fault.
pub const BAD_INPUT: u8 = 2;
/// A signal ended the command: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Re-measure a mixed-precision transformer inference paper on this machine.
#[derive(Debug, Parser)]
#[command(name = "mixprec", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The first line of each command's help, and its arguments. [`help`] arranges the commands in groups.
#[derive(Debug, Subcommand)]
enum Command {
    /// List the configurations of a manifest and estimate their time.
    Plan(plan::PlanArgs),
    /// Download the checkpoints of a manifest and check their digests.
    Fetch(fetch::FetchArgs),
    /// Run a manifest; configurations that already have a row are skipped.
    Run(run::RunArgs),
    /// Render the tables, figures and HTML page of a run.
    Report(report::ReportArgs),
    /// Judge the paper's claims by the results of a run.
    Verify(verify::VerifyArgs),
    /// Trace a number of a report to its rows, samples and manifest.
    Explain(explain::ExplainArgs),
    /// Measure one recorded row again on this machine and compare.
    Rerun(rerun::RerunArgs),
    /// Check whether a second run of an experiment repeats the first.
    Compare(compare::CompareArgs),
    /// Inject known faults and check that each is caught.
    Selftest(selftest::SelftestArgs),
    /// Run one text through an engine and print the output.
    Infer(infer::InferArgs),
    /// Find the operations that need FP32, and prove it.
    Search(search::SearchArgs),
    /// Write a model as ONNX, with the precision policy as types and casts.
    Export(export::ExportArgs),
    /// Build TensorRT engines ahead of time, for this or another GPU.
    Build(build::BuildArgs),
    /// Merge the results of several machines or shards into one folder.
    Merge(merge::MergeArgs),
    /// Publish runs as one folder with checksums and a README.
    Artifact(artifact::ArtifactArgs),
    /// Write the artifact appendix for reviewers, as LaTeX and Markdown.
    Appendix(appendix::AppendixArgs),
    /// Write the generated sections of Markdown pages, or check them.
    Splice(splice::SpliceArgs),
    /// Show what can run here, what cannot and why, and drift from the pins.
    Doctor(doctor::DoctorArgs),
    /// List, check or delete cached engines.
    Cache(cache::CacheArgs),
    /// Time one engine in blocks, on request (started by experiments/peers.py).
    #[command(hide = true)]
    Time(time::TimeArgs),
    /// Execute configurations for a run (started by `run`).
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

impl Cli {
    /// The command line of this process. Ends the process where there is nothing to execute: after help or the version,
    /// and with [`BAD_INPUT`] where the arguments are wrong.
    pub fn from_command_line() -> Self {
        let mut matches = help::command().get_matches();
        Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut help::command()).exit())
    }

    /// Carries out the command.
    ///
    /// # Errors
    /// Bad input of any kind, as one message; the caller exits with [`BAD_INPUT`].
    pub fn execute(self) -> Result<ExitCode> {
        let code = match self.command {
            Command::Plan(args) => plan::execute(&args)?,
            Command::Fetch(args) => fetch::execute(&args)?,
            Command::Run(args) => run::execute(&args)?,
            Command::Report(args) => report::execute(args)?,
            Command::Verify(args) => verify::execute(&args)?,
            Command::Explain(args) => explain::execute(&args)?,
            Command::Rerun(args) => rerun::execute(args)?,
            Command::Compare(args) => compare::execute(&args)?,
            Command::Selftest(args) => selftest::execute(&args)?,
            Command::Infer(args) => infer::execute(args)?,
            Command::Search(args) => search::execute(args)?,
            Command::Export(args) => export::execute(&args)?,
            Command::Build(args) => build::execute(&args)?,
            Command::Merge(args) => merge::execute(&args)?,
            Command::Artifact(args) => artifact::execute(args)?,
            Command::Appendix(args) => appendix::execute(args)?,
            Command::Splice(args) => splice::execute(args)?,
            Command::Doctor(args) => doctor::execute(&args)?,
            Command::Cache(args) => cache::execute(&args)?,
            Command::Time(args) => time::execute(args)?,
            Command::Worker(args) => return Ok(worker::execute(&args)),
        };
        Ok(ExitCode::from(code))
    }
}
