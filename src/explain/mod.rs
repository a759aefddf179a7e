//! From a number of a report to what it follows from: rows, samples, environment, the manifest's lines, and the command that
//! makes it again. Tables, macros and verdicts know their rows; nothing is searched for.

mod manifest;
mod peers;
mod searched;
mod source;
mod target;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::claims::{Claims, Verdict, judge_study};
use crate::record::Status;
use crate::report::ReportError;
use crate::report::document::{Document, document};
use crate::report::macros::Origin;
use crate::report::table::Table;
use crate::results::ResultsError;
use crate::results::data::slug;
use crate::results::peers::{PeerRow, beside};
use crate::results::study::{Parts, Study};
use crate::store::StoreError;
use crate::store::schema::ResultRow;
use searched::Searched;
use source::Source;
use target::{FoundCell, Printed, Question};

/// A number that cannot be explained.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum ExplainError {
    /// The folder cannot be read.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The report cannot be made.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The samples cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing has this name.
    #[error(
        "`{what}`: no claim, macro, table or configuration of {dir} is called so; write C3, F1, \\mpMeasured, the first \
         digits of an id, a number as it is printed, or a table and words of a cell: `speedup.tex: bert-base 8x128`. {near}"
    )]
    Unknown { what: String, dir: PathBuf, near: String },
    /// No cell of the table has all the words.
    #[error(
        "{table}: no cell has all of `{words}`; use words of its model, backend, precision, shape, input, heading or text"
    )]
    NoCell { table: String, words: String },
    /// The table holds text alone.
    #[error(
        "{table}: no number of it follows from rows; it describes what is in the folder's environments/ and plan.json"
    )]
    NoNumbers { table: String },
}

/// A number and what it follows from.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// `C3: FAIL`, `speedup-1-bert-base-random-cuda.tex, hybrid, 8 128`, `\mpMeasured`
    pub name: String,
    /// The value, as it is printed.
    pub value: String,
    /// What it is, or why it has this value.
    pub meaning: String,
    /// What it follows from where that is no row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The rows that it is computed from.
    pub rows: Vec<Traced>,
    /// Rows that were looked at beside them.
    pub others: usize,
}

/// A row and what lies behind it.
#[derive(Debug, Clone, Serialize)]
pub struct Traced {
    /// Configuration id.
    pub id: String,
    /// Experiment.
    pub experiment: String,
    /// Folder of its results, relative to the one that was given.
    pub folder: PathBuf,
    /// `cuda hybrid, bert-base 8×128 random`
    pub label: String,
    /// Where it stands.
    pub status: Status,
    /// What was found: columns and their values.
    pub values: Vec<(&'static str, f64)>,
    /// The timed series, each with its stored median and that of the samples.
    pub series: Vec<Recomputed>,
    /// Environment id and what it is.
    pub environment: Option<(String, String)>,
    /// The GPU that it was given, where a run was spread over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The lines of the manifest that name it.
    pub manifest: Vec<String>,
    /// The commands that make it again.
    pub commands: Vec<String>,
}

/// A median, as stored and from the samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recomputed {
    /// Column of the samples.
    pub column: &'static str,
    /// Number of samples.
    pub samples: usize,
    /// Where several processes took them, the median of each, milliseconds, in the order of their turns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes_ms: Vec<f64>,
    /// The row's, milliseconds.
    pub stored_ms: Option<f64>,
    /// That of the samples, or of the processes' medians, milliseconds.
    pub recomputed_ms: Option<f64>,
}

/// Results of a folder, with those of the folders in it.
pub struct Explainer {
    dir: PathBuf,
    verdicts: Vec<Verdict>,
    document: Document,
    sources: Vec<Source>,
    /// How many of the sources, the last ones, are repeats.
    repeats: usize,
    searched: Vec<Searched>,
    /// Other engines, with the folder of the comparison.
    peers: Option<(PathBuf, Vec<PeerRow>)>,
}

