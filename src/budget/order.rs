//! The order in which rows decide most per second.

use crate::claims::prospects::{Prospect, ValueRows};

/// What all tables together weigh, where a claim weighs 1.
const TABLES: f64 = 2.0;
/// What the first value of a check weighs; all its values share the rest of the check's 1.
const FIRST: f64 = 0.5;

/// What the rows of a plan cost, by their positions.
#[derive(Debug, Clone, Default)]
pub(super) struct Costs {
    /// Seconds of each row, its FP32 reference left out.
    pub row_s: Vec<f64>,
    /// The FP32 reference of each row: which, and how many seconds it takes.
    pub references: Vec<(usize, f64)>,
}

/// A set of units of which the first counts more than each later one.
struct Goal {
    weight: f64,
    first: f64,
    units: Vec<ValueRows>,
}

/// Rows taken so far, and what they decide.
struct Selection<'a> {
    goals: &'a [Goal],
    costs: &'a Costs,
    /// Units of each row, as goal and unit.
    of_row: Vec<Vec<(usize, usize)>>,
    taken: Vec<bool>,
    referenced: Vec<bool>,
    complete: Vec<usize>,
}

/// Every row that is not `done`, those that decide most per second first. A row that costs nothing, because its backend does
/// not execute here, comes last.
pub(super) fn order(prospects: &[Prospect], tables: &[ValueRows], costs: &Costs, done: &[bool]) -> Vec<usize> {
    let goals = goals(prospects, tables);
    let mut state = Selection::new(&goals, costs, done);
    let mut order = Vec::new();
    while let Some(best) = state.best() {
        state.take(&best);
        order.extend(best);
    }
    order.extend((0..done.len()).filter(|&row| !state.taken[row]));
    order
}

fn goals(prospects: &[Prospect], tables: &[ValueRows]) -> Vec<Goal> {
    let of_claim = |claim: &Prospect| {
        let weight = 1.0 / claim.checks.len().max(1) as f64;
        claim.checks.iter().map(move |units| Goal { weight, first: FIRST, units: units.clone() }).collect::<Vec<_>>()
    };
    let mut goals: Vec<Goal> = prospects.iter().flat_map(of_claim).filter(|goal| !goal.units.is_empty()).collect();
    goals.push(Goal { weight: TABLES, first: 0.0, units: tables.to_vec() });
    goals
}

impl<'a> Selection<'a> {
    fn new(goals: &'a [Goal], costs: &'a Costs, done: &[bool]) -> Self {
        let mut of_row = vec![Vec::new(); done.len()];
        for (goal, one) in goals.iter().enumerate() {
            for (unit, rows) in one.units.iter().enumerate() {
                rows.iter().for_each(|&row| of_row[row].push((goal, unit)));
            }
        }
        let references = costs.references.iter().map(|(reference, _)| reference + 1).max().unwrap_or(0);
        let mut state = Selection {
            goals,
            costs,
            of_row,
            taken: vec![false; done.len()],
            referenced: vec![false; references],
            complete: vec![0; goals.len()],
        };
        let done: Vec<usize> = (0..done.len()).filter(|&row| done[row]).collect();
        state.take(&done);
        state
    }

    fn missing(&self, unit: &ValueRows) -> ValueRows {
        unit.iter().copied().filter(|&row| !self.taken[row]).collect()
    }

    /// The units that are complete with these rows and are not without them, by goal.
    fn completed_by(&self, rows: &[usize]) -> Vec<(usize, usize)> {
        let mut touched: Vec<(usize, usize)> = rows.iter().flat_map(|&row| self.of_row[row].iter().copied()).collect();
        touched.sort_unstable();
        touched.dedup();
        let has = |row: &usize| self.taken[*row] || rows.contains(row);
        touched.retain(|&(goal, unit)| self.goals[goal].units[unit].iter().all(has));
        touched
    }

