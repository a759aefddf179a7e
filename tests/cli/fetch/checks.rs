//! What is there already, and how it is compared.

use mixprec::digest::sha256;

use crate::checkpoint::{Checkpoint, WORDS};
use crate::fetch::server::Act;
use crate::fetch::{Fetch, OPTIONAL, WEIGHTS};
use crate::fixtures::tiny::committed;
use crate::fixtures::variants::Variant;
use crate::{assert_says, expect, experiment::text};

#[test]
fn what_is_there_and_right_is_left_alone() {
    let fetch = Fetch::new();
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    let (asked, _) = fetch.hub.requests();
    let paths: Vec<&str> = asked.iter().map(|request| request.path.as_str()).collect();
    let path = |file: &str| format!("/owner/name/resolve/0123456789abcdef0123456789abcdef01234567/{file}");
    assert_eq!(paths, [path("config.json"), path("tokenizer.json"), path(WEIGHTS)], "the weights last");
    for arguments in [&[][..], &["--offline"]] {
        let (stdout, stderr) = fetch.expect_with(0, arguments, &[]);
        assert!(stdout.contains("owner/name 0123456789ab: 3 files, all there and right: "), "{stdout}");
        assert_eq!(stderr, "");
    }
    assert_eq!(fetch.hub.requests().0.len(), 0);
}

#[test]
fn a_wrong_file_is_replaced_only_by_a_right_one() {
    let fetch = Fetch::new();
    fetch.expect(0, &[]);
    std::fs::write(fetch.folder().join(WEIGHTS), "mine").unwrap();
    let (_, stderr) = fetch.expect_with(1, &["--offline"], &[]);
    assert_says(&stderr, &["put model.safetensors into "]);
    fetch.hub.next(WEIGHTS, [Act::Other(b"theirs".to_vec())]);
    let (_, stderr) = fetch.expect(1, &[]);
    assert!(stderr.contains(&format!("is there with sha256 {}", sha256(b"mine"))), "{stderr}");
    assert_eq!(std::fs::read(fetch.folder().join(WEIGHTS)).unwrap(), b"mine");
    let _ = fetch.hub.requests();
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    assert_eq!(fetch.hub.requests().0.len(), 1);
}

#[test]
fn what_has_no_pin_must_stay_what_it_was_at_first() {
    let fetch = Fetch::new();
    let (_, stderr) = fetch.expect(0, &[]);
    let config = fetch.content("config.json");
    let first = sha256(config);
    assert!(stderr.contains(&format!("sha256 {first}, recorded: the manifest has no pin for it")), "{stderr}");
    assert!(stderr.contains(&format!("sha256 {}, as pinned", sha256(fetch.content(WEIGHTS)))), "{stderr}");
    let digests = std::fs::read_to_string(fetch.folder().join("digests.json")).unwrap();
    assert!(digests.contains(&first), "{digests}");
    // Changed here: the hub has the recorded one. Changed there as well: it has not.
    std::fs::write(fetch.folder().join("config.json"), "{}").unwrap();
    let (_, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains("as at the first fetch"), "{stderr}");
    fetch.assert_fetched();
    std::fs::write(fetch.folder().join("config.json"), "{}").unwrap();
    fetch.hub.next("config.json", [Act::Other(b"[]".to_vec())]);
    let (_, stderr) = fetch.expect(1, &[]);
    let error = stderr.lines().last().unwrap();
    assert_says(error, &["config.json: sha256 is ", "digests.json has from the first fetch ", &first]);
}

#[test]
fn files_put_there_by_hand_are_completed_and_recorded() {
    let fetch = Fetch::new();
    std::fs::create_dir_all(fetch.folder()).unwrap();
    for name in ["config.json", WEIGHTS] {
        std::fs::write(fetch.folder().join(name), fetch.content(name)).unwrap();
    }
    let (_, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains("config.json was there and has no pin: its digest is recorded"), "{stderr}");
    fetch.assert_fetched();
    let (asked, _) = fetch.hub.requests();
    assert_eq!(asked.iter().map(|request| request.file()).collect::<Vec<_>>(), ["tokenizer.json"]);
    std::fs::remove_file(fetch.folder().join("digests.json")).unwrap();
    fetch.expect_with(0, &["--offline"], &[]);
    fetch.assert_fetched();
    assert_eq!(fetch.hub.requests().0.len(), 0);
}

