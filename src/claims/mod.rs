//! Claims of the paper as checkable expressions over the results, and their verdicts. This module holds facts; the
//! report words them.

pub mod evaluate;
pub mod evidence;
mod filter;
pub mod findings;
pub mod headline;
pub mod interval;
pub mod prospects;
pub mod query;
pub mod read;
mod reduce;
pub mod schema;
pub mod several;
pub mod verdict;

use std::path::Path;

use crate::results::ResultsError;
use crate::results::data::Data;
use crate::results::machines::{Machine, machines as machines_of};
use crate::results::study::Study;
pub use read::ClaimsError;
pub use schema::Claims;
pub use verdict::{Outcome, Verdict};

/// Judges every claim and finding by the results in `dir`, in the order of the file; those of an artifact by all its experiments.
///
/// # Errors
/// [`ResultsError`] when the folder cannot be read.
pub fn verify(dir: &Path, claims: &Claims) -> Result<Vec<Verdict>, ResultsError> {
    Ok(judge_study(&Study::read(dir)?, claims))
}

/// Judges every claim by the experiments of a study, each by itself; the repeats do not count.
pub fn judge_study(study: &Study, claims: &Claims) -> Vec<Verdict> {
    let all = std::iter::once(&study.main).chain(&study.others);
    several::by_experiment(all.map(|data| (data.plan.name.clone(), judge(data, claims))).collect())
}

/// Judges every claim by results that were read already. Results of several machines are judged machine by machine: no
/// ratio is made of two machines' times, and a claim about hardware is N/A-HARDWARE where the machine is another.
pub fn judge(data: &Data, claims: &Claims) -> Vec<Verdict> {
    let machines = machines_of(data);
    let mut by_machine = machines.iter().map(|Machine { data, .. }| judge_machine(data, claims));
    if machines.len() == 1 {
        return by_machine.next().unwrap_or_default();
    }
    let mut by_machine: Vec<_> = by_machine.map(Vec::into_iter).collect();
    let of_claim = |_: &schema::Claim| {
        let verdicts: Vec<Verdict> = by_machine.iter_mut().filter_map(Iterator::next).collect();
        several::by_machine(&machines, verdicts)
    };
    claims.claims.iter().filter_map(of_claim).collect()
}

fn judge_machine(data: &Data, claims: &Claims) -> Vec<Verdict> {
    let results = evaluate::Results { data };
    claims.claims.iter().map(|claim| verdict::judge(&results, claim)).collect()
}
