//! Estimates that improve: the nominal ones, scaled by how long finished rows really took.

use std::collections::BTreeMap;

use super::{Configuration, Plan};

/// Wall time against estimates of finished rows, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    estimated_s: f64,
    measured_s: f64,
}

/// How long rows take here. Rows of one backend, model and policy have a pace of their own; others go by that of all.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    groups: BTreeMap<(String, String, String), Sums>,
    all: Sums,
    references: Sums,
}

impl Sums {
    fn add(&mut self, estimated_s: f64, measured_s: f64) {
        self.estimated_s += estimated_s;
        self.measured_s += measured_s;
    }

    /// `None` before anything has finished.
    fn ratio(self) -> Option<f64> {
        Some(self.measured_s / self.estimated_s).filter(|ratio| ratio.is_finite())
    }
}

impl Pace {
    /// Before anything has finished, where everything takes this many times as long as estimated.
    pub fn slowed(by: f64) -> Self {
        // It weighs as much as a row of a second.
        let sums = Sums { estimated_s: 1.0, measured_s: by };
        Pace { groups: BTreeMap::new(), all: sums, references: sums }
    }

    /// A row has finished after this many seconds, the FP32 reference left out.
    pub fn finished(&mut self, plan: &Plan, one: &Configuration, measured_s: f64) {
        let estimated_s = plan.estimate(one).total_s;
        self.groups.entry(key(one)).or_default().add(estimated_s, measured_s);
        self.all.add(estimated_s, measured_s);
    }

    /// The FP32 reference of a row has taken this many seconds.
    pub fn referenced(&mut self, plan: &Plan, one: &Configuration, measured_s: f64) {
        self.references.add(plan.reference_s(one), measured_s);
    }

    /// How long a row will take, seconds, its FP32 reference left out. A group of which nothing has finished is not
    /// taken to be faster than its estimate, because the nominal rates of backends err apart.
    pub fn expected_s(&self, plan: &Plan, one: &Configuration) -> f64 {
        let known = self.groups.get(&key(one)).and_then(|sums| sums.ratio());
        plan.estimate(one).total_s * known.unwrap_or_else(|| self.all.ratio().unwrap_or(1.0).max(1.0))
    }

    /// How long the FP32 reference of a row will take where it has to be computed, seconds.
    pub fn expected_reference_s(&self, plan: &Plan, one: &Configuration) -> f64 {
        plan.reference_s(one) * self.references.ratio().unwrap_or(1.0)
    }
}

fn key(one: &Configuration) -> (String, String, String) {
    (one.builder(), one.model.clone(), one.policy.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema::Manifest;

    #[test]
    fn a_group_goes_by_its_own_rows_and_another_is_not_taken_to_be_faster() {
        let plan = Plan::expand(&Manifest::load("experiments/quick.yaml".as_ref()).unwrap());
        let of = |policy: &str| plan.configurations.iter().find(|one| one.policy.name == policy).unwrap();
        let (fp32, fp16) = (of("fp32"), of("fp16"));
        let nominal_s = |one| plan.estimate(one).total_s;
        let mut pace = Pace::default();
        assert_eq!(pace.expected_s(&plan, fp32), nominal_s(fp32));
        pace.finished(&plan, fp32, nominal_s(fp32) / 2.0);
        assert!((pace.expected_s(&plan, fp32) - nominal_s(fp32) / 2.0).abs() < 1e-9);
        assert_eq!(pace.expected_s(&plan, fp16), nominal_s(fp16));
        pace.finished(&plan, fp32, nominal_s(fp32) * 5.5);
        assert!((pace.expected_s(&plan, fp16) - nominal_s(fp16) * 3.0).abs() < 1e-9);
    }
}
