//! Deletes engines: the least recently used, those unused for long, and damaged ones.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::entry::unix_ms;
use super::folder::CacheLock;
use super::list::{CachedEntry, Leftover};
use super::{CacheError, EngineCache};

/// Limits of the cache that a collection enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcLimits {
    /// Largest total size of all entries, bytes. The least recently used are deleted first.
    pub limit_bytes: Option<u64>,
    /// Entries unused for longer are deleted.
    pub older_than: Option<Duration>,
    /// Only report what would be deleted.
    pub dry_run: bool,
}

/// Why an entry is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is damaged.
    Damaged(String),
    /// It was unused for this many seconds.
    Unused(u64),
    /// The cache exceeded its limit, and this entry was the least recently used.
    LeastRecentlyUsed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Damaged(damage) => write!(f, "damaged: {damage}"),
            Reason::Unused(seconds) => write!(f, "not used for {} days", seconds / 86_400),
            Reason::LeastRecentlyUsed => f.write_str("least recently used"),
        }
    }
}

/// An entry that was deleted, or would be in a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The deleted entry.
    pub entry: CachedEntry,
    /// Why.
    pub reason: Reason,
}

/// Result of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct GcSummary {
    /// Entries deleted.
    pub removed: Vec<Removed>,
    /// Deleted leftovers of interrupted writes.
    pub leftovers: Vec<Leftover>,
    /// Number of entries kept.
    pub kept: usize,
    /// Size of the entries kept, bytes.
    pub kept_bytes: u64,
    /// Messages about entries that could not be deleted. These entries count as kept.
    pub failures: Vec<String>,
}

impl GcSummary {
    /// Bytes freed.
    pub fn freed_bytes(&self) -> u64 {
        let removed = self.removed.iter().map(|removed| removed.entry.bytes);
        removed.chain(self.leftovers.iter().map(|leftover| leftover.bytes)).sum()
    }
}

impl EngineCache {
    /// Deletes damaged entries, leftovers of interrupted writes, and entries beyond `limits`.
    ///
    /// # Errors
    /// [`CacheError`] when the folder cannot be read or locked. An entry that cannot be deleted is reported in the
    /// summary.
    pub fn gc(&self, limits: &GcLimits) -> Result<GcSummary, CacheError> {
        let _lock = CacheLock::exclusive(self.folder())?;
        self.collect(limits, None)
    }

    /// Like [`EngineCache::gc`], for a holder of the exclusive lock. The entry `spared` stays, whatever its size and
    /// age.
    pub(super) fn collect(&self, limits: &GcLimits, spared: Option<&str>) -> Result<GcSummary, CacheError> {
        let listing = self.entries()?;
        let mut summary = GcSummary::default();
        for leftover in listing.leftovers {
            let path = self.folder().join(&leftover.name);
            match if limits.dry_run { Ok(()) } else { super::delete(&path) } {
                Ok(()) => summary.leftovers.push(leftover),
                Err(error) => summary.failures.push(error.to_string()),
            }
        }
        for (entry, reason) in choose(listing.entries, limits, unix_ms(SystemTime::now()), spared) {
            let deleted = match &reason {
                Some(_) if !limits.dry_run => self.remove(&entry.key),
                _ => Ok(()),
            };
            match (reason, deleted) {
                (Some(reason), Ok(())) => summary.removed.push(Removed { entry, reason }),
                (_, kept) => {
                    summary.failures.extend(kept.err().map(|error| error.to_string()));
                    summary.kept += 1;
                    summary.kept_bytes += entry.bytes;
                }
            }
        }
        Ok(summary)
    }
}

/// Pairs every entry with the reason to delete it, if any. `entries` lists the most recently used first.
fn choose(
    entries: Vec<CachedEntry>,
    limits: &GcLimits,
    now_unix_ms: u64,
    spared: Option<&str>,
) -> Vec<(CachedEntry, Option<Reason>)> {
    let is_spared = |entry: &CachedEntry| spared == Some(entry.key.as_str());
    // The spared entry takes its room first, because a coarse clock may misplace its last use.
    let mut held_bytes: u64 = entries.iter().filter(|entry| is_spared(entry)).map(|entry| entry.bytes).sum();
    let mut full = false;
    let mut reason_of = |entry: &CachedEntry| {
        let unused_s = now_unix_ms.saturating_sub(entry.last_used_unix_ms) / 1000;
        if is_spared(entry) {
            return None;
        }
        if let Some(damage) = &entry.damage {
            return Some(Reason::Damaged(damage.clone()));
        }
        if limits.older_than.is_some_and(|longest| unused_s > longest.as_secs()) {
            return Some(Reason::Unused(unused_s));
        }
        let total = held_bytes.saturating_add(entry.bytes);
        // After the first deletion, all older entries are deleted too. A small old engine must not outlive a large new
        // one.
        full |= limits.limit_bytes.is_some_and(|limit| total > limit);
        match full {
            true => Some(Reason::LeastRecentlyUsed),
            false => {
                held_bytes = total;
                None
            }
        }
    };
    entries.into_iter().map(|entry| (reason_of(&entry), entry)).map(|(reason, entry)| (entry, reason)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    /// Entries named by one letter: (name, bytes, days since the last use), the most recently used first.
    fn entries(of: &[(&str, u64, u64)]) -> Vec<CachedEntry> {
        let entry = |&(key, bytes, days): &(&str, u64, u64)| CachedEntry {
            key: key.to_owned(),
            bytes,
            last_used_unix_ms: (100 - days) * DAY_S * 1000,
            engine: None,
            damage: None,
        };
        of.iter().map(entry).collect()
    }

    fn going(entries: Vec<CachedEntry>, limits: &GcLimits, spared: Option<&str>) -> String {
        let chosen = choose(entries, limits, 100 * DAY_S * 1000, spared);
        chosen.into_iter().filter(|(_, reason)| reason.is_some()).map(|(entry, _)| entry.key).collect()
    }

    #[test]
    fn the_least_recently_used_go_until_the_rest_fits() {
        let all = || entries(&[("a", 4, 1), ("b", 4, 2), ("c", 1, 3), ("d", 4, 4)]);
        let limit = |bytes| GcLimits { limit_bytes: Some(bytes), ..GcLimits::default() };
        let cases = [(13, ""), (12, "d"), (9, "d"), (8, "cd"), (7, "bcd"), (0, "abcd")];
        for (bytes, expected) in cases {
            assert_eq!(going(all(), &limit(bytes), None), expected, "{bytes}");
        }
        assert_eq!(going(all(), &GcLimits::default(), None), "");
        assert_eq!(going(all(), &limit(8), Some("d")), "bc", "what is spared takes its room first");
        assert_eq!(going(all(), &limit(0), Some("d")), "abc");
    }

    #[test]
    fn old_and_damaged_entries_go_and_leave_their_room_to_others() {
        let mut all = entries(&[("a", 4, 1), ("b", 4, 2), ("c", 4, 40)]);
        all[0].damage = Some("engine.bin is missing".to_owned());
        let limits = GcLimits {
            limit_bytes: Some(4),
            older_than: Some(Duration::from_secs(40 * DAY_S - 1)),
            ..GcLimits::default()
        };
        let reasons: Vec<_> =
            choose(all, &limits, 100 * DAY_S * 1000, None).into_iter().map(|(_, reason)| reason).collect();
        let damaged = Reason::Damaged("engine.bin is missing".to_owned());
        assert_eq!(reasons, [Some(damaged), None, Some(Reason::Unused(40 * DAY_S))]);
        assert_eq!(reasons[2].as_ref().map(ToString::to_string).as_deref(), Some("not used for 40 days"));
    }
}
