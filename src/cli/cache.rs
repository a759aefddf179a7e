//! `mixprec cache`: look at the engine cache and make room in it.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::output::{show, show_json};
use super::{OK, SOME_FAILED};
use crate::cache::{EngineCache, GcLimits, Listing, bytes_of, print};

const DAY_S: f64 = 86_400.0;

#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List the engines, the most recently used first.
    Ls {
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Delete damaged and leftover files, and engines beyond the size limit.
    Gc(GcArgs),
    /// Read every engine and compare it with its SHA-256; delete nothing.
    Verify,
}

#[derive(Debug, Args)]
#[command(after_help = "The least recently used engines are deleted first.")]
struct GcArgs {
    /// Gigabytes to keep [default: MIXPREC_CACHE_LIMIT_GB, or 20].
    #[arg(long, value_name = "N", value_parser = gigabytes)]
    limit_gb: Option<u64>,
    /// Also delete engines that were not used for this many days.
    #[arg(long, value_name = "DAYS", value_parser = days)]
    older_than: Option<Duration>,
    /// Delete every engine.
    #[arg(long, conflicts_with_all = ["limit_gb", "older_than"])]
    all: bool,
    /// Only print what would be deleted.
    #[arg(long)]
    dry_run: bool,
}

/// Carries out the command on the default cache. A cache that does not exist is empty, and stays away.
pub(super) fn execute(CacheArgs { command }: &CacheArgs) -> Result<u8> {
    let folder = EngineCache::default_folder();
    if !folder.try_exists().with_context(|| folder.display().to_string())? {
        match command {
            CacheCommand::Ls { json: true } => {
                let limit_bytes = EngineCache::default_limit_bytes()?;
                show_json(&print::listing_json(&folder, limit_bytes, &Listing::default()))?;
            }
            _ => show(format_args!("no engine is cached: {} does not exist yet\n", folder.display()))?,
        }
        return Ok(OK);
    }
    let cache = EngineCache::open_existing(&folder)?;
    match command {
        CacheCommand::Ls { json } => {
            let listing = cache.entries()?;
            match json {
                true => show_json(&print::listing_json(cache.folder(), cache.limit_bytes(), &listing))?,
                false => show(print::listing(&cache, &listing))?,
            }
            Ok(OK)
        }
        CacheCommand::Gc(args) => {
            let limit_bytes = if args.all { 0 } else { args.limit_gb.unwrap_or(cache.limit_bytes()) };
            let limits =
                GcLimits { limit_bytes: Some(limit_bytes), older_than: args.older_than, dry_run: args.dry_run };
            let summary = cache.gc(&limits)?;
            show(print::collected(&summary, args.dry_run))?;
            Ok(if summary.failures.is_empty() { OK } else { SOME_FAILED })
        }
        CacheCommand::Verify => {
            let checked = cache.verify()?;
            show(print::checked(&checked))?;
            Ok(if checked.iter().any(|one| one.damage.is_some()) { SOME_FAILED } else { OK })
        }
    }
}

fn gigabytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().and_then(bytes_of);
    bytes.ok_or_else(|| "give a number of gigabytes, e.g. 20".to_owned())
}

fn days(text: &str) -> Result<Duration, String> {
    let days: Option<f64> = text.parse().ok();
    let duration = days.and_then(|days| Duration::try_from_secs_f64(days * DAY_S).ok());
    duration.ok_or_else(|| "give a number of days, e.g. 30".to_owned())
}
