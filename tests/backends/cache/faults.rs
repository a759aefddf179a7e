//! Nothing comes out of the cache that was not put in under that key.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use mixprec::cache::{CacheError, EngineCache, Lookup, StoreOutcome};
use mixprec::digest::{canonical, sha256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fixture, LARGE, hit, key, metadata};
use crate::fixtures::mount::Mount;

#[test]
fn what_is_stored_comes_back_and_nothing_else_does() {
    let fixture = Fixture::new();
    assert_eq!(fixture.lookup(&key("1x128")), Lookup::Miss);
    fixture.store(&key("1x128"), b"engine");
    assert_eq!(fixture.lookup(&key("1x128")), hit(b"engine"));
    assert_eq!(fixture.lookup(&key("2x128")), Lookup::Miss);
    fixture.store(&key("1x128"), b"another build");
    assert_eq!(fixture.lookup(&key("1x128")), hit(b"another build"));
    assert_eq!(fixture.names(), [key("1x128").digest()]);
    let again = EngineCache::open(fixture.folder()).unwrap();
    assert_eq!(again.lookup(&key("1x128")).unwrap(), hit(b"another build"));
}

#[test]
fn a_corrupted_engine_is_refused() {
    let fixture = Fixture::new();
    fixture.store(&key("1x128"), b"engine");
    fs::write(fixture.file(&key("1x128"), "engine.bin"), b"enginE").unwrap();
    fixture.expect_damage(&key("1x128"), "engine.bin does not match its SHA-256");
}

#[test]
fn a_truncated_a_grown_and_a_missing_engine_are_refused() {
    let fixture = Fixture::new();
    let path = fixture.file(&key("1x128"), "engine.bin");
    fixture.store(&key("1x128"), b"engine");
    fs::write(&path, b"eng").unwrap();
    fixture.expect_damage(&key("1x128"), "engine.bin has 3 bytes instead of 6");
    fs::write(&path, b"built anew and more").unwrap();
    fixture.expect_damage(&key("1x128"), "engine.bin has 19 bytes instead of 10");
    fs::remove_file(&path).unwrap();
    fixture.expect_damage(&key("1x128"), "engine.bin is missing");
}

#[test]
fn a_sound_engine_under_another_key_is_refused() {
    let fixture = Fixture::new();
    let (mine, other) = (key("1x128"), key("2x128"));
    fixture.store(&mine, b"engine");
    fixture.store(&other, b"erring");
    fs::copy(fixture.file(&other, "engine.bin"), fixture.file(&mine, "engine.bin")).unwrap();
    fixture.expect_damage(&mine, "engine.bin does not match its SHA-256");
    for name in ["engine.bin", "entry.json"] {
        fs::copy(fixture.file(&other, name), fixture.file(&mine, name)).unwrap();
    }
    fixture.expect_damage(&mine, "entry.json belongs to another engine");
    assert_eq!(fixture.lookup(&other), hit(b"erring"));
}

#[test]
fn an_entry_without_a_readable_description_is_refused() {
    let fixture = Fixture::new();
    let path = fixture.file(&key("1x128"), "entry.json");
    fixture.store(&key("1x128"), b"engine");
    fs::remove_file(&path).unwrap();
    fixture.expect_damage(&key("1x128"), "entry.json is missing");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 10]).unwrap();
    fixture.expect_damage(&key("1x128"), "entry.json cannot be read");
    fs::write(&path, text.replace("5.5", "0.5")).unwrap();
    fixture.expect_damage(&key("1x128"), "entry.json does not match its SHA-256");
}

#[test]
fn links_and_files_in_place_of_folders_are_refused_and_what_they_point_to_stays() {
    let fixture = Fixture::new();
    let elsewhere = fixture.root.path().join("elsewhere");
    fixture.store(&key("1x128"), b"engine");
    let path = fixture.file(&key("1x128"), "engine.bin");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    fixture.expect_damage(&key("1x128"), "engine.bin is not a regular file");
    let entry = fixture.folder().join(key("1x128").digest());
    let moved = fixture.root.path().join("moved");
    fs::rename(&entry, &moved).unwrap();
    symlink(&moved, &entry).unwrap();
    fixture.expect_damage(&key("1x128"), "it is not a folder");
    assert_eq!(fs::read(elsewhere).unwrap(), b"engine");
    assert_eq!(fs::read(moved.join("engine.bin")).unwrap(), b"built anew");
}

/// Whoever tampers with an entry can seal it again.
#[test]
fn an_entry_that_names_a_file_outside_its_folder_is_refused() {
    for name in ["../../outside", "/etc/hostname", "..", ".hidden", "a/b", "engine.bin"] {
        let fixture = Fixture::new();
        fs::write(fixture.root.path().join("outside"), "outside").unwrap();
        fixture.store(&key("1x128"), b"engine");
        let path = fixture.file(&key("1x128"), "entry.json");
        let mut sealed: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let digest = sha256(b"outside");
        sealed["entry"]["attachments"] = json!({ name: { "bytes": 7, "sha256": digest } });
        sealed["sha256"] = sha256(canonical(&sealed["entry"]).as_bytes()).into();
        fs::write(&path, sealed.to_string()).unwrap();
        let checked = fixture.cache.verify().unwrap();
        assert!(checked[0].damage.as_ref().unwrap().contains("cannot lie beside an engine"), "{name}: {checked:?}");
        fixture.expect_damage(&key("1x128"), "cannot lie beside an engine");
        assert_eq!(fs::read(fixture.root.path().join("outside")).unwrap(), b"outside");
    }
}

