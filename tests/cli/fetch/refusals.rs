//! What a hub answers in place of a file, and what a wrong file comes to.

use std::net::TcpListener;

use mixprec::digest::sha256;

use crate::assert_says;
use crate::experiment::text;
use crate::fetch::server::{Act, Hub};
use crate::fetch::{Fetch, WEIGHTS};

/// The only line of standard error that begins with `error: `.
fn error(stderr: &str) -> &str {
    let mut errors = stderr.lines().filter(|line| line.starts_with("error: "));
    let first = errors.next().unwrap_or_else(|| panic!("no error in: {stderr}"));
    assert_eq!(errors.next(), None, "{stderr}");
    first
}

#[test]
fn a_wrong_digest_is_refused_and_leaves_nothing() {
    let fetch = Fetch::with(", fallback: gpt2-tiny");
    let mut wrong = fetch.content(WEIGHTS).to_vec();
    wrong[6000] ^= 1;
    fetch.hub.next(WEIGHTS, [Act::Other(wrong.clone())]);
    let (stdout, stderr) = fetch.expect(1, &[]);
    assert_eq!(stdout, "");
    let expected = [sha256(&wrong), sha256(fetch.content(WEIGHTS))];
    let [found, pinned] = expected.each_ref().map(String::as_str);
    assert_says(error(&stderr), &["owner/name 0123456789ab: model.safetensors: sha256 is ", found, "pins", pinned]);
    fetch.assert_nothing_of(WEIGHTS);
    // The model is as it was: not fetched.
    assert!(fetch.experiment.run(0).contains("random weights stand in for owner/name"));
    fetch.expect(0, &[]);
    fetch.assert_fetched();
}

/// A short length cannot be told from a short file; the digest can.
#[test]
fn an_announced_length_that_is_too_short_is_a_wrong_file() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, [Act::Length(-100)]);
    let (_, stderr) = fetch.expect(1, &[]);
    assert_says(error(&stderr), &["model.safetensors: sha256 is "]);
    fetch.assert_nothing_of(WEIGHTS);
}

#[test]
fn a_page_is_no_configuration() {
    let fetch = Fetch::new();
    for page in [&b"<html>Log in to the network</html>"[..], b""] {
        fetch.hub.next("config.json", [Act::Other(page.to_vec())]);
        let (_, stderr) = fetch.expect(1, &[]);
        assert_says(error(&stderr), &["config.json: what arrived is no JSON", "deleted", "proxy"]);
        fetch.assert_nothing_of("config.json");
    }
}

#[test]
fn what_is_not_there_or_not_allowed_is_not_tried_again() {
    let fetch = Fetch::new();
    let refused = |status: u16, variables: &[(&str, &str)], says: &[&str]| {
        let _ = fetch.hub.requests();
        fetch.hub.next("config.json", [Act::Status(status, Vec::new())]);
        let (_, stderr) = fetch.expect(1, variables);
        assert_says(error(&stderr), &[&["owner/name 0123456789ab: config.json: the hub answers "], says].concat());
        assert_eq!(fetch.hub.requests().0.len(), 1, "{stderr}");
        fetch.assert_nothing_of("config.json");
    };
    refused(404, &[], &["404", "no such file at this revision", "correct `hub` or `revision`"]);
    refused(401, &[], &["401", "set HF_TOKEN"]);
    refused(403, &[("HF_TOKEN", "hf_secret")], &["403", "the login in HF_TOKEN may not read it"]);
    refused(418, &[], &["418", "is HF_ENDPOINT (http://127.0.0.1:"]);
    fetch.expect(0, &[]);
    fetch.assert_fetched();
}

#[test]
fn a_busy_hub_is_waited_for() {
    let fetch = Fetch::new();
    fetch.hub.next("config.json", [Act::Status(503, Vec::new()), Act::Status(500, Vec::new())]);
    fetch.hub.next(WEIGHTS, [Act::Status(429, vec![("Retry-After", "1".to_owned())])]);
    let (_, stderr) = fetch.expect(0, &[]);
    for expected in ["503", "trying again in 0.5 s", "500", "trying again in 1.0 s", "429"] {
        assert!(stderr.contains(expected), "`{expected}` is not in: {stderr}");
    }
    fetch.assert_fetched();
}

#[test]
fn a_hub_that_stays_busy_is_given_up() {
    let fetch = Fetch::new();
    fetch.hub.next(WEIGHTS, [Act::Status(429, vec![("Retry-After", "3600".to_owned())])]);
    let (_, stderr) = fetch.expect(1, &[]);
    assert_says(error(&stderr), &["429", "wants 3600 s of quiet", "run the same command again then"]);
    fetch.hub.next(WEIGHTS, vec![Act::Status(502, Vec::new()); 20]);
    let (_, stderr) = fetch.expect(1, &[]);
    assert_says(error(&stderr), &["model.safetensors: gave up after 5 attempts", "502", "again later"]);
    let _ = fetch.hub.requests();
    // The other files are kept and not asked for again.
    fetch.hub.next(WEIGHTS, []);
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    assert_eq!(fetch.hub.requests().0.len(), 1);
}