#[test]
fn every_file_can_be_pinned_and_further_ones_fetched() {
    let fetch = Fetch::new();
    let weights = sha256(fetch.content(WEIGHTS));
    let config = sha256(fetch.content("config.json"));
    fetch.hub.change("vocab.json", b"{\"a\": 0}".to_vec(), Some("\"one\""));
    let files = |config: &str| format!(", files: {{config.json: '{config}', vocab.json: '{}'}}", sha256(b"{\"a\": 0}"));
    fetch.pin(&weights, &files(&"2".repeat(64)));
    let (_, stderr) = fetch.expect(1, &[]);
    assert!(stderr.contains(&format!("config.json: sha256 is {config}, the manifest pins 2222")), "{stderr}");
    fetch.assert_nothing_of("config.json");
    fetch.pin(&weights, &files(&config));
    fetch.expect(0, &[]);
    assert_eq!(std::fs::read(fetch.folder().join("vocab.json")).unwrap(), b"{\"a\": 0}");
    fetch.experiment.run(0);
    // A run compares what it reads.
    let mut changed = fetch.content("config.json").to_vec();
    changed.push(b'\n');
    std::fs::write(fetch.folder().join("config.json"), &changed).unwrap();
    let fresh = fetch.experiment.folder().join("fresh");
    let (_, stderr) = expect(1, &["run", text(&fetch.experiment.yaml()), "--out", text(&fresh)]);
    assert!(stderr.contains("config.json: sha256 is ") && stderr.contains(&config), "{stderr}");
}

#[test]
fn no_name_of_a_manifest_leads_out_of_the_folder() {
    let fetch = Fetch::new();
    let digest = "0".repeat(64);
    for name in ["../config.json", "/etc/passwd", "a/b", ".hidden", "..", "digests.json", "a.part"] {
        fetch.pin(&digest, &format!(", files: {{'{name}': '{digest}'}}"));
        let (_, stderr) = fetch.expect(2, &[]);
        assert!(stderr.contains(&format!("found the file name `{name}`")), "{stderr}");
    }
    fetch.pin(&digest, &format!(", files: {{model.safetensors: '{digest}'}}"));
    let (_, stderr) = fetch.expect(2, &[]);
    assert!(stderr.contains("`sha256` pins already; leave it out"), "{stderr}");
    fetch.pin(&digest, ", files: {config.json: 12}");
    assert!(fetch.expect(2, &[]).1.contains("a SHA-256, 64 lower-case hexadecimal digits"));
    for repository in ["../name", "owner/..", "owner/a/b", "https://hub/owner/name"] {
        let models = format!("{{gpt: {{hub: '{repository}', revision: '{}', sha256: '{digest}'}}}}", "0".repeat(40));
        fetch.experiment.manifest(&crate::experiment::Cells { models: &models, ..Default::default() });
        assert!(fetch.expect(2, &[]).1.contains("expected a hub repository, `owner/name`"));
    }
    assert_eq!(fetch.hub.requests().0.len(), 0);
}

#[test]
fn a_manifest_without_a_hub_has_nothing_to_fetch() {
    let fetch = Fetch::new();
    fetch.experiment.manifest(&crate::experiment::Cells::default());
    let (stdout, stderr) = fetch.expect(0, &[]);
    assert_eq!((stdout.as_str(), stderr.as_str()), ("nothing to fetch: the manifest names no model of a hub\n", ""));
}

#[test]
fn of_two_fetches_at_once_one_downloads() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, [Act::Hang(5000)]);
    let mut first = fetch.command(&[]);
    first.env("HF_HUB_DOWNLOAD_TIMEOUT", "1.5");
    let first = first.spawn().unwrap();
    let part = fetch.staging().join("model.safetensors.part");
    crate::fetch::eventually("a part of the weights", || part.metadata().is_ok_and(|part| part.len() >= 5000));
    let (stdout, stderr) = fetch.expect(0, &[]);
    assert!(stderr.contains("another `mixprec fetch` is at work on it; waiting for its end"), "{stderr}");
    assert!(stdout.contains("all there and right"), "{stdout}");
    assert!(first.wait_with_output().unwrap().status.success());
    fetch.assert_fetched();
    assert_eq!(fetch.hub.requests_for("config.json").len(), 1);
}

#[test]
fn weights_in_several_files_are_fetched_by_their_pins_and_read_as_one() {
    const SHARDS: [&str; 4] = [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ];
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(Variant::of("gpt2").write_shards(scratch.path()), SHARDS);
    std::fs::copy(committed("gpt2/tokenizer.json"), scratch.path().join("tokenizer.json")).unwrap();
    let fetch =
        Fetch::of(scratch.path(), &["config.json", SHARDS[0], SHARDS[1], SHARDS[2], SHARDS[3], "tokenizer.json"]);
    let digests = SHARDS.map(|name| (name, sha256(fetch.content(name))));
    let lines: String = digests.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    let pins = digests.map(|(name, digest)| format!("{name}: '{digest}'")).join(", ");
    fetch.pin(&sha256(lines.as_bytes()), &format!(", files: {{{pins}}}"));
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    assert!(fetch.experiment.run(0).contains("1 measured"));
    fetch.pin(&"0".repeat(64), &format!(", files: {{{pins}}}"));
    let other = fetch.experiment.folder().join("other");
    let (_, stderr) = expect(1, &["run", text(&fetch.experiment.yaml()), "--out", text(&other)]);
    assert!(stderr.contains("model.safetensors.index.json: sha256 is "), "{stderr}");
}

