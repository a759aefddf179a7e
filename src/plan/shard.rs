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
