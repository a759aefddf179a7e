//! Which rows of a folder stay, and what the user is told of the others.

use std::collections::BTreeMap;

use super::{RowEnd, Sweep};
use crate::plan::ConfigurationId;
use crate::record::{Outcome, Record};
use crate::runner::materials::{CurrentMaterials, Refused, Replacement};

impl Sweep<'_> {
    /// Skips the configurations that already have a final row. A row is not final when it would be made from something else
    /// now; `None` where nobody could be asked.
    pub(super) fn settle(&mut self, earlier: &BTreeMap<&ConfigurationId, &Record>, now: Option<&CurrentMaterials>) {
        let (mut elsewhere, mut unstated) = (0, 0);
        let mut replaced: BTreeMap<Replacement, usize> = BTreeMap::new();
        let mut refused: BTreeMap<&str, (&Refused, usize)> = BTreeMap::new();
        for configuration in &self.plan.configurations {
            let Some(row) = earlier.get(&configuration.id) else { continue };
            let of_row = |now: &CurrentMaterials| now.replacements(configuration, row, &self.environment);
            let replacements = now.map(of_row).unwrap_or_default();
            if !replacements.is_empty() {
                replacements.into_iter().for_each(|one| *replaced.entry(one).or_default() += 1);
                continue;
            }
            if self.retry_failed && !matches!(row.outcome, Outcome::Ok(_)) {
                continue;
            }
            if let Some(why) =
                now.and_then(|now| now.refused(configuration)).filter(|_| row.outcome.weights().is_some())
            {
                refused.entry(&why.what).or_insert((why, 0)).1 += 1;
            }
            elsewhere += usize::from(row.environment != self.environment);
            unstated += usize::from(row.outcome.weights().is_some() && row.outcome.materials().is_none());
            self.settled.insert(row.id.clone(), RowEnd::of(&row.outcome, false));
        }
        for (replacement, rows) in replaced {
            self.progress.notice(&replacement.notice(rows));
        }
        for (why, rows) in refused.into_values() {
            self.progress.notice(&why.notice(rows));
        }
        if unstated > 0 {
            self.progress.notice(&format!(
                "note: {unstated} row(s) of this folder do not say which files they were measured with, for an older version \
                 of this program wrote them; they are kept, whatever has changed since"
            ));
        }
        if elsewhere > 0 {
            self.progress.notice(&format!(
                "note: {elsewhere} row(s) of this folder were measured in another environment (machine, driver or build) \
                 and are kept; use another folder (--out) to measure everything in this one"
            ));
        }
    }
}
