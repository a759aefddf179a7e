//! What planned configurations could answer which claim, before any is measured.

use super::query::{self, Admitted};
use super::schema::{Check, Claim, Claims, Event, Expression, Filter, Kind, Pairing, Quantity};
use super::verdict::usable_environments;
use crate::engine::DeviceKind;
use crate::graph::Preset;
use crate::model::{ModelSource, WeightsOrigin, WeightsProvenance};
use crate::plan::{Configuration, Plan};
use crate::record::{InputKind, Status};
use crate::results::data::Data;
use crate::store::derive;
use crate::store::schema::ResultRow;

/// Positions in a plan of the rows that yield one value of a check together: one row, or both of a pair.
pub type ValueRows = Vec<usize>;

/// A claim and what could answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// Id of the claim.
    pub claim: String,
    /// For each of its checks the units that yield its values. A check without one leaves the claim open.
    pub checks: Vec<Vec<ValueRows>>,
    /// What brings an answer where this plan cannot: the manifest and the hardware of the claim.
    pub elsewhere: String,
}

impl Prospect {
    /// Whether each check has a unit whose rows are all among these.
    pub fn is_answered(&self, has: impl Fn(usize) -> bool) -> bool {
        let complete = |unit: &ValueRows| unit.iter().all(|&row| has(row));
        !self.checks.is_empty() && self.checks.iter().all(|units| units.iter().any(complete))
    }
}

/// The prospects of every claim. `data` holds the plan and the environment, and no rows are needed; `executes` says of a
/// configuration whether its backend executes here.
pub fn prospects(data: &Data, claims: &Claims, executes: impl Fn(&Configuration) -> bool) -> Vec<Prospect> {
    let plan = &data.plan;
    let environment = data.environments.keys().next();
    let row = |one| ResultRow { environment: environment.cloned(), ..imagined(plan, one, executes(one)) };
    let rows = plan.configurations.iter().map(row).collect();
    let data = Data { plan: plan.clone(), rows, environments: data.environments.clone() };
    claims.claims.iter().map(|claim| prospect(&data, claim)).collect()
}

fn prospect(data: &Data, claim: &Claim) -> Prospect {
    let elsewhere = format!("{}; needs {}", claim.command, claim.hardware);
    let none = Prospect { claim: claim.id.clone(), checks: vec![], elsewhere };
    let Ok(environments) = usable_environments(data, &claim.scope) else { return none };
    if claim.requires_experiment && data.plan.name != claim.experiment {
        return none;
    }
    let emulated = claim.kind.admits_emulation() || claim.kind == Kind::Count;
    let admitted = Admitted::of(data, emulated, environments);
    let checks = claim.checks.iter().flat_map(|check| units(data, check, &admitted)).collect();
    Prospect { checks, ..none }
}

/// The units of a check; of a share that names counterparts, the pairs with them as well.
fn units(data: &Data, Check { expression, expect, .. }: &Check, admitted: &Admitted) -> Vec<Vec<ValueRows>> {
    let position = |row: &ResultRow| data.plan.configurations.iter().position(|one| one.id.0 == row.id);
    let unit = |rows: &[&ResultRow]| rows.iter().map(|row| position(row)).collect::<Option<ValueRows>>();
    let single = |filter: &Filter, has: &dyn Fn(&ResultRow) -> bool| -> Vec<ValueRows> {
        let rows = query::rows(&data.rows, &unscored(filter), admitted);
        rows.into_iter().filter(|row| has(row)).filter_map(|row| unit(&[row])).collect()
    };
    match expression {
        Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing) => {
            let sides = [&pairing.numerator, &pairing.denominator].map(unscored);
            let [numerator, denominator] = sides;
            let pairs = query::pairs_of(data, &Pairing { numerator, denominator, ..pairing.clone() }, admitted);
            let has = |row: &ResultRow| yields(&data.plan, row, pairing.of);
            let whole = pairs.iter().filter(|pair| has(pair.numerator) && has(pair.denominator));
            vec![whole.filter_map(|pair| unit(&[pair.numerator, pair.denominator])).collect()]
        }
        Expression::Aggregate(aggregate) => {
            vec![single(&aggregate.filter, &|row| yields(&data.plan, row, aggregate.of))]
        }
        Expression::Share(share) => {
            let has = |_: &ResultRow| share.event != Event::Broken || data.plan.numerics.compare_sequences > 0;
            let mut checks = vec![single(&share.filter, &has)];
            if let Some(counterpart) = &share.eliminated_from {
                let pairs = query::counterparts(data, &share.filter, counterpart, admitted);
                checks.push(pairs.iter().filter_map(|pair| unit(&[pair.numerator, pair.denominator])).collect());
            }
            checks
        }
        // Fewer rows than the limit decide nothing.
        Expression::Count(count) => {
            let fewest = expect.at_least.or(expect.more_than.map(|limit| limit + 1.0)).unwrap_or(1.0).ceil() as usize;
            let all: ValueRows = single(&count.filter, &|_| true).into_iter().flatten().collect();
            vec![all.get(..fewest).map(<[usize]>::to_vec).into_iter().collect()]
        }
    }
}

/// The filter without what only a measurement knows.
fn unscored(filter: &Filter) -> Filter {
    Filter { accuracy_above: None, ..filter.clone() }
}

/// Whether a measured row of the plan has the quantity.
fn yields(plan: &Plan, row: &ResultRow, of: Quantity) -> bool {
    let forwards = plan.numerics.forwards.is_some_and(|forwards| forwards > 0);
    match of {
        Quantity::NanRate | Quantity::BrokenRate | Quantity::FailureRate | Quantity::SilentRate => forwards,
        Quantity::ForwardCosineMin => forwards,
        Quantity::LargestDeviation => forwards && row.precision == Preset::Fp32.name(),
        Quantity::TaskAccuracy => row.input_kind == InputKind::Sst2,
        Quantity::Perplexity => row.input_kind == InputKind::Text && plan.numerics.score_windows > 0,
        _ => true,
    }
}

/// The row as a measurement would leave it, without its values. It has failed where something that it needs is not here.
fn imagined(plan: &Plan, one: &Configuration, executes: bool) -> ResultRow {
    let checkpoint = one.model_source.checkpoint_here(&plan.base_dir).is_some();
    let random = matches!(one.model_source.base(), ModelSource::Random { .. })
        || (!checkpoint && one.model_source.stand_in().is_some());
    let input = one.input_source.path().is_none_or(|path| plan.base_dir.join(path).exists());
    let here = executes && input && (checkpoint || random);
    let fp32 = one.policy.as_preset() == Some(Preset::Fp32);
    let mut row = ResultRow {
        status: if here { Status::Ok } else { Status::Failed },
        emulated: Some(one.backend.device() == DeviceKind::Cpu && !fp32),
        ..derive::pending(one)
    };
    let origin = match random {
        true => WeightsOrigin::Random { seed: 0 },
        false => WeightsOrigin::Folder { sha256: String::new() },
    };
    row.set_weights(&WeightsProvenance { origin, outlier: one.model_source.injection() });
    row
}
