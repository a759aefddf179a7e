//! Disks that refuse.

use std::os::unix::fs::symlink;

use crate::assert_says;
use crate::fetch::{Fetch, WEIGHTS};
use crate::fixtures::mount::Mount;

/// Puts `runs/` of the experiment on this disk.
fn on(disk: &Mount, fetch: &Fetch) {
    symlink(disk.path(), fetch.experiment.folder().join("../runs")).unwrap();
}

#[test]
fn a_full_disk_is_one_line_and_room_lets_it_go_on() {
    let Some(disk) = Mount::new("size=128k") else { return };
    let fetch = Fetch::new();
    on(&disk, &fetch);
    let filler = disk.path().join("filler");
    fetch.killed_after(WEIGHTS, 5000);
    assert!(std::fs::write(&filler, vec![1_u8; 1 << 20]).is_err(), "the disk is full now");
    let (_, stderr) = fetch.expect(2, &[]);
    let error = stderr.lines().last().unwrap();
    assert_says(error, &["error: ", "model.safetensors.part", "No space left", "run the same command again to go on"]);
    assert!(!fetch.folder().exists());
    std::fs::remove_file(filler).unwrap();
    fetch.expect(0, &[]);
    fetch.assert_fetched();
}

#[test]
fn a_read_only_folder_is_one_line() {
    let Some(disk) = Mount::new("size=64k,ro") else { return };
    let fetch = Fetch::new();
    on(&disk, &fetch);
    let (_, stderr) = fetch.expect(2, &[]);
    assert_says(&stderr, &["error: ", "runs/hub/owner--name", "Read-only file system", "restore write access"]);
    assert_eq!(fetch.hub.requests().0.len(), 0);
}

#[test]
fn a_file_in_the_way_is_one_line() {
    let fetch = Fetch::new();
    std::fs::write(fetch.experiment.folder().join("../runs"), "").unwrap();
    let (_, stderr) = fetch.expect(2, &[]);
    assert_says(&stderr, &["error: ", "Not a directory"]);
}
