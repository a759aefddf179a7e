//! `mixprec run`: the measurements of a manifest.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use super::output::note;
use crate::budget::{self, BudgetRequest, Schedule, TimeLimit};
use crate::claims::Claims;
use crate::engine::BackendKind;
use crate::manifest::schema::Manifest;
use crate::plan::{Plan, Shard};
use crate::provenance::Environment;
use crate::record::Record;
use crate::runner::placement::{self, GpuChoice};
use crate::runner::{self, RunOptions};
use crate::store::journal::{self, JournalContents, OnDamage};
use crate::terminal::shell_word;

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
    /// Spread the rows over GPUs of this host, one row a GPU at a time: all, or numbers like 0,1.
    #[arg(long, value_name = "LIST")]
    gpus: Option<GpuChoice>,
    /// End within this time, e.g. 45m, and run first what decides most claims and tables. The same command again goes on.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    budget: Option<TimeLimit>,
}

pub(super) fn execute(args: &RunArgs) -> Result<u8> {
    let started = Instant::now();
    let loaded = Manifest::load(&args.manifest)?;
    let plan = Plan::expand(&loaded);
    let dir = args.out.clone().unwrap_or_else(|| default_folder(&plan, args.shard));
    let mut options = RunOptions {
        environment: Environment::capture().for_manifest(&loaded.sha256),
        retry_failed: args.retry_failed,
        on_damage: if args.force { OnDamage::SetAside } else { OnDamage::Refuse },
        shard: args.shard,
        backends: args.backends.clone(),
        gpus: args.gpus.as_ref().map(placement::shares).transpose()?.unwrap_or_default(),
        deadline: None,
    };
    if let Some(absent) = args.backends.iter().find(|&&kind| plan.configurations.iter().all(|one| one.backend != kind))
    {
        bail!("--backend {absent}: {} has no configuration of it", args.manifest.display());
    }
    for line in plan.notes() {
        note(format_args!("note: {line}"));
    }
    let claims = Claims::builtin()?;
    if let Some(TimeLimit(limit)) = args.budget {
        let part = runner::part(&plan, &options);
        let limits = BudgetRequest {
            plan: &part,
            environment: &options.environment,
            executing: &runner::executing(&part)?,
            gpus: options.gpus.len(),
            earlier: &earlier(&dir),
            limit,
            slowdown: budget::slowdown(),
        };
        let schedule = Schedule::new(&limits, &claims);
        note(schedule.forecast(&part).trim_end());
        options.deadline = Some(schedule.deadline(&part, started));
    }
    let summary = runner::run(&plan, &dir, &options)?;
    note(summary);
    if args.budget.is_some() && !summary.interrupted {
        note(budget::outcome(&dir, &runner::part(&plan, &options), &claims)?.trim_end());
    }
    let results = dir.join("results.parquet");
    note(format_args!("results: {}; next: mixprec report {}", results.display(), shell_word(&dir)));
    Ok(summary.exit_code())
}

/// The newest row of each configuration in a folder, in the order in which they finished. There are none in a journal that the run will refuse.
fn earlier(dir: &Path) -> Vec<Record> {
    let rows = |contents: JournalContents| contents.latest().into_values().cloned().collect();
    let mut rows: Vec<Record> = journal::read(dir).map(rows).unwrap_or_default();
    rows.sort_by_key(|record| record.finished_unix_s);
    rows
}

/// Shards run at the same time, often on one file system: each needs its own folder.
fn default_folder(plan: &Plan, shard: Option<Shard>) -> PathBuf {
    let name = match shard {
        Some(shard) => format!("{}-shard-{}-of-{}", plan.name, shard.index(), shard.count()),
        None => plan.name.clone(),
    };
    Path::new("runs").join(name)
}