impl Explainer {
    /// Reads a run, merge or artifact.
    ///
    /// # Errors
    /// [`ExplainError`] naming the file that cannot be read.
    pub fn read(dir: &Path, claims: &Claims) -> Result<Explainer, ExplainError> {
        let study = Study::read(dir)?;
        let verdicts = judge_study(&study, claims);
        let document = document(&study, claims, verdicts.clone())?;
        // What the report shows comes before repeats.
        let parts = Parts::read(dir)?;
        let of = |list: fn(&Parts) -> &Vec<PathBuf>| parts.iter().flat_map(list).cloned().collect::<Vec<_>>();
        let folders = [vec![PathBuf::new()], of(|parts| &parts.with), of(|parts| &parts.repeats)].concat();
        let Study { main, repeats, others, searches: _, peers } = study;
        let peers = beside(dir).map(|folder| (folder, peers)).filter(|(_, peers)| !peers.is_empty());
        let repeated = repeats.len();
        let all = std::iter::once(main).chain(others).chain(repeats);
        let read = |(folder, data)| Source::read(dir, folder, data);
        let sources = folders.into_iter().zip(all).map(read).collect::<Result<Vec<Source>, StoreError>>()?;
        let searched = searched::read(of(|parts| &parts.searches).iter().map(|folder| dir.join(folder)))?;
        Ok(Explainer { dir: dir.to_owned(), verdicts, document, sources, repeats: repeated, searched, peers })
    }

    /// Explains what is called `what`: one number, or the cells of a table that have all its words.
    ///
    /// # Errors
    /// [`ExplainError`] where nothing is called so.
    pub fn explain(&self, what: &str) -> Result<Vec<Explained>, ExplainError> {
        match Question::parse(what) {
            Question::Cell { table, words } => self.cells(&table, &words),
            Question::Name(name) => {
                let found = self.claim(&name).or_else(|| self.prose(&name)).or_else(|| self.row(&name));
                let found = found.map_or_else(|| self.printed(&name), |found| vec![found]);
                if found.is_empty() { Err(self.unknown(what)) } else { Ok(found) }
            }
        }
    }

    /// The names of all that can be explained: claims, macros, and the files of tables.
    pub fn names(&self) -> Vec<String> {
        let claims = self.verdicts.iter().flat_map(Verdict::readings).map(|verdict| verdict.claim.id.clone());
        let macros = self.document.macros.iter().map(|one| format!("\\{}", one.name));
        let tables = self.document.sections.iter().flat_map(|section| &section.tables);
        let tables = tables.filter(|table| table.empty.is_none()).map(|table| format!("{}.tex", table.slug));
        claims.chain(macros).chain(tables).collect()
    }

    fn unknown(&self, what: &str) -> ExplainError {
        let start: String = what.chars().filter(char::is_ascii_alphanumeric).take(5).collect();
        let is_table = |name: &str| name.ends_with(".tex");
        let alike =
            |name: &String| name.to_lowercase().contains(&start.to_lowercase()) && (is_table(name) || !is_table(what));
        let near = self.names().into_iter().filter(alike);
        let near: Vec<String> = near.take(5).collect();
        let near =
            if near.is_empty() || start.is_empty() { String::new() } else { format!("Near: {}", near.join(", ")) };
        ExplainError::Unknown { what: what.to_owned(), dir: self.dir.clone(), near }
    }

