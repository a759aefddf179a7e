//! Which rows of a folder stay, and what the user is told of the others.

use std::collections::BTreeMap;

use super::{RowEnd, RunnerError, Sweep};
use crate::plan::{Configuration, ConfigurationId};
use crate::record::{Failure, Outcome, Record, differing};
use crate::runner::materials::{CurrentMaterials, Refused, Replacement, replaced_since_failure, states_files};

/// What a folder has of each configuration.
pub(super) struct Earlier<'a> {
    /// Its newest record.
    pub rows: BTreeMap<&'a ConfigurationId, &'a Record>,
    /// Its newest record that is no failure.
    pub measured: BTreeMap<&'a ConfigurationId, &'a Record>,
}

/// Rows that are told of, by what there is to tell.
#[derive(Default)]
struct Findings<'a> {
    elsewhere: usize,
    unstated: usize,
    /// Failed rows that do not say with which files.
    failed_unstated: usize,
    restored: usize,
    missing: BTreeMap<String, usize>,
    replaced: BTreeMap<Replacement, usize>,
    refused: BTreeMap<&'a str, (&'a Refused, usize)>,
}

impl Sweep<'_> {
    /// Skips the configurations that already have a final row. A row is not final when it would be made from something else
    /// now; `None` where nobody could be asked. Where a row failed and an earlier one was made from the present files, the
    /// earlier one counts again.
    ///
    /// # Errors
    /// [`RunnerError`] when the journal cannot be written.
    pub(super) fn settle(&self, earlier: Earlier, now: Option<&CurrentMaterials>) -> Result<(), RunnerError> {
        let mut findings = Findings::default();
        for configuration in &self.plan.configurations {
            let Some(&newest) = earlier.rows.get(&configuration.id) else { continue };
            let row = match (&newest.outcome, earlier.measured.get(&configuration.id), now) {
                (Outcome::Failed(_), Some(&before), Some(now))
                    if now.reproduces(configuration, before, &self.environment) =>
                {
                    self.state().journal.append(before)?;
                    findings.restored += 1;
                    before
                }
                _ => newest,
            };
            let of_row = |now: &CurrentMaterials| now.replacements(configuration, row, &self.environment);
            let replacements = now.map(of_row).unwrap_or_default();
            if !replacements.is_empty() {
                replacements.into_iter().for_each(|one| *findings.replaced.entry(one).or_default() += 1);
                continue;
            }
            if self.retry_failed && !matches!(row.outcome, Outcome::Ok(_)) {
                continue;
            }
            if let (Outcome::Failed(failure), Some(_)) = (&row.outcome, now)
                && let found = self.replaced_since(configuration, row, failure)
                && !found.is_empty()
            {
                found.into_iter().for_each(|one| *findings.replaced.entry(one).or_default() += 1);
                continue;
            }
            if let Some(why) =
                now.and_then(|now| now.refused(configuration)).filter(|_| row.outcome.weights().is_some())
            {
                findings.refused.entry(&why.what).or_insert((why, 0)).1 += 1;
            }
            for library in
                now.map(|now| now.missing_libraries(configuration, row, &self.environment)).unwrap_or_default()
            {
                *findings.missing.entry(library).or_insert(0) += 1;
            }
            findings.elsewhere += usize::from(row.environment != self.environment);
            findings.unstated += usize::from(row.outcome.weights().is_some() && row.outcome.materials().is_none());
            findings.failed_unstated += usize::from(
                matches!(&row.outcome, Outcome::Failed(failure) if failure.files.is_none() && states_files(configuration, failure)),
            );
            self.state().settled.insert(row.id.clone(), RowEnd::of(&row.outcome, false));
        }
        // What this run records of a failure is read anew.
        let mut state = self.state();
        state.files.clear();
        state.libraries.clear();
        drop(state);
        self.tell(findings);
        Ok(())
    }

    fn tell(&self, found: Findings<'_>) {
        let Findings { elsewhere, unstated, failed_unstated, restored, missing, replaced, refused } = found;
        let progress = &self.state().progress;
        for (replacement, rows) in replaced {
            progress.notice(&replacement.notice(rows));
        }
        for (why, rows) in refused.into_values() {
            progress.notice(&why.notice(rows));
        }
        if restored > 0 {
            progress.notice(&format!(
                "note: {restored} row(s) of this folder failed after a measurement; its files are here again, so it counts"
            ));
        }
        for (library, rows) in missing {
            progress.notice(&format!(
                "note: {library}: {rows} row(s) of this folder were measured with this library, and it is not here any \
                 more; they stay as they are"
            ));
        }
        if unstated > 0 {
            progress.notice(&format!(
                "note: {unstated} row(s) of this folder do not say which files they were measured with, for an older version \
                 of this program wrote them; they are kept, whatever has changed since"
            ));
        }
        if failed_unstated > 0 {
            progress.notice(&format!(
                "note: {failed_unstated} failed row(s) of this folder do not say which files they failed with, for an older \
                 version of this program wrote them; they are kept, whatever has changed since; measure them again with \
                 --retry-failed"
            ));
        }
        if elsewhere > 0 {
            progress.notice(&format!(
                "note: {elsewhere} row(s) of this folder were measured in another environment (machine, driver or build) \
                 and are kept; use another folder (--out) to measure everything in this one"
            ));
        }
    }

    /// The files that were others, or absent, when a configuration failed, and the libraries in a row of this environment; none
    /// where the row does not say.
    fn replaced_since(&self, of: &Configuration, row: &Record, failure: &Failure) -> Vec<Replacement> {
        let mut found = match &failure.files {
            Some(before) => replaced_since_failure(of, before, &self.files_of(of)),
            None => Vec::new(),
        };
        let libraries = failure.libraries.as_ref().filter(|_| row.environment == self.environment);
        if let Some((before, now)) = libraries.zip(self.libraries_of(of.backend)) {
            found.extend(differing(before, &now).into_iter().map(Replacement::OfFailure));
        }
        found
    }
}
