//! Disks that refuse. The real thing where this process may mount a small file system, a skip with its reason elsewhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::experiment::{CONFIGURATIONS, Experiment};
use crate::fixtures::mount::Mount;

#[test]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let Some(disk) = Mount::new("size=512k") else { return };
    let experiment = Experiment::in_dir(&disk.path().join("run"));
    experiment.expect(0, "", &[]);
    let expected = experiment.rows_without_times();
    let whole = experiment.journal_bytes();
    // Keep the first rows, then leave the disk no page to grow into.
    let third_line = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(2).unwrap().0 + 1;
    std::fs::write(experiment.dir().join("journal.jsonl"), &whole[..third_line]).unwrap();
    let filler = disk.path().join("filler");
    assert!(std::fs::write(&filler, vec![1_u8; 1 << 20]).is_err(), "the disk is full now");
    let stderr = experiment.expect(2, "", &[]);
    assert!(stderr.contains("journal.jsonl: cannot append the row of ") && stderr.contains("intact"), "{stderr}");
    let rows = experiment.journal();
    assert!(rows.records.len() >= 2 && !rows.tail_damaged, "{} rows", rows.records.len());
    assert!(experiment.journal_bytes().starts_with(&whole[..third_line]));
    std::fs::remove_file(filler).unwrap();
    experiment.expect(0, "", &[]);
    assert_eq!(experiment.journal().records.len(), CONFIGURATIONS);
    assert_eq!(experiment.rows_without_times(), expected);
}

#[test]
fn a_read_only_folder_is_refused_in_one_line() {
    let Some(disk) = Mount::new("size=64k,ro") else { return };
    let experiment = Experiment::in_dir(&disk.path().join("run"));
    let stderr = experiment.expect(2, "", &[]);
    assert!(stderr.contains("disk/run") && stderr.contains("--out"), "{stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "{stderr}");
}

#[test]
fn a_folder_whose_path_is_not_utf8_is_refused_at_once() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(OsStr::from_bytes(b"r\xffn"));
    let stderr = Experiment::in_dir(&dir).expect(2, "", &[]);
    assert!(stderr.contains("path is not UTF-8") && stderr.contains("choose another folder"), "{stderr}");
    assert_eq!((stderr.trim().lines().count(), dir.exists()), (1, false), "{stderr}");
}

#[test]
fn a_folder_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let stderr = Experiment::in_dir(file.path()).expect(2, "", &[]);
    assert!(stderr.contains("choose a writable folder with --out"), "{stderr}");
}
