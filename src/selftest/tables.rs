//! Results changed after they were measured, from a flipped bit to a new value with a valid digest.

use std::fs;
use std::path::Path;

use polars::prelude::ParquetWriter;

use super::experiment::{TestManifest, flip};
use super::{Mutation, Objection, SelftestError};
use crate::plan::Plan;
use crate::record::Outcome;
use crate::results::data::Data;
use crate::store::journal::{self, Header, JOURNAL_FILE, Journal, OnDamage};
use crate::store::schema::{ResultRow, SampleRow};
use crate::store::{RESULTS_FILE, SAMPLES_FILE, parquet};

/// Whether the folder has a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderKind {
    /// The folder as `mixprec run` leaves it, with the journal.
    OfRun,
    /// The folder as published or merged, with the tables only.
    Published,
}

type Tamper = fn(&Path, &Plan) -> Result<(), SelftestError>;

pub(super) fn mutations() -> Vec<Mutation> {
    use FolderKind::{OfRun, Published};
    let all: [(&str, FolderKind, &str, Tamper); 13] = [
        ("results.parquet", OfRun, "a flipped bit in results.parquet", |dir, _| flip(&dir.join(RESULTS_FILE), 400)),
        ("samples.parquet", OfRun, "a flipped bit in samples.parquet", |dir, _| flip(&dir.join(SAMPLES_FILE), 400)),
        ("results.parquet", Published, "results.parquet cut short", cut_short),
        ("results.parquet", Published, "results.parquet written by another program", written_elsewhere),
        ("results.parquet", Published, "a median halved, results.parquet written anew", halve_median),
        ("samples.parquet", Published, "a sample halved, samples.parquet written anew", halve_sample),
        ("results.parquet", OfRun, "a median halved next to the journal", halve_median),
        ("samples.parquet", OfRun, "a sample halved next to the journal", halve_sample),
        ("samples.parquet", Published, "A/A rounds halved, samples.parquet written anew", halve_rounds),
        ("samples.parquet", OfRun, "A/A rounds halved next to the journal", halve_rounds),
        ("results.parquet", Published, "a row removed, results.parquet written anew", remove_row),
        ("journal", OfRun, "a digit changed in the journal", change_line),
        ("journal", OfRun, "a measurement halved in the journal, its checksum renewed", rewrite_journal),
    ];
    let mutation = |(name, folder, injected, tamper): (&'static str, FolderKind, &'static str, Tamper)| {
        Mutation::new(name, injected, move |scratch, variant| {
            let dir = scratch.join("run");
            let more = "noise_floor: {batch_sizes: [2], sequence_lengths: [8], rounds: 6, samples: 1}\n";
            let plan =
                TestManifest { batch_sizes: "[1, 2]", count: 2, more, ..TestManifest::default() }.run(scratch, &dir)?;
            if folder == Published {
                fs::remove_file(dir.join(JOURNAL_FILE))?;
            }
            if variant.is_mutated() {
                tamper(&dir, &plan)?;
            }
            read(&dir)
        })
    };
    all.into_iter().map(mutation).collect()
}

/// The error that `report`, `verify`, `merge` and `rerun` give for a folder.
fn read(dir: &Path) -> Objection {
    Ok(Data::read(dir).err().map(|error| error.to_string()))
}

fn cut_short(dir: &Path, _plan: &Plan) -> Result<(), SelftestError> {
    let path = dir.join(RESULTS_FILE);
    let bytes = fs::read(&path)?;
    Ok(fs::write(&path, &bytes[..bytes.len() - 100])?)
}

/// Writes the same rows as a valid file, as a program without mixprec's digest would.
fn written_elsewhere(dir: &Path, _plan: &Plan) -> Result<(), SelftestError> {
    let mut frame = parquet::results_frame(&parquet::read_results(dir)?)?;
    ParquetWriter::new(fs::File::create(dir.join(RESULTS_FILE))?).finish(&mut frame)?;
    Ok(())
}

/// Halves the medians and writes a valid digest.
fn halve_median(dir: &Path, _plan: &Plan) -> Result<(), SelftestError> {
    let mut rows: Vec<ResultRow> = parquet::read_results(dir)?;
    for row in rows.iter_mut().skip(1) {
        row.latency_p50_ms = row.latency_p50_ms.map(|median| median / 2.0);
    }
    Ok(parquet::write_results(dir, &rows)?)
}

fn halve_sample(dir: &Path, _plan: &Plan) -> Result<(), SelftestError> {
    let mut samples: Vec<SampleRow> = parquet::read_samples(dir)?;
    for sample in samples.iter_mut().take(1) {
        sample.latency_ms = sample.latency_ms.map(|ms| ms / 2.0);
    }
    Ok(parquet::write_samples(dir, &samples)?)
}

fn halve_rounds(dir: &Path, _plan: &Plan) -> Result<(), SelftestError> {
    let mut samples: Vec<SampleRow> = parquet::read_samples(dir)?;
    for sample in &mut samples {
        sample.aa_second_ms = sample.aa_second_ms.map(|ms| ms / 2.0);
    }
    Ok(parquet::write_samples(dir, &samples)?)
}

fn remove_row(dir: &Path, _plan: &Plan) -> Result<(), SelftestError> {
    let rows = parquet::read_results(dir)?;
    Ok(parquet::write_results(dir, &rows[..rows.len() - 1])?)
}

fn change_line(dir: &Path, _plan: &Plan) -> Result<(), SelftestError> {
    let path = dir.join(JOURNAL_FILE);
    let text = fs::read_to_string(&path)?;
    Ok(fs::write(&path, text.replacen("\"warmup\":0", "\"warmup\":9", 1))?)
}

/// Tampers with knowledge of the format: every line matches its checksum, and the tables are unchanged.
fn rewrite_journal(dir: &Path, plan: &Plan) -> Result<(), SelftestError> {
    let mut records = journal::read(dir)?.records;
    for record in &mut records {
        if let Outcome::Ok(measured) = &mut record.outcome {
            measured.samples_ms.iter_mut().for_each(|sample| *sample /= 2.0);
        }
    }
    fs::remove_file(dir.join(JOURNAL_FILE))?;
    let mut journal = Journal::open(dir, &Header::of(plan), OnDamage::Refuse)?.journal;
    records.iter().try_for_each(|record| journal.append(record))?;
    Ok(())
}