#[test]
fn redirects_are_followed_and_the_token_stays_at_home() {
    let fetch = Fetch::new();
    let storage = Hub::new(&fetch.files);
    let elsewhere = format!("{}/signed/{WEIGHTS}?signature=abc", storage.endpoint());
    fetch.hub.next("config.json", [Act::Redirect("/api/cache/config.json".to_owned())]);
    fetch.hub.next(WEIGHTS, [Act::Redirect(elsewhere)]);
    let (_, stderr) = fetch.expect(0, &[("HF_TOKEN", "hf_secret")]);
    fetch.assert_fetched();
    assert!(!stderr.contains("hf_secret") && !stderr.contains("signature"), "{stderr}");
    let (at_home, _) = fetch.hub.requests();
    assert!(at_home.iter().any(|request| request.path == "/api/cache/config.json"), "{at_home:?}");
    for request in &at_home {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"), "{request:?}");
    }
    let (abroad, _) = storage.requests();
    assert_eq!(abroad.len(), 1);
    assert_eq!((abroad[0].header("authorization"), abroad[0].header("referer")), (None, None), "{abroad:?}");
}

/// The range goes along with the redirect: storage hosts are what sends the weights.
#[test]
fn a_download_from_a_storage_host_goes_on_there() {
    let fetch = Fetch::new();
    let storage = Hub::new(&fetch.files);
    let elsewhere = Act::Redirect(format!("{}/bucket/{WEIGHTS}", storage.endpoint()));
    fetch.hub.next(WEIGHTS, [elsewhere.clone(), elsewhere]);
    storage.next(WEIGHTS, [Act::Break(5000)]);
    fetch.expect(0, &[]);
    fetch.assert_fetched();
    let (abroad, sent) = storage.requests();
    let ranges: Vec<_> = abroad.iter().map(|request| request.header("range")).collect();
    assert_eq!((ranges, sent), (vec![None, Some("bytes=5000-")], fetch.content(WEIGHTS).len()));
}

#[test]
fn redirects_in_a_circle_end() {
    let fetch = Fetch::new();
    fetch.hub.next("config.json", vec![Act::Redirect("config.json".to_owned()); 100]);
    let (_, stderr) = fetch.expect(1, &[]);
    assert_says(error(&stderr), &["config.json: too many redirects"]);
    assert_eq!(fetch.hub.requests().0.len(), 11);
}

#[test]
fn without_a_network_one_sentence_names_the_cure() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{closed}");
    for fallback in ["", ", fallback: gpt2-tiny"] {
        let fetch = Fetch::with(fallback);
        for arguments in [&[][..], &["--offline"]] {
            let (stdout, stderr) = fetch.expect_with(1, arguments, &[("HF_ENDPOINT", &endpoint)]);
            assert_eq!(stdout, "");
            let folder = fetch.folder();
            let mut says = vec!["config.json, tokenizer.json, model.safetensors into ", text(&folder), "by hand"];
            says.push(if arguments.is_empty() { "Connection refused" } else { "no network is used (--offline)" });
            assert_says(&stderr, &says);
            let stand_in = "until then random weights stand in for owner/name";
            assert_eq!(stderr.contains(stand_in), !fallback.is_empty(), "{stderr}");
            assert!(!folder.exists() && !fetch.staging().exists());
        }
    }
}

#[test]
fn one_checkpoint_that_fails_does_not_keep_the_next_from_being_fetched() {
    let fetch = Fetch::new();
    let (gone, digest) = ("f".repeat(40), sha256(fetch.content(WEIGHTS)));
    let models = format!(
        "{{gone: {{hub: owner/gone, revision: '{gone}', sha256: '{digest}'}}, \
         gpt: {{hub: owner/name, revision: '{}', sha256: '{digest}'}}}}",
        crate::fetch::REVISION
    );
    let cells = crate::experiment::Cells { models: &models, count: 2, ..Default::default() };
    fetch.experiment.manifest(&cells);
    fetch.hub.next("config.json", [Act::Status(404, Vec::new())]);
    let (stdout, stderr) = fetch.expect(1, &[]);
    assert_says(error(&stderr), &["owner/gone ffffffffffff: config.json"]);
    assert!(stdout.starts_with("owner/name 0123456789ab: 3 files"), "{stdout}");
    fetch.assert_fetched();
}

#[test]
fn variables_that_cannot_be_used_are_bad_input_and_not_quoted() {
    let fetch = Fetch::new();
    let variables = [
        ("HF_ENDPOINT", "https://me:sesame@hub.example.org", "without a login"),
        ("HF_ENDPOINT", "hub.example.org", "like `https://"),
        ("HF_TOKEN", "hf sesame", "without spaces"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon", "a number of seconds above 0"),
    ];
    for (name, value, says) in variables {
        let (_, stderr) = fetch.expect(2, &[(name, value)]);
        assert_says(&stderr, &["error: ", name, says, "correct or unset the variable"]);
        assert!(!stderr.contains("sesame"), "{stderr}");
    }
    assert_eq!(fetch.hub.requests().0.len(), 0);
}
