//! Who runs which configuration next.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::plan::{Configuration, Plan, Shard};

/// Configurations that wait, in a queue for each lane.
pub(super) struct Feed<'a> {
    queues: Mutex<Vec<VecDeque<&'a Configuration>>>,
}

impl<'a> Feed<'a> {
    /// All in one queue.
    pub fn single(configurations: Vec<&'a Configuration>) -> Self {
        Feed { queues: Mutex::new(vec![configurations.into()]) }
    }

    /// Divided into as many queues, as shards are: rows that the report compares stay in one queue.
    pub fn divided(plan: &Plan, configurations: &[&'a Configuration], queues: usize) -> Self {
        let part = Plan { configurations: configurations.iter().copied().cloned().collect(), ..plan.clone() };
        let queue = |index| {
            let shard = Shard::new(index, queues).map(|shard| part.shard(shard)).unwrap_or_default();
            let find = |one: &Configuration| configurations.iter().copied().find(|other| other.id == one.id);
            shard.into_iter().filter_map(find).collect()
        };
        Feed { queues: Mutex::new((1..=queues).map(queue).collect()) }
    }

    /// The waiting configurations of one backend, model and policy for a lane: those of its own queue or, where that is empty,
    /// the last half of the longest. `None` when nothing waits.
    pub fn group(&self, lane: usize) -> Option<Vec<&'a Configuration>> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues[lane].is_empty() {
            let longest = (0..queues.len()).max_by_key(|&other| queues[other].len())?;
            let kept = queues[longest].len() / 2;
            queues[lane] = queues[longest].split_off(kept);
        }
        let first = *queues[lane].front()?;
        let same = |one: &&Configuration| {
            (one.backend, &one.model, &one.policy) == (first.backend, &first.model, &first.policy)
        };
        Some(queues[lane].iter().copied().filter(same).collect())
    }

    /// Takes a configuration out of a lane's queue; false where another lane has it.
    pub fn take(&self, lane: usize, one: &Configuration) -> bool {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let position = queues[lane].iter().position(|other| other.id == one.id);
        position.is_some_and(|position| queues[lane].remove(position).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema::Manifest;

    fn plan() -> Plan {
        Plan::expand(&Manifest::load("experiments/quick.yaml".as_ref()).unwrap())
    }

    #[test]
    fn a_lane_without_rows_takes_half_of_anothers_and_none_is_run_twice() {
        let plan = plan();
        let all: Vec<&Configuration> = plan.configurations.iter().collect();
        let feed = Feed::divided(&plan, &all, 2);
        let mut taken = vec![];
        // The second lane is three times as fast.
        for lane in [0, 1, 1, 1].into_iter().cycle() {
            let Some(group) = feed.group(lane) else { break };
            assert!(group.iter().all(|one| one.policy.name == group[0].policy.name && one.model == group[0].model));
            if feed.take(lane, group[0]) {
                taken.push((lane, &group[0].id));
            }
            assert!(!feed.take(lane, group[0]) && !feed.take(1 - lane, group[0]));
        }
        let of_first = taken.iter().filter(|(lane, _)| *lane == 0).count();
        assert_eq!(of_first, all.len() / 4);
        let mut ids: Vec<_> = taken.iter().map(|(_, id)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
    }

    #[test]
    fn what_is_compared_stays_in_one_queue() {
        let plan = plan();
        let all: Vec<&Configuration> = plan.configurations.iter().collect();
        let queues = Feed::divided(&plan, &all, 2).queues.into_inner().unwrap();
        let site = |one: &Configuration| (one.model.clone(), one.shape, one.input.clone());
        assert!(queues[0].iter().all(|one| queues[1].iter().all(|other| site(one) != site(other))));
        assert!(queues.iter().all(|queue| queue.len() > all.len() / 3));
    }
}