#[test]
fn metadata_of_another_form_are_damage() {
    #[derive(Debug, Deserialize)]
    struct Newer {
        #[expect(dead_code, reason = "only its absence matters")]
        phases: Vec<String>,
    }
    let fixture = Fixture::new();
    fixture.store(&key("1x128"), b"engine");
    let found = fixture.cache.lookup::<Newer>(&key("1x128")).unwrap();
    let Lookup::Damaged { reason } = found else { panic!("{found:?}") };
    assert!(reason.contains("its metadata do not fit this program") && reason.contains("phases"), "{reason}");
    assert_eq!(fixture.lookup(&key("1x128")), Lookup::Miss);
}

#[test]
fn files_beside_an_engine_are_verified_like_it() {
    let fixture = Fixture::new();
    let (cache, one) = (&fixture.cache, key("1x128"));
    let orphan = cache.attach(&one, "layers.json", b"{}").unwrap();
    assert!(matches!(orphan, StoreOutcome::NotKept { .. }), "{orphan:?}");
    fixture.store(&one, b"engine");
    assert_eq!(cache.attached(&one, "layers.json").unwrap(), Lookup::Miss);
    for content in [b"{}".as_slice(), b"{1}"] {
        assert!(matches!(cache.attach(&one, "layers.json", content).unwrap(), StoreOutcome::Kept { .. }));
        assert_eq!(cache.attached(&one, "layers.json").unwrap(), Lookup::Hit(content.to_vec()));
    }
    assert_eq!(fixture.lookup(&one), hit(b"engine"));
    fs::write(fixture.file(&one, "layers.json"), b"{2}").unwrap();
    let reason = "layers.json does not match its SHA-256".to_owned();
    assert_eq!(cache.attached(&one, "layers.json").unwrap(), Lookup::Damaged { reason });
    assert_eq!(fixture.lookup(&one), hit(b"engine"), "the engine is sound");
    fixture.store(&one, b"another build");
    assert_eq!(cache.attached(&one, "layers.json").unwrap(), Lookup::Miss, "they belong to one build");
    for name in ["", "../up", ".hidden", "engine.bin", "entry.json", "a/b", "a.partial", &"a".repeat(201)] {
        assert!(matches!(cache.attach(&one, name, b""), Err(CacheError::Name { .. })), "{name}");
    }
}

#[test]
fn writers_and_readers_at_once_see_whole_engines_only() {
    let fixture = Fixture::new();
    let one = key("1x128");
    let engines = [vec![1_u8; 300_000], vec![2_u8; 200_000]];
    let done = AtomicBool::new(false);
    let hits = std::thread::scope(|scope| {
        let writers = engines.each_ref().map(|engine| {
            let (cache, one) = (&fixture.cache, &one);
            scope.spawn(move || (0..20).for_each(|_| drop(cache.store(one, engine, &metadata()).unwrap())))
        });
        let reader = scope.spawn(|| {
            let mut hits = 0;
            while !done.load(Ordering::Relaxed) {
                match fixture.lookup(&one) {
                    Lookup::Hit(found) => assert!(engines.contains(&found.engine)),
                    Lookup::Miss => continue,
                    Lookup::Damaged { reason } => panic!("{reason}"),
                }
                hits += 1;
            }
            hits
        });
        let ended = writers.map(|writer| writer.join());
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|writer| writer.unwrap());
        reader.join().unwrap()
    });
    println!("{hits} hits");
    assert!(matches!(fixture.lookup(&one), Lookup::Hit(_)));
    assert_eq!(fixture.names(), [one.digest()]);
}

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_nothing_partial() {
    let Some(disk) = Mount::new("size=512k") else { return };
    let cache = EngineCache::open(&disk.path().join("engines")).unwrap().with_limit(LARGE);
    let names =
        || std::fs::read_dir(cache.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    cache.store(&key("1x128"), &vec![1; 200_000], &metadata()).unwrap();
    let before = names();
    for one in [key("2x128"), key("1x128")] {
        let error = cache.store(&one, &vec![2; 400_000], &metadata()).unwrap_err();
        assert!(matches!(error, CacheError::Write { .. }), "{error}");
        let message = error.to_string();
        for part in ["engines: cannot keep an engine: No space left", "mixprec cache gc", "MIXPREC_CACHE_DIR"] {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        assert_eq!(names(), before);
    }
    assert!(cache.attach(&key("1x128"), "layers.json", &vec![3; 400_000]).is_err());
    assert_eq!(cache.attached(&key("1x128"), "layers.json").unwrap(), Lookup::Miss);
    assert_eq!(cache.lookup(&key("1x128")).unwrap(), hit(&vec![1; 200_000]));
    cache.store(&key("2x128"), &vec![2; 200_000], &metadata()).unwrap();
    assert_eq!(cache.lookup(&key("2x128")).unwrap(), hit(&vec![2; 200_000]));
}
