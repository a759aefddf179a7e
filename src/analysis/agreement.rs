//! Two runs of one experiment, configuration by configuration: whether the second repeats the first.

mod spread;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::disturbances::Disturbance;
use super::noise::Deviation;
use super::pairs::{Ranged, RowPair};
use crate::engine::DeviceKind;
use crate::json_diff::Difference;
use crate::plan::OtherRules;
use crate::record::Status;
use crate::results::ResultsError;
use crate::results::data::{Data, distinct, timed};
use crate::store::materials::{Contradiction, Material};
use crate::store::schema::ResultRow;

pub use spread::{Spread, by_series};

/// How close two medians must be, as a share of the first, unless said otherwise.
pub const TOLERANCE: f64 = 0.03;
/// The share of rows that must be so close, unless said otherwise.
pub const SHARE: f64 = 0.95;

/// Pairs per kind of device in a list of the farthest.
const LISTED: usize = 10;

/// What counts as agreement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Largest distance of a ratio of medians from 1.
    pub tolerance: f64,
    /// Least share of rows within it.
    pub share: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { tolerance: TOLERANCE, share: SHARE }
    }
}

/// A configuration that both runs have measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// In the first run.
    pub first: ResultRow,
    /// In the second.
    pub second: ResultRow,
    /// Second median latency over the first, with an interval from the ends of both.
    pub ratio: Ranged,
}

impl Pair {
    /// Broken rows over all forwards of the first and of the second run, where both counted them.
    fn broken_rows(&self) -> Option<(u64, u64)> {
        self.first.forward_broken_rows.zip(self.second.forward_broken_rows)
    }

    /// Distance of the ratio from 1.
    pub fn deviation(&self) -> f64 {
        Deviation::of(self.ratio).measured
    }

    /// What speaks against this ratio, in the first and in the second run.
    pub fn disturbances(&self) -> (Option<Disturbance>, Option<Disturbance>) {
        (Disturbance::of_ratios(&self.first), Disturbance::of_ratios(&self.second))
    }

    /// In which runs the GPU's clocks were throttled; `None` for neither, as far as is known.
    pub fn throttled_in(&self) -> Option<InRuns> {
        InRuns::of(Disturbance::Throttled.of(&self.first), Disturbance::Throttled.of(&self.second))
    }

    /// In which runs others used the device or the clock ran wrong; `None` for neither.
    pub fn disturbed_in(&self) -> Option<InRuns> {
        let (first, second) = self.disturbances();
        InRuns::of(first.is_some(), second.is_some())
    }
}

/// In which of two runs something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InRuns {
    /// In the first alone.
    First,
    /// In the second alone.
    Second,
    /// In both.
    Both,
}

impl InRuns {
    fn of(first: bool, second: bool) -> Option<InRuns> {
        match (first, second) {
            (true, true) => Some(InRuns::Both),
            (true, false) => Some(InRuns::First),
            (false, true) => Some(InRuns::Second),
            (false, false) => None,
        }
    }
}

/// Whether the GPU was throttled, usually by its power limit, in one of two runs of a configuration; `None` where that
/// was not watched.
fn throttled(first: &ResultRow, second: &ResultRow) -> Option<bool> {
    match (first.throttled, second.throttled) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// A configuration that ended differently in the two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Unlike {
    /// In the first run.
    pub first: ResultRow,
    /// In the second.
    pub second: ResultRow,
}

/// How far two runs agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// The limits of this comparison.
    pub limits: Limits,
    /// Configurations with a median in both, those that differ most first.
    pub pairs: Vec<Pair>,
    /// Configurations with a median in one of them, though both have tried.
    pub unlike: Vec<Unlike>,
    /// Configurations that one of them has not tried, or that ended alike without a median.
    pub left_out: usize,
    /// The left-out configurations that the first run has timed.
    pub not_repeated: Vec<ResultRow>,
    /// What differs between the environments, most telling first.
    pub differences: Vec<Difference>,
}

/// Two folders that cannot be compared.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum AgreementError {
    /// One of them cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A folder has several rows of one configuration.
    #[error(
        "{path}: merged results with {rows} rows of configuration {id}; compare the folders of single runs, or merge \
         the runs to see machines next to each other"
    )]
    Several { path: PathBuf, id: String, rows: usize },
    /// They are of different experiments, or were measured by different rules.
    #[error("{path} compared with {other}: {cause}; compare two runs of one manifest")]
    Rules {
        path: PathBuf,
        other: PathBuf,
        #[source]
        cause: OtherRules,
    },
    /// A model had different weights.
    #[error(
        "{path}: {model} was measured with other weights ({found}) than in {other} ({wanted}); their times are of two models"
    )]
    Weights { path: PathBuf, model: String, found: String, other: PathBuf, wanted: String },
    /// A model or an input had other files.
    #[error("{0}; their rows are not of one experiment")]
    Material(Box<Contradiction>),
    /// Nothing was measured twice.
    #[error("{path} and {other} have no measured configuration in common, so there is nothing to compare")]
    Nothing { path: PathBuf, other: PathBuf },
}

