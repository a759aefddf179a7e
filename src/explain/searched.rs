//! The tables of searches: their lines follow from certificates, not from rows.

use std::path::{Path, PathBuf};

use super::target::is_word_of;
use super::{ExplainError, Explained};
use crate::numbers;
use crate::provenance::BuildInfo;
use crate::record::certificate::{CERTIFICATE_FILE, Certificate, PolicyTiming, TimedPolicy, TimedShape};
use crate::report::sentences::searches::{operations, subject, tolerance};
use crate::report::table::Table;
use crate::results::ResultsError;
use crate::results::searches::{certificate, folders};

/// A certificate and its folder.
pub(super) type Searched = (PathBuf, Certificate);

/// Those below these folders.
pub(super) fn read(dirs: impl Iterator<Item = PathBuf>) -> Result<Vec<Searched>, ResultsError> {
    let mut found = Vec::new();
    for dir in dirs {
        for folder in folders(&dir)? {
            let one = certificate(&folder)?;
            found.push((folder, one));
        }
    }
    Ok(found)
}

/// Whether a table is made of certificates.
pub(super) fn is_of_searches(table: &Table) -> bool {
    ["searches", "search-times"].contains(&table.slug.as_str())
}

/// The certificates that have all the words, one after the other.
pub(super) fn lines(table: &Table, searched: &[Searched], words: &[String]) -> Result<Vec<Explained>, ExplainError> {
    let has_all = |one: &Certificate| {
        let shapes = timed_shapes(one).iter().map(|timed| format!("{}x{}", timed.shape.batch, timed.shape.sequence));
        let names =
            [subject(one).replace('×', "x"), tolerance(&one.tolerance), operations(one), one.policy.name.clone()];
        let known: Vec<String> = names.into_iter().chain(shapes).map(|text| text.to_lowercase()).collect();
        words.iter().all(|word| known.iter().any(|text| is_word_of(word, text)))
    };
    let found: Vec<Explained> =
        searched.iter().filter(|(_, one)| has_all(one)).map(|(folder, one)| line(table, folder, one)).collect();
    match found.is_empty() {
        true => Err(ExplainError::NoCell { table: format!("{}.tex", table.slug), words: words.join(" ") }),
        false => Ok(found),
    }
}

fn line(table: &Table, folder: &Path, one: &Certificate) -> Explained {
    let set = match one.operations.len() {
        0 => "none".to_owned(),
        all => format!("{all} ({})", operations(one)),
    };
    let held_out = &one.held_out;
    let breaking = format!("{} of {} held-out forwards break it", held_out.breaking.len(), held_out.totals.forwards);
    let by = one.build.as_ref().map_or_else(String::new, |build| format!(", by {}", BuildInfo::summary(build)));
    Explained {
        name: format!("{}.tex, {}, {}", table.slug, subject(one), tolerance(&one.tolerance)),
        value: format!("{set} of {} in FP32; {breaking}{}", one.subject.candidates, times(one)),
        meaning: table.caption.clone(),
        origin: Some(format!(
            "{}, searched with {}{by}; again: {}",
            folder.join(CERTIFICATE_FILE).display(),
            one.subject.library,
            command(one)
        )),
        rows: vec![],
        others: 0,
    }
}

fn timed_shapes(one: &Certificate) -> &[TimedShape] {
    match &one.timing {
        Some(PolicyTiming::Timed(shapes)) => shapes,
        _ => &[],
    }
}

/// What was timed at each shape, and on what; why nothing was.
fn times(one: &Certificate) -> String {
    let of_policy = |one: &TimedPolicy| {
        let kernels = one.launches.map_or_else(String::new, |all| {
            format!(" in {} kernels, {} of single operations", all.kernels, all.single_operations)
        });
        let rounds = numbers::plural(one.rounds_ms.len(), "round");
        format!("{} {} ms (median of {rounds}){kernels}", one.policy, numbers::significant(one.median_ms, 4))
    };
    let of_shape = |timed: &TimedShape| {
        let policies: Vec<String> = timed.policies.iter().map(of_policy).collect();
        let what = timed.failure.clone().unwrap_or_else(|| policies.join(", "));
        format!("; {}x{}: {what}", timed.shape.batch, timed.shape.sequence)
    };
    match &one.timing {
        Some(PolicyTiming::NotTimed(reason)) => format!("; not timed: {reason}"),
        _ => timed_shapes(one).iter().map(of_shape).collect(),
    }
}

/// The command that searches again.
fn command(one: &Certificate) -> String {
    let of = &one.subject;
    let confirm = one.confirmation.as_ref().map_or_else(String::new, |found| format!(" --confirm {}", found.backend));
    format!(
        "mixprec search MANIFEST --model {} --input {} --start {} --tolerance {} --batch {} --seq {} --forwards {} \
         --held-out {} --supersets {} --seed {} --backend {}{confirm}",
        of.model,
        of.input,
        one.start.name,
        one.tolerance,
        of.shape.batch,
        of.shape.sequence,
        one.searched.forwards,
        one.held_out.totals.forwards,
        one.monotonicity.supersets,
        one.monotonicity.seed,
        of.backend
    )
}