#[test]
fn the_tokenizers_other_files_come_along_where_the_hub_has_them_and_are_not_asked_for_again() {
    let mut fetch = Fetch::new();
    let asked = |fetch: &Fetch| {
        OPTIONAL.into_iter().filter(|name| !fetch.hub.requests_for(name).is_empty()).collect::<Vec<_>>()
    };
    let settings = br#"{"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": true}"#.to_vec();
    fetch.hub.change("tokenizer_config.json", settings.clone(), Some("\"one\""));
    fetch.files.push(("tokenizer_config.json", settings));
    let (stdout, stderr) = fetch.expect(0, &[]);
    assert!(stdout.contains("owner/name 0123456789ab: 4 files, "), "{stdout}");
    assert!(stderr.contains("tokenizer_config.json: ") && !stderr.contains("added_tokens.json"), "{stderr}");
    assert_eq!(asked(&fetch), OPTIONAL);
    fetch.assert_fetched();
    let _ = fetch.hub.requests();
    fetch.expect(0, &[]);
    assert_eq!(asked(&fetch), [""; 0], "what the revision lacks is recorded");
    // A file that was there must stay there; one that the manifest pins must be there.
    std::fs::remove_file(fetch.folder().join("tokenizer_config.json")).unwrap();
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    let digest = "0".repeat(64);
    fetch.pin(&sha256(fetch.content(WEIGHTS)), &format!(", files: {{added_tokens.json: '{digest}'}}"));
    let (_, stderr) = fetch.expect(1, &[]);
    assert_says(&stderr, &["added_tokens.json: the hub answers 404"]);
}

#[test]
fn a_vocabulary_is_fetched_where_the_hub_has_no_tokenizer_json() {
    let folder = tempfile::tempdir().unwrap();
    Checkpoint::bert().write(folder.path());
    std::fs::write(folder.path().join("vocab.txt"), WORDS.join("\n")).unwrap();
    let fetch = Fetch::of(folder.path(), &["config.json", "vocab.txt", WEIGHTS]);
    fetch.pin(&sha256(fetch.content(WEIGHTS)), "");
    for _ in 0..2 {
        let (stdout, stderr) = fetch.expect(0, &[]);
        assert!(stdout.contains("owner/name 0123456789ab: 3 files"), "{stdout}{stderr}");
        fetch.assert_fetched();
        let asked = fetch.hub.requests_for("tokenizer.json").len();
        assert_eq!(asked, 1, "what the revision lacks is recorded");
    }
    let found = fetch.folder();
    expect(0, &["infer", "--model", text(&found), "--text", "the film is good"]);
    // Neither is there: the message is of tokenizer.json.
    let fetch = Fetch::of(folder.path(), &["config.json", WEIGHTS]);
    fetch.pin(&sha256(fetch.content(WEIGHTS)), "");
    let (_, stderr) = fetch.expect(1, &[]);
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: owner/name 0123456789ab: tokenizer.json: the hub answers 404"), "{stderr}");
}

/// As an earlier version of the program left it.
#[test]
fn a_checkpoint_without_optional_files_is_whole_where_no_hub_can_be_asked() {
    let fetch = Fetch::new();
    fetch.expect(0, &[]);
    let path = fetch.folder().join("digests.json");
    let mut digests: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    digests.as_object_mut().unwrap().remove("absent").unwrap();
    std::fs::write(&path, digests.to_string()).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{closed}");
    for arguments in [&[][..], &["--offline"]] {
        let (stdout, stderr) = fetch.expect_with(0, arguments, &[("HF_ENDPOINT", &endpoint)]);
        assert!(stdout.contains("3 files, all there and right"), "{stdout}{stderr}");
        fetch.assert_fetched();
    }
}

#[test]
fn a_pinned_file_of_the_tokenizer_is_compared_by_a_run() {
    let fetch = Fetch::new();
    fetch.hub.change("tokenizer_config.json", b"{}".to_vec(), Some("\"one\""));
    let weights = sha256(fetch.content(WEIGHTS));
    fetch.pin(&weights, &format!(", files: {{tokenizer_config.json: '{}'}}", sha256(b"{}")));
    fetch.expect(0, &[]);
    fetch.experiment.run(0);
    std::fs::write(fetch.folder().join("tokenizer_config.json"), "{ }").unwrap();
    let fresh = fetch.experiment.folder().join("fresh");
    let (_, stderr) = expect(1, &["run", text(&fetch.experiment.yaml()), "--out", text(&fresh)]);
    assert!(stderr.contains("tokenizer_config.json: sha256 is "), "{stderr}");
}
