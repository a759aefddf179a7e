//! What goes when room is needed.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use mixprec::cache::{EngineKey, GcLimits, Lookup, Reason, StoreOutcome};

use super::{Fixture, LARGE, hit, key, metadata};

const DAY: Duration = Duration::from_secs(86_400);

/// Says that the engine was last used so many days ago.
fn age(fixture: &Fixture, key: &EngineKey, days: u32) {
    let file = File::open(fixture.file(key, "entry.json")).unwrap();
    file.set_modified(SystemTime::now() - days * DAY).unwrap();
}

/// The extents of what is left, in the order of the last use.
fn left(fixture: &Fixture) -> Vec<String> {
    let entries = fixture.cache.entries().unwrap().entries;
    entries.into_iter().map(|entry| entry.engine.unwrap().extent).collect()
}

#[test]
fn storing_evicts_the_least_recently_used_and_a_hit_is_a_use() {
    let fixture = Fixture::new();
    for (days, extent) in [(3, "1x1"), (2, "2x2"), (1, "3x3")] {
        fixture.store(&key(extent), &[7; 100_000]);
        age(&fixture, &key(extent), days);
    }
    assert_eq!(left(&fixture), ["3x3", "2x2", "1x1"]);
    assert_eq!(fixture.lookup(&key("1x1")), hit(&[7; 100_000]));
    assert_eq!(left(&fixture), ["1x1", "3x3", "2x2"]);
    // Room for three: entry.json takes about 2 kB each.
    let cache = fixture.cache.clone().with_limit(350_000);
    let StoreOutcome::Kept { evicted } = cache.store(&key("4x4"), &[7; 100_000], &metadata()).unwrap() else {
        panic!()
    };
    assert_eq!(evicted.removed.len(), 1);
    assert_eq!(evicted.removed[0].entry.engine.as_ref().unwrap().extent, "2x2");
    let mut rest = left(&fixture);
    rest.sort();
    assert_eq!(rest, ["1x1", "3x3", "4x4"]);
    assert_eq!(fixture.lookup(&key("2x2")), Lookup::Miss);
}

#[test]
fn what_was_just_stored_stays_even_when_it_barely_fits_or_looks_old() {
    let fixture = Fixture::new();
    fixture.store(&key("1x1"), &[7; 100_000]);
    // A clock that was set back: everything else looks younger than now.
    let file = File::open(fixture.file(&key("1x1"), "entry.json")).unwrap();
    file.set_modified(SystemTime::now() + DAY).unwrap();
    let cache = fixture.cache.clone().with_limit(100_000);
    let stored = cache.store(&key("2x2"), &[7; 100_000], &metadata()).unwrap();
    assert!(matches!(&stored, StoreOutcome::Kept { evicted } if evicted.removed.len() == 1), "{stored:?}");
    assert_eq!(left(&fixture), ["2x2"]);
}

#[test]
fn an_engine_above_the_limit_is_not_kept_and_harms_nobody() {
    let fixture = Fixture::new();
    fixture.store(&key("1x1"), &[7; 100]);
    let cache = fixture.cache.clone().with_limit(99_999);
    let StoreOutcome::NotKept { reason } = cache.store(&key("2x2"), &[7; 100_000], &metadata()).unwrap() else {
        panic!()
    };
    assert!(reason.contains("100000 bytes are more than") && reason.contains("MIXPREC_CACHE_LIMIT_GB"), "{reason}");
    assert!(matches!(cache.attach(&key("1x1"), "big", &[7; 100_000]).unwrap(), StoreOutcome::NotKept { .. }));
    assert_eq!(left(&fixture), ["1x1"]);
    assert_eq!(fixture.lookup(&key("1x1")), hit(&[7; 100]));
}

#[test]
fn collecting_by_age_and_dry_runs() {
    let fixture = Fixture::new();
    for (days, extent) in [(50, "1x1"), (10, "2x2"), (0, "3x3")] {
        fixture.store(&key(extent), b"engine");
        age(&fixture, &key(extent), days);
    }
    let old = GcLimits { older_than: Some(30 * DAY), ..GcLimits::default() };
    let planned = fixture.cache.gc(&GcLimits { dry_run: true, ..old }).unwrap();
    assert_eq!((planned.removed.len(), planned.kept), (1, 2));
    assert_eq!(left(&fixture).len(), 3);
    let summary = fixture.cache.gc(&old).unwrap();
    assert_eq!(summary, planned);
    assert!(matches!(summary.removed[0].reason, Reason::Unused(seconds) if seconds >= 50 * 86_400));
    assert_eq!(left(&fixture), ["3x3", "2x2"]);
}

#[test]
fn leftovers_go_with_the_next_store_or_collection_and_other_files_stay() {
    let fixture = Fixture::new();
    let leave = || {
        let folder = fixture.folder().join(".partial-x");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("engine.bin"), [7; 1000]).unwrap();
    };
    fs::write(fixture.folder().join("notes.txt"), "mine").unwrap();
    leave();
    fixture.store(&key("1x1"), b"engine");
    let mut expected = vec![key("1x1").digest().to_owned(), "notes.txt".to_owned()];
    expected.sort();
    assert_eq!(fixture.names(), expected);
    leave();
    let summary = fixture.cache.gc(&GcLimits { limit_bytes: Some(LARGE), ..GcLimits::default() }).unwrap();
    assert_eq!((summary.leftovers.len(), summary.freed_bytes(), summary.kept), (1, 1000, 1));
    assert_eq!(fixture.names(), expected);
}