    fn gain(&self, rows: &[usize]) -> f64 {
        let mut gain = 0.0;
        for of_goal in self.completed_by(rows).chunk_by(|a, b| a.0 == b.0) {
            let goal = of_goal[0].0;
            let Goal { weight, first, units } = &self.goals[goal];
            let share = of_goal.len() as f64 / units.len() as f64;
            let begun = if self.complete[goal] == 0 { *first } else { 0.0 };
            gain += weight * (begun + (1.0 - first) * share);
        }
        gain
    }

    fn cost_s(&self, rows: &[usize]) -> f64 {
        let mut references: Vec<(usize, f64)> = rows.iter().map(|&row| self.costs.references[row]).collect();
        references.sort_by_key(|(reference, _)| *reference);
        references.dedup_by_key(|(reference, _)| *reference);
        let new = references.iter().filter(|(reference, _)| !self.referenced[*reference]).map(|(_, cost_s)| cost_s);
        rows.iter().map(|&row| self.costs.row_s[row]).sum::<f64>() + new.sum::<f64>()
    }

    /// The missing rows of the unit that gains most per second.
    fn best(&self) -> Option<ValueRows> {
        let units = self.goals.iter().flat_map(|goal| &goal.units).map(|unit| self.missing(unit));
        let mut candidates: Vec<ValueRows> = units.filter(|rows| !rows.is_empty()).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let worth = |rows: &ValueRows| {
            let cost_s = self.cost_s(rows);
            (cost_s > 0.0).then(|| self.gain(rows) / cost_s)
        };
        let rated = candidates.into_iter().filter_map(|rows| Some((worth(&rows)?, rows)));
        // The first of equals, in the plan's order.
        let best = rated.reduce(|best, other| if other.0 > best.0 { other } else { best });
        best.map(|(_, rows)| rows)
    }

    fn take(&mut self, rows: &[usize]) {
        for (goal, _) in self.completed_by(rows) {
            self.complete[goal] += 1;
        }
        for &row in rows {
            self.taken[row] = true;
            self.referenced[self.costs.references[row].0] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(checks: &[&[&[usize]]]) -> Prospect {
        let units = |units: &&[&[usize]]| units.iter().map(|unit| unit.to_vec()).collect();
        Prospect { claim: "C1".into(), checks: checks.iter().map(units).collect(), elsewhere: String::new() }
    }

    fn costs(row_s: &[f64]) -> Costs {
        Costs { row_s: row_s.to_vec(), references: (0..row_s.len()).map(|row| (row, 0.0)).collect() }
    }

    fn singles(rows: usize) -> Vec<ValueRows> {
        (0..rows).map(|row| vec![row]).collect()
    }

    #[test]
    fn cheap_rows_that_begin_a_claim_come_before_more_of_the_same() {
        let claims = [claim(&[&[&[0], &[1]]]), claim(&[&[&[2]]])];
        assert_eq!(order(&claims, &singles(4), &costs(&[1.0; 4]), &[false; 4]), [2, 0, 1, 3]);
        assert_eq!(order(&claims, &singles(4), &costs(&[1.0, 0.1, 3.0, 1.0]), &[false; 4])[0], 1);
    }

    #[test]
    fn both_rows_of_a_pair_come_together_and_a_row_that_is_there_costs_nothing() {
        let claims = [claim(&[&[&[0, 3]]])];
        assert_eq!(order(&claims, &singles(4), &costs(&[1.0; 4]), &[false; 4])[..2], [0, 3]);
        let done = [true, false, false, false];
        assert_eq!(order(&claims, &singles(4), &costs(&[1.0; 4]), &done), [3, 1, 2]);
    }

    #[test]
    fn a_reference_is_paid_once() {
        let shared = Costs { row_s: vec![1.0; 3], references: vec![(0, 5.0), (1, 5.0), (0, 5.0)] };
        assert_eq!(order(&[], &singles(3), &shared, &[false; 3]), [0, 2, 1]);
    }

    #[test]
    fn rows_that_fail_at_once_come_last() {
        let claims = [claim(&[&[&[0]], &[&[1]]])];
        assert_eq!(order(&claims, &singles(3), &costs(&[0.0, 1.0, 1.0]), &[false; 3]), [1, 2, 0]);
    }
}