/// Results and their folder, for messages.
pub type Named<'a> = (&'a Path, &'a Data);

/// Compares the results in two folders.
///
/// # Errors
/// [`AgreementError`] naming the folder and the cure.
pub fn compare(first: &Path, second: &Path, limits: Limits) -> Result<Agreement, AgreementError> {
    agreement((first, &Data::read(first)?), (second, &Data::read(second)?), limits)
}

/// [`compare`] of results that were read already.
///
/// # Errors
/// [`AgreementError`].
pub fn agreement(first: Named, second: Named, limits: Limits) -> Result<Agreement, AgreementError> {
    let (path, other) = (second.0.to_owned(), first.0.to_owned());
    second.1.plan.check_same_rules(&first.1.plan).map_err(|cause| AgreementError::Rules { path, other, cause })?;
    let (before, after) = (by_id(first)?, by_id(second)?);
    let (pairs, unlike, not_repeated, differences) = Default::default();
    let mut found = Agreement { limits, pairs, unlike, left_out: 0, not_repeated, differences };
    let (mut environments, mut arithmetics) = (Vec::new(), Vec::new());
    for configuration in &first.1.plan.configurations {
        let id = configuration.id.0.as_str();
        let (Some(&one), Some(&other)) = (before.get(id), after.get(id)) else {
            found.leave_out(before.get(id).copied());
            continue;
        };
        arithmetics.extend(check_materials((first.0, one), (second.0, other))?);
        let tried = one.status != Status::Pending && other.status != Status::Pending;
        let pair = RowPair { numerator: other, denominator: one };
        match pair.latency_ratio() {
            Some(ratio) => found.pairs.push(Pair { first: one.clone(), second: other.clone(), ratio }),
            None if tried && one.latency_p50_ms.is_some() != other.latency_p50_ms.is_some() => {
                found.unlike.push(Unlike { first: one.clone(), second: other.clone() });
            }
            None => {
                found.leave_out(Some(one));
                continue;
            }
        }
        environments.extend(one.environment.as_deref().zip(other.environment.as_deref()));
    }
    if found.pairs.is_empty() && found.unlike.is_empty() {
        return Err(AgreementError::Nothing { path: second.0.to_owned(), other: first.0.to_owned() });
    }
    let of_environments = self::differences(first.1, second.1, distinct(environments.into_iter()));
    found.differences = distinct(arithmetics.into_iter().chain(of_environments));
    found.pairs.sort_by(|a, b| b.deviation().total_cmp(&a.deviation()).then_with(|| a.first.id.cmp(&b.first.id)));
    Ok(found)
}

impl Agreement {
    fn leave_out(&mut self, first: Option<&ResultRow>) {
        self.left_out += 1;
        self.not_repeated.extend(first.filter(|row| timed(row)).cloned());
    }

    /// Rows that were compared.
    pub fn rows(&self) -> usize {
        self.pairs.len() + self.unlike.len()
    }

    /// The compared rows of the first run that have a median in both, and those of the second.
    pub fn paired(&self) -> (impl Iterator<Item = &ResultRow>, impl Iterator<Item = &ResultRow>) {
        (self.pairs.iter().map(|pair| &pair.first), self.pairs.iter().map(|pair| &pair.second))
    }

    /// The compared rows of the first run that are wanted by the rows of both runs.
    fn compared(&self, wanted: impl Fn(&ResultRow, &ResultRow) -> bool) -> Vec<&ResultRow> {
        let pairs = self.pairs.iter().map(|pair| (&pair.first, &pair.second));
        let all = pairs.chain(self.unlike.iter().map(|unlike| (&unlike.first, &unlike.second)));
        all.filter(|(first, second)| wanted(first, second)).map(|(first, _)| first).collect()
    }

    /// The compared rows of the first run on one kind of device, or all.
    pub fn rows_on(&self, device: Option<DeviceKind>) -> Vec<&ResultRow> {
        self.compared(|row, _| device.is_none_or(|device| row.device == device))
    }

    /// The rows of [`Agreement::by_clocks`].
    pub fn rows_by_clocks(&self, wanted: Option<bool>) -> Vec<&ResultRow> {
        self.compared(|first, second| first.device == DeviceKind::Gpu && throttled(first, second) == wanted)
    }

    /// How far the rows agree whose row in the first run is wanted; `None` without any.
    pub fn spread(&self, wanted: impl Fn(&ResultRow) -> bool) -> Option<Spread> {
        self.spread_of(|first, _| wanted(first))
    }

