//! A part of a plan, for machines or GPUs that share the work. Every machine computes the same division.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Configuration, ConfigurationId, Plan};
use crate::digest::sha256;

/// Part `index` of `count`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Part `index` of `count`; `None` unless `1 <= index <= count`.
    pub fn new(index: usize, count: usize) -> Option<Self> {
        (1..=count).contains(&index).then_some(Shard { index, count })
    }

    /// Which part, from 1.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many parts there are.
    pub fn count(self) -> usize {
        self.count
    }
}

impl fmt::Display for Shard {
    /// `2/8`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        parsed
            .and_then(|(index, count)| Shard::new(index, count))
            .ok_or_else(|| format!("`{text}` is no shard; write I/N with I from 1 to N, e.g. 2/8"))
    }
}

impl Plan {
    /// The configurations of one shard, in the plan's order. Every configuration is in exactly one shard of a count.
    ///
    /// The unit of the division is a block: all backends, policies and targets of one model, shape and input stay together.
    /// The report divides their times by one another, and a ratio of times from two machines would also compare the
    /// machines. Blocks are assigned by the longest-processing-time rule (Graham 1969): the block with the longest estimate
    /// goes first, each to the shard with the least work so far. The longest shard is at most 4/3 of the optimum. Ties are
    /// broken by configuration ids, so the division depends on nothing but the manifest. If the count exceeds the number of
    /// blocks, some shards are empty.
    pub fn shard(&self, shard: Shard) -> Vec<&Configuration> {
        let mut blocks = self.blocks();
        blocks.sort_by(|a, b| b.estimated_s.total_cmp(&a.estimated_s).then_with(|| a.digest.cmp(&b.digest)));
        // Shards beyond the number of blocks stay empty and need no entry here, however many there are.
        let mut loads_s = vec![0.0_f64; shard.count.min(blocks.len())];
        let mut chosen = Vec::new();
        for block in blocks {
            let least = (0..loads_s.len()).min_by(|&a, &b| loads_s[a].total_cmp(&loads_s[b])).unwrap_or(0);
            loads_s[least] += block.estimated_s;
            if least + 1 == shard.index {
                chosen.extend(block.members);
            }
        }
        chosen.sort_unstable();
        chosen.into_iter().map(|position| &self.configurations[position]).collect()
    }

    fn blocks(&self) -> Vec<ShardBlock> {
        let mut blocks: BTreeMap<_, Vec<(&ConfigurationId, usize)>> = BTreeMap::new();
        for (position, configuration) in self.configurations.iter().enumerate() {
            let shape = (configuration.shape.batch, configuration.shape.sequence);
            let members = blocks.entry((&configuration.model, shape, &configuration.input)).or_default();
            members.push((&configuration.id, position));
        }
        let estimates = self.estimates();
        let block = |mut members: Vec<(&ConfigurationId, usize)>| {
            // A sum depends on the order of its terms in the last digit, and the manifest's order must not matter.
            members.sort_unstable();
            let ids: Vec<&str> = members.iter().map(|(id, _)| id.0.as_str()).collect();
            ShardBlock {
                digest: sha256(ids.join(" ").as_bytes()),
                estimated_s: members.iter().map(|&(_, position)| estimates[position].total_s).sum(),
                members: members.into_iter().map(|(_, position)| position).collect(),
            }
        };
        blocks.into_values().map(block).collect()
    }
}

/// Configurations that stay on one machine.
#[derive(Debug)]
struct ShardBlock {
    /// SHA-256 of their ids.
    digest: String,
    estimated_s: f64,
    /// Positions in the plan.
    members: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::manifest::schema::Manifest;

    fn plan(manifest: &str) -> Plan {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(manifest);
        Plan::expand(&Manifest::load(&path).unwrap())
    }

    fn shards(plan: &Plan, count: usize) -> Vec<Vec<&Configuration>> {
        (1..=count).map(|index| plan.shard(Shard::new(index, count).unwrap())).collect()
    }

    #[test]
    fn every_configuration_is_in_one_shard_whatever_the_count() {
        for (manifest, counts) in [("quick.yaml", [1, 2, 3, 48]), ("paper.yaml", [1, 7, 8, 100])] {
            let plan = plan(manifest);
            let all: BTreeSet<&ConfigurationId> = plan.configurations.iter().map(|one| &one.id).collect();
            for count in counts {
                let ids: Vec<&ConfigurationId> =
                    shards(&plan, count).into_iter().flatten().map(|one| &one.id).collect();
                assert_eq!(ids.len(), plan.configurations.len(), "{manifest} {count}");
                assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), all, "{manifest} {count}");
            }
        }
    }

    #[test]
    fn what_is_divided_by_one_another_stays_together() {
        let plan = plan("paper.yaml");
        let mut seen = BTreeSet::new();
        for shard in shards(&plan, 8) {
            let blocks: BTreeSet<_> =
                shard.iter().map(|one| (&one.model, one.shape.batch, one.shape.sequence, &one.input)).collect();
            assert!(shard.iter().any(|one| one.policy.name == "fp32"));
            assert!(blocks.into_iter().all(|block| seen.insert(block)), "a block is in two shards");
        }
    }

    #[test]
    fn shards_take_about_as_long() {
        let plan = plan("paper.yaml");
        let of_all: f64 = plan.estimates().iter().map(|estimate| estimate.total_s).sum();
        for count in [2, 4, 8] {
            for shard in shards(&plan, count) {
                let own_s: f64 = shard.iter().map(|one| plan.estimate(one).total_s).sum();
                let share = own_s * count as f64 / of_all;
                assert!((0.9..1.1).contains(&share), "{count}: {share}");
            }
        }
    }

    #[test]
    fn more_shards_than_blocks_are_empty_whatever_the_number() {
        let plan = plan("quick.yaml");
        let size = |index| plan.shard(Shard::new(index, usize::MAX).unwrap()).len();
        // Two models in six shapes; ONNX Runtime has only FP32 there.
        assert_eq!([size(1), size(12), size(13), size(usize::MAX)], [4, 4, 0, 0]);
    }

    #[test]
    fn the_division_depends_on_ids_and_not_on_the_order_of_the_manifest() {
        let plan = plan("quick.yaml");
        let mut turned = plan.clone();
        turned.configurations.reverse();
        let ids = |plan: &Plan, index| -> BTreeSet<ConfigurationId> {
            plan.shard(Shard::new(index, 5).unwrap()).into_iter().map(|one| one.id.clone()).collect()
        };
        for index in 1..=5 {
            assert_eq!(ids(&plan, index), ids(&turned, index));
        }
    }

    #[test]
    fn shards_are_written_as_a_fraction() {
        assert_eq!("2/8".parse(), Ok(Shard { index: 2, count: 8 }));
        assert_eq!(Shard { index: 2, count: 8 }.to_string(), "2/8");
        for wrong in ["0/8", "9/8", "8", "1/0", "a/b", "-1/2", ""] {
            let error = wrong.parse::<Shard>().unwrap_err();
            assert!(error.contains("is no shard; write I/N"), "{error}");
        }
    }
}