    /// What is printed as this number: macros, verdicts that show it, cells, and where there are none of these, the prose.
    fn printed(&self, number: &str) -> Vec<Explained> {
        let Some(wanted) = Printed::parse(number) else { return Vec::new() };
        let macros = || self.document.macros.iter();
        let mut found: Vec<Explained> =
            macros().filter(|one| wanted.is(&one.value)).filter_map(|one| self.prose(&one.name)).collect();
        let claims = self.verdicts.iter().flat_map(Verdict::readings);
        let shown = claims.filter_map(|verdict| self.claim(&verdict.claim.id));
        found.extend(shown.filter(|claim| wanted.is_in(&claim.value)));
        let source = |id: &str| self.row_of(id, None).map(|(_, row)| row);
        for table in self.document.sections.iter().flat_map(|section| &section.tables) {
            let cells = target::cells(table, &[], &source).into_iter();
            found.extend(cells.filter(|found| wanted.is(&found.cell.text)).map(|found| self.cell(&found)));
        }
        if found.is_empty() {
            let in_prose = macros().filter(|one| wanted.is_in(&one.value));
            found.extend(in_prose.filter_map(|one| self.prose(&one.name)));
        }
        found
    }

    fn claim(&self, name: &str) -> Option<Explained> {
        let verdict = self.verdicts.iter().flat_map(Verdict::readings).find(|one| one.claim.id == name)?;
        let worded = crate::report::sentences::claims::WordedVerdict::of(verdict);
        let (deciding, all) = (verdict.provenance(), verdict.looked_at());
        let experiment = verdict.other_experiment();
        let others = all.iter().filter(|id| !deciding.contains(id)).count();
        let origin =
            deciding.is_empty().then(|| format!("no row; `{}` makes some: {}", worded.command, worded.hardware));
        Some(Explained {
            name: format!("{}: {}", worded.id, worded.outcome.label()),
            value: worded.shown_with_limits(),
            meaning: format!("{} Read as: {}.", worded.explanation, worded.reading),
            origin,
            rows: self.traced(&deciding, experiment),
            others,
        })
    }

    fn prose(&self, name: &str) -> Option<Explained> {
        let name = name.trim_start_matches('\\');
        let one = self.document.macros.iter().find(|one| one.name == name || one.name == format!("mp{name}"))?;
        let (rows, origin) = match &one.origin {
            Origin::Rows(ids) if ids.is_empty() => (vec![], Some("no row has it".to_owned())),
            Origin::Rows(ids) => (self.traced(ids, None), None),
            Origin::Plan => (vec![], Some(self.of_plan())),
            Origin::Files(files) => (vec![], Some((*files).to_owned())),
            Origin::Verdicts => {
                let ids = self.verdicts.iter().map(|verdict| verdict.claim.id.as_str()).collect::<Vec<_>>();
                (vec![], Some(format!("the verdicts on {}; explain one of them", ids.join(", "))))
            }
            Origin::Repeats => {
                let of_run = |source: &&Source| source.data.plan.name == self.document.name;
                let folders = self.sources.iter().filter(of_run).map(|source| text::folder(&self.dir, &source.folder));
                let folders: Vec<String> = folders.collect();
                (vec![], Some(format!("every row of {}; `mixprec compare` lists them by pairs", folders.join(" and "))))
            }
        };
        let meaning = "a number of the paper's prose (macros.tex)".to_owned();
        Some(Explained { name: format!("\\{}", one.name), value: one.value.clone(), meaning, origin, rows, others: 0 })
    }

    /// A setting follows from the manifest.
    fn of_plan(&self) -> String {
        let main = &self.sources[0];
        format!("the manifest of the experiment `{}`: {}", main.data.plan.name, main.manifest.place())
    }

    fn row(&self, start: &str) -> Option<Explained> {
        let is_id = start.len() >= 4 && start.chars().all(|c| c.is_ascii_hexdigit());
        let rows = || self.sources.iter().flat_map(|source| &source.data.rows);
        let row = rows().find(|row| is_id && row.id.starts_with(start))?;
        Some(Explained {
            name: row.id.clone(),
            value: crate::analysis::facts::configuration_label(row),
            meaning: "a configuration".to_owned(),
            origin: None,
            rows: self.traced(std::slice::from_ref(&row.id), None),
            others: 0,
        })
    }