    /// [`Agreement::spread`] by the rows of both runs.
    fn spread_of(&self, wanted: impl Fn(&ResultRow, &ResultRow) -> bool) -> Option<Spread> {
        let pairs: Vec<&Pair> = self.pairs.iter().filter(|pair| wanted(&pair.first, &pair.second)).collect();
        let unlike = self.unlike.iter().filter(|unlike| wanted(&unlike.first, &unlike.second)).count();
        Spread::of(&pairs, unlike, self.limits)
    }

    /// The spread of the engines on one kind of device.
    pub fn on(&self, device: DeviceKind) -> Option<Spread> {
        self.spread(|row| row.device == device)
    }

    /// The spread of rows on a GPU that was throttled in one of the runs, in neither, or (`None`) not watched in both.
    pub fn by_clocks(&self, wanted: Option<bool>) -> Option<Spread> {
        self.spread_of(|first, second| first.device == DeviceKind::Gpu && throttled(first, second) == wanted)
    }

    /// The pairs of one kind of device that differ most, as many as a list holds.
    pub fn farthest(&self, device: DeviceKind) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(move |pair| pair.first.device == device).take(LISTED)
    }

    /// Rows whose medians are within the tolerance.
    pub fn within(&self) -> usize {
        self.spread(|_| true).map_or(0, |all| all.within)
    }

    /// Their share of all rows.
    pub fn share(&self) -> f64 {
        self.within() as f64 / self.rows() as f64
    }

    /// Whether enough rows are within the tolerance.
    pub fn agrees(&self) -> bool {
        self.share() >= self.limits.share
    }

    /// Rows in whose outputs both runs found as many NaN and infinities and, where both counted them, broken rows.
    pub fn with_equal_failures(&self) -> usize {
        let counts = |row: &ResultRow| (row.nan_count, row.inf_count);
        let equal = |pair: &&Pair| {
            counts(&pair.first) == counts(&pair.second)
                && pair.broken_rows().is_none_or(|(first, second)| first == second)
        };
        self.pairs.iter().filter(equal).count()
    }

    /// Whether both runs counted the broken rows of any pair.
    pub fn counts_broken_rows(&self) -> bool {
        self.pairs.iter().any(|pair| pair.broken_rows().is_some())
    }

    /// The largest difference of the smallest cosines of a row, where both have one.
    pub fn largest_cosine_difference(&self) -> Option<f64> {
        let differences =
            self.pairs.iter().filter_map(|pair| Some((pair.first.cosine_min? - pair.second.cosine_min?).abs()));
        differences.reduce(f64::max)
    }
}

fn by_id<'a>((path, data): Named<'a>) -> Result<HashMap<&'a str, &'a ResultRow>, AgreementError> {
    let mut rows: HashMap<&str, &ResultRow> = HashMap::new();
    for row in &data.rows {
        if rows.insert(&row.id, row).is_some() {
            let number = data.rows.iter().filter(|other| other.id == row.id).count();
            return Err(AgreementError::Several { path: path.to_owned(), id: row.id.clone(), rows: number });
        }
    }
    Ok(rows)
}

/// Refuses rows of other weights or files. Returns the difference where the program's arithmetic or a library alone is another.
fn check_materials(
    first: (&Path, &ResultRow),
    second: (&Path, &ResultRow),
) -> Result<Option<Difference>, AgreementError> {
    let unmeasured = |row: &ResultRow| matches!(row.status, Status::Failed | Status::Pending);
    if unmeasured(first.1) || unmeasured(second.1) {
        return Ok(None);
    }
    let weights = (!first.1.shares_weights(second.1)).then_some(Material::Weights);
    let Some(material) = weights.or_else(|| first.1.contradicts(second.1)) else { return Ok(None) };
    let [wanted, found] = [first.1, second.1].map(|row| material.label(row));
    match material {
        Material::Arithmetic | Material::Libraries => {
            let property = format!("{material} for {}", first.1.backend);
            Ok(Some(Difference { property, first: wanted, second: found }))
        }
        Material::Weights => {
            let words = |label: Option<String>| label.unwrap_or_else(|| "not recorded".to_owned());
            let (path, other, model) = (second.0.to_owned(), first.0.to_owned(), second.1.model.clone());
            Err(AgreementError::Weights { path, model, found: words(found), other, wanted: words(wanted) })
        }
        _ => Err(AgreementError::Material(Box::new(Contradiction::new(material, second, first)))),
    }
}

/// What differs between the environments that rows of one configuration are from, each difference once.
fn differences(first: &Data, second: &Data, environments: Vec<(&str, &str)>) -> Vec<Difference> {
    let found = environments
        .into_iter()
        .filter_map(|(one, other)| Some(first.environments.get(one)?.differences(second.environments.get(other)?)));
    distinct(found.flatten())
}
