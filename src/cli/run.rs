//! `mixprec run`: the measurements of a manifest.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use super::output::note;
use crate::engine::BackendKind;
use crate::manifest::schema::Manifest;
use crate::plan::{Plan, Shard};
use crate::provenance::Environment;
use crate::runner::{self, RunOptions};
use crate::store::journal::OnDamage;

#[derive(Debug, Args)]
#[command(after_help = "A run that was interrupted continues when the same command is given again.")]
pub(super) struct RunArgs {
    /// Manifest, e.g. experiments/quick.yaml.
    manifest: PathBuf,
    /// Folder for the results [default: runs/NAME, or runs/NAME-shard-I-of-N for a shard].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Measure again the configurations that failed before.
    #[arg(long)]
    retry_failed: bool,
    /// Set damaged lines of the journal aside and measure their configurations again.
    #[arg(long)]
    force: bool,
    /// Run part I of N, e.g. 2/8. The parts take about equally long; `mixprec merge` joins their results.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Run the configurations of this backend only and leave the others pending; repeatable.
    #[arg(long = "backend", value_name = "BACKEND")]
    backends: Vec<BackendKind>,
}

pub(super) fn execute(args: &RunArgs) -> Result<u8> {
    let loaded = Manifest::load(&args.manifest)?;
    let plan = Plan::expand(&loaded);
    let dir = args.out.clone().unwrap_or_else(|| default_folder(&plan, args.shard));
    let options = RunOptions {
        environment: Environment::capture().for_manifest(&loaded.sha256),
        retry_failed: args.retry_failed,
        on_damage: if args.force { OnDamage::SetAside } else { OnDamage::Refuse },
        shard: args.shard,
        backends: args.backends.clone(),
    };
    if let Some(absent) = args.backends.iter().find(|&&kind| plan.configurations.iter().all(|one| one.backend != kind))
    {
        bail!("--backend {absent}: {} has no configuration of it", args.manifest.display());
    }
    for line in plan.notes() {
        note(format_args!("note: {line}"));
    }
    let summary = runner::run(&plan, &dir, &options)?;
    note(summary);
    note(format_args!("results: {}; next: mixprec report {}", dir.join("results.parquet").display(), dir.display()));
    Ok(summary.exit_code())
}

/// Shards run at the same time, often on one file system: each needs its own folder.
fn default_folder(plan: &Plan, shard: Option<Shard>) -> PathBuf {
    let name = match shard {
        Some(shard) => format!("{}-shard-{}-of-{}", plan.name, shard.index(), shard.count()),
        None => plan.name.clone(),
    };
    Path::new("runs").join(name)
}
