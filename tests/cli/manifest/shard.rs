//! Shards of the manifests in `experiments/`: every configuration once, and what is divided by one another together.

use std::collections::BTreeSet;
use std::path::Path;

use mixprec::manifest::schema::Manifest;
use mixprec::plan::{Configuration, ConfigurationId, Plan, Shard};

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
            let ids: Vec<&ConfigurationId> = shards(&plan, count).into_iter().flatten().map(|one| &one.id).collect();
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
    assert_eq!("2/8".parse().ok(), Shard::new(2, 8));
    assert_eq!(Shard::new(2, 8).unwrap().to_string(), "2/8");
    for wrong in ["0/8", "9/8", "8", "1/0", "a/b", "-1/2", ""] {
        let error = wrong.parse::<Shard>().unwrap_err();
        assert!(error.contains("is no shard; write I/N"), "{error}");
    }
}
