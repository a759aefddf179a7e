//! Downloads that break: gone on with where that is sound, begun anew where it is not.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::fetch::server::Act;
use crate::fetch::{FILES, Fetch, WEIGHTS, interrupt};

/// Where the tests break the weights off.
const CUT: usize = 5000;

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, [Act::Break(CUT), Act::Break(2000)]);
    let (stdout, stderr) = fetch.expect(0, &[]);
    fetch.assert_fetched();
    assert!(stderr.contains("trying again in 0.5 s"), "{stderr}");
    assert!(stdout.contains("owner/name 0123456789ab: 3 files"), "{stdout}");
    let asked: Vec<_> = fetch.hub.requests_for(WEIGHTS);
    let header = |name: &str| asked.iter().map(|request| request.header(name).map(str::to_owned)).collect::<Vec<_>>();
    let range = |start: usize| Some(format!("bytes={start}-"));
    assert_eq!(header("range"), [None, range(CUT), range(CUT + 2000)]);
    assert_eq!(header("if-range"), [None, Some("\"one\"".to_owned()), Some("\"one\"".to_owned())]);
    assert_eq!(
        header("accept-encoding"),
        [Some("identity".to_owned()), Some("identity".to_owned()), Some("identity".to_owned())]
    );
    let (_, sent) = fetch.hub.requests();
    assert_eq!(sent, fetch.files.iter().map(|(_, content)| content.len()).sum::<usize>(), "no byte came twice");
}

#[test]
fn a_killed_fetch_goes_on_with_what_has_arrived() {
    let fetch = Fetch::new();
    fetch.killed_after(WEIGHTS, CUT);
    assert!(!fetch.folder().exists(), "nothing stands there before all of it does");
    let _ = fetch.hub.requests();
    let (_, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains(&format!("{WEIGHTS}: going on after {CUT} bytes")), "{stderr}");
    fetch.assert_fetched();
    let (requests, sent) = fetch.hub.requests();
    assert_eq!((requests.len(), sent), (1, fetch.content(WEIGHTS).len() - CUT), "{requests:?}");
}

#[test]
fn killed_at_any_instant_it_ends_with_the_same_bytes() {
    const KILLS: u64 = 30;
    let mut random = ChaCha8Rng::seed_from_u64(21);
    let mut fetch = Fetch::new();
    let mut ended = 0;
    for _ in 0..KILLS {
        for name in FILES {
            fetch.hub.next(name, vec![Act::Drip; 5]);
        }
        let mut child = fetch.command(&[]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(u64::from(random.next_u32()) % 80_000));
        child.kill().unwrap();
        child.wait().unwrap();
        if fetch.folder().exists() {
            fetch.assert_fetched();
            ended += 1;
            fetch = Fetch::new();
        }
    }
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    println!("{KILLS} kills, {ended} fetches ended between them");
}

#[test]
fn ctrl_c_keeps_what_has_arrived_and_says_so() {
    let fetch = Fetch::new();
    let child = fetch.waiting_after(WEIGHTS, CUT);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("what has arrived is kept; run the same command again to go on"), "{stderr}");
    let _ = fetch.hub.requests();
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    assert_eq!(fetch.hub.requests().1, fetch.content(WEIGHTS).len() - CUT);
}

#[test]
fn a_download_that_had_all_its_bytes_needs_no_request() {
    let fetch = Fetch::new();
    let whole = fetch.content(WEIGHTS).to_vec();
    fetch.killed_after(WEIGHTS, CUT);
    // As a kill between the last byte and the renaming leaves it.
    std::fs::write(fetch.staging().join("model.safetensors.part"), &whole).unwrap();
    let _ = fetch.hub.requests();
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    assert_eq!(fetch.hub.requests().0.len(), 0);
}

#[test]
fn a_part_that_was_damaged_meanwhile_is_begun_anew() {
    let fetch = Fetch::new();
    fetch.killed_after(WEIGHTS, CUT);
    std::fs::write(fetch.staging().join("model.safetensors.part"), vec![0; CUT]).unwrap();
    let (_, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains("do not make the expected file: fetching it from the beginning"), "{stderr}");
    fetch.assert_fetched();
}

#[test]
fn a_hub_that_ignores_ranges_is_read_from_the_beginning() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, [Act::Break(CUT), Act::Whole(usize::MAX)]);
    let (_, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains("the hub sends it from the beginning"), "{stderr}");
    fetch.assert_fetched();
}

#[test]
fn a_hub_that_ignores_ranges_and_breaks_is_given_up() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, vec![Act::Whole(CUT); 20]);
    let (_, stderr) = fetch.expect(1, &[]);
    assert!(stderr.contains("model.safetensors: gave up after 5 attempts"), "{stderr}");
    assert_eq!(fetch.hub.requests_for(WEIGHTS).len(), 5);
    assert!(!fetch.folder().exists());
}

/// A file without a pin changes while it is fetched: the first half of one and the second of the other would not be noticed.
#[test]
fn a_file_that_changes_on_the_hub_is_not_put_together_of_two() {
    for etag in [Some("\"two\""), None] {
        let mut fetch = Fetch::new();
        fetch.killed_after("config.json", 40);
        let changed = fetch.content("config.json").to_vec().to_ascii_uppercase();
        fetch.hub.change("config.json", changed.clone(), etag);
        fetch.files[0].1 = changed;
        fetch.expect(0, &[]);
        fetch.assert_fetched();
    }
}

#[test]
fn a_pinned_file_of_another_length_is_begun_anew() {
    let mut fetch = Fetch::new();
    fetch.hub.change(WEIGHTS, vec![7; 9000], None);
    fetch.killed_after(WEIGHTS, CUT);
    let right = fetch.content(WEIGHTS).to_vec();
    fetch.hub.change(WEIGHTS, right, None);
    let (_, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains("the hub has another file now than the one begun"), "{stderr}");
    fetch.assert_fetched();
    // Shorter than what has arrived, the hub has no such part.
    fetch = Fetch::new();
    fetch.hub.change(WEIGHTS, vec![7; 1 << 20], None);
    fetch.killed_after(WEIGHTS, 1 << 19);
    fetch.hub.change(WEIGHTS, fetch.content(WEIGHTS).to_vec(), None);
    fetch.expect(0, &[]);
    fetch.assert_fetched();
}

#[test]
fn a_part_begun_for_another_digest_is_not_gone_on_with() {
    let fetch = Fetch::new();
    let right = mixprec::digest::sha256(fetch.content(WEIGHTS));
    fetch.pin(&"1".repeat(64), "");
    fetch.killed_after(WEIGHTS, CUT);
    fetch.pin(&right, "");
    let _ = fetch.hub.requests();
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    assert_eq!(fetch.hub.requests_for(WEIGHTS)[0].header("range"), None);
}

#[test]
fn a_silent_connection_is_tried_again() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, [Act::Hang(CUT)]);
    let (_, stderr) = fetch.expect(0, &[("HF_HUB_DOWNLOAD_TIMEOUT", "0.3")]);
    assert!(stderr.contains("silent for too long (HF_HUB_DOWNLOAD_TIMEOUT); trying again"), "{stderr}");
    fetch.assert_fetched();
}

#[test]
fn an_announced_length_that_is_too_long_is_a_broken_connection() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, [Act::Length(100)]);
    let (_, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains("trying again"), "{stderr}");
    fetch.assert_fetched();
}