    fn cells(&self, name: &str, words: &[String]) -> Result<Vec<Explained>, ExplainError> {
        let all = self.document.sections.iter().flat_map(|section| &section.tables);
        let all: Vec<_> = all.collect();
        let called = |of: &dyn Fn(&Table) -> String| -> Vec<&Table> {
            all.iter().copied().filter(|table| target::is_called(table, &of(table))).collect()
        };
        let mut tables = called(&|_| name.to_owned());
        if tables.is_empty() {
            // `quality.tex` of a run is `downstream-quality.tex` where it stands beside another experiment.
            tables = called(&|table| {
                self.experiment_of(&table.slug).map_or_else(|| name.to_owned(), |of| format!("{}-{name}", slug(of)))
            });
        }
        if tables.is_empty() {
            return Err(self.unknown(&format!("{name}.tex")));
        }
        if let Some(table) = tables.iter().copied().find(|table| searched::is_of_searches(table)) {
            return searched::lines(table, &self.searched, words);
        }
        if let Some(table) = tables.iter().copied().find(|table| peers::is_of_peers(table))
            && let Some((folder, rows)) = &self.peers
        {
            return peers::lines(table, folder, rows, words);
        }
        let source = |id: &str| self.row_of(id, None).map(|(_, row)| row);
        let found: Vec<Explained> = tables
            .iter()
            .flat_map(|table| target::cells(table, words, &source))
            .map(|found| self.cell(&found))
            .collect();
        if found.is_empty() {
            let table = tables.iter().map(|table| format!("{}.tex", table.slug)).collect::<Vec<_>>().join(", ");
            return Err(match words {
                [] => ExplainError::NoNumbers { table },
                words => ExplainError::NoCell { table, words: words.join(" ") },
            });
        }
        Ok(found)
    }

    fn cell(&self, FoundCell { table, cell, place }: &FoundCell) -> Explained {
        let ids: Vec<String> = cell.provenance().map(str::to_owned).collect();
        let detail = cell.detail.as_ref().map(|detail| format!(" {detail}")).unwrap_or_default();
        let mut rows = self.traced(&ids, self.experiment_of(&table.slug));
        if let Some(repeat) = table.repeat.and_then(|index| self.sources.get(self.sources.len() - self.repeats + index))
        {
            let of_repeat = ids.iter().filter_map(|id| repeat.data.rows.iter().find(|row| row.id == *id));
            rows.extend(of_repeat.map(|row| repeat.trace(&self.dir, row)));
        }
        Explained {
            name: format!("{}.tex, {place}", table.slug),
            value: format!("{}{detail}", cell.text),
            meaning: table.caption.clone(),
            origin: None,
            rows,
            others: 0,
        }
    }

    /// The experiment whose name a table's file begins with, where it is not the main one.
    fn experiment_of(&self, table: &str) -> Option<&str> {
        let names = self.sources.iter().skip(1).map(|source| source.data.plan.name.as_str());
        names
            .filter(|name| *name != self.document.name)
            .find(|name| table.strip_prefix(&slug(name)).is_some_and(|rest| rest.starts_with('-')))
    }

    fn row_of(&self, id: &str, experiment: Option<&str>) -> Option<(&Source, &ResultRow)> {
        let preferred = |source: &&Source| experiment.is_some_and(|name| source.data.plan.name == name);
        let rest = |source: &&Source| !preferred(source);
        let ordered = self.sources.iter().filter(preferred).chain(self.sources.iter().filter(rest));
        let mut rows = ordered.flat_map(|source| source.data.rows.iter().map(move |row| (source, row)));
        rows.find(|(_, row)| row.id == id)
    }

    fn traced(&self, ids: &[String], experiment: Option<&str>) -> Vec<Traced> {
        let rows = ids.iter().filter_map(|id| self.row_of(id, experiment));
        rows.map(|(source, row)| source.trace(&self.dir, row)).collect()
    }
}

/// What was found, for a person.
pub fn to_text(found: &[Explained]) -> String {
    text::to_text(found)
}
