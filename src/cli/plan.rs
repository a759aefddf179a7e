//! `mixprec plan`: the configurations of a manifest.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::OK;
use super::output::{note, show, show_json};
use crate::fetch;
use crate::input::check_lines;
use crate::manifest::schema::Manifest;
use crate::plan::Plan;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Manifest, e.g. experiments/quick.yaml.
    manifest: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &PlanArgs) -> Result<u8> {
    let loaded = Manifest::load(&args.manifest)?;
    let mut inputs = loaded.manifest.inputs.iter();
    inputs.try_for_each(|entry| check_lines(&entry.source, &loaded.base_dir))?;
    let plan = Plan::expand(&loaded);
    if args.json {
        show_json(&plan.to_json()?)?
    } else {
        show(plan.to_text())?
    }
    for line in fetch::sources_here(&loaded).into_iter().chain(plan.notes()) {
        note(format_args!("note: {line}"));
    }
    Ok(OK)
}
