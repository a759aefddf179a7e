//! Prints the cache as text for people and as JSON for programs.

use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

use serde_json::json;

use super::entry::unix_ms;
use super::list::{CachedEntry, Checked, Listing};
use super::{EngineCache, GcSummary, short};
use crate::numbers::plural;
use crate::text_table::aligned;

const HEADER: [&str; 8] = ["key", "model", "policy", "extent", "target", "library", "size", "last used"];
/// Whether a column is set flush right: that of the size.
const FLUSH_RIGHT: [bool; 8] = [false, false, false, false, false, false, true, false];

/// A table of the engines, most recently used first, then damaged entries and leftovers, then the totals.
pub fn listing(cache: &EngineCache, listing: &Listing) -> String {
    let mut text = format!("{}\n", cache.folder().display());
    let now_unix_ms = unix_ms(SystemTime::now());
    let mut rows: Vec<[String; 8]> = listing.entries.iter().filter_map(|entry| row(entry, now_unix_ms)).collect();
    if !rows.is_empty() {
        rows.insert(0, HEADER.map(str::to_owned));
        let _ = write!(text, "\n{}", aligned(&rows, FLUSH_RIGHT));
    }
    text.push('\n');
    for entry in &listing.entries {
        if let Some(damage) = &entry.damage {
            let _ = writeln!(text, "{}  damaged, {}: {damage}", short(&entry.key), size(entry.bytes));
        }
    }
    for leftover in &listing.leftovers {
        let what = "being written, or left by an interrupted write";
        let _ = writeln!(text, "{}  {what}, {}", leftover.name, size(leftover.bytes));
    }
    if listing.entries.iter().any(|entry| entry.damage.is_some()) || !listing.leftovers.is_empty() {
        text.push_str("`mixprec cache gc` deletes what is damaged or left over\n");
    }
    let total: u64 = listing.entries.iter().map(|entry| entry.bytes).sum();
    let _ = writeln!(
        text,
        "{}, {} of at most {} (MIXPREC_CACHE_LIMIT_GB)",
        plural(listing.entries.len(), "engine"),
        size(total),
        size(cache.limit_bytes())
    );
    text
}

/// `{"folder", "limit_bytes", "total_bytes", "entries": [...], "leftovers": [...]}`, indented.
pub fn listing_json(folder: &Path, limit_bytes: u64, listing: &Listing) -> String {
    let total: u64 = listing.entries.iter().map(|entry| entry.bytes).sum();
    let value = json!({
        "folder": folder.to_string_lossy(),
        "limit_bytes": limit_bytes,
        "total_bytes": total,
        "entries": listing.entries,
        "leftovers": listing.leftovers,
    });
    format!("{value:#}\n")
}

/// One line per deleted entry and leftover (or would-be deleted, in a dry run), then the totals.
pub fn collected(summary: &GcSummary, dry_run: bool) -> String {
    let (did, freed) = if dry_run { ("would delete", "would be freed") } else { ("deleted", "freed") };
    let mut text = String::new();
    for removed in &summary.removed {
        let CachedEntry { key, bytes, engine, .. } = &removed.entry;
        let what = engine.as_ref().map(|it| format!("  {} {} {} {}", it.model, it.policy, it.extent, it.target));
        let what = what.unwrap_or_default();
        let _ = writeln!(text, "{did} {}{what}  {}  ({})", short(key), size(*bytes), removed.reason);
    }
    for leftover in &summary.leftovers {
        let _ = writeln!(text, "{did} {}  {}  (left by an interrupted write)", leftover.name, size(leftover.bytes));
    }
    for failure in &summary.failures {
        let _ = writeln!(text, "could not be deleted: {failure}");
    }
    let kept = format!("{}, {}, kept", plural(summary.kept, "engine"), size(summary.kept_bytes));
    let _ = writeln!(text, "{}; {} {freed}; {kept}", engines_gone(summary, did), size(summary.freed_bytes()));
    text
}

/// One line per damaged entry, then the counts.
pub fn checked(checked: &[Checked]) -> String {
    let mut text = String::new();
    let damaged = checked.iter().filter_map(|one| one.damage.as_ref().map(|damage| (&one.key, damage)));
    let mut count = 0;
    for (key, damage) in damaged {
        count += 1;
        let _ = writeln!(text, "{}  damaged: {damage}; it will be built again when it is needed", short(key));
    }
    let _ = writeln!(text, "{} checked, {count} damaged", plural(checked.len(), "engine"));
    text
}

fn engines_gone(summary: &GcSummary, did: &str) -> String {
    match summary.removed.len() {
        0 => format!("{did} no engine"),
        count => format!("{did} {}", plural(count, "engine")),
    }
}

fn row(entry: &CachedEntry, now_unix_ms: u64) -> Option<[String; 8]> {
    let it = entry.engine.as_ref()?;
    let used = ago(now_unix_ms.saturating_sub(entry.last_used_unix_ms) / 1000);
    Some([
        short(&entry.key).to_owned(),
        it.model.clone(),
        it.policy.clone(),
        it.extent.clone(),
        it.target.clone(),
        it.library.clone(),
        size(entry.bytes),
        used,
    ])
}

/// Bytes in units of powers of a thousand, as for disks and the limit.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..172_800 => "1 day ago".to_owned(),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_rounded() {
        assert_eq!([0, 999, 43_210_000, 20_000_000_000].map(size), ["0.0 kB", "1.0 kB", "43.2 MB", "20.0 GB"]);
        let ages = [59, 60, 7300, 86_400, 200_000].map(ago);
        assert_eq!(ages, ["just now", "1 min ago", "2 h ago", "1 day ago", "2 days ago"]);
    }
}
