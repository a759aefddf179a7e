//! Numbers of the published artifact, traced back to samples.

use std::path::Path;

use mixprec::claims::Claims;
use mixprec::explain::{Explained, Explainer, Traced};
use mixprec::record::Status;
use mixprec::stats::median;
use mixprec::store::parquet::read_samples;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Numbers that are traced of each kind.
const PICKED: usize = 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn published() -> Explainer {
    Explainer::read(&root().join("artifacts/h200"), &Claims::builtin().unwrap()).unwrap()
}

/// Ten of these, other ones for another seed.
fn picked(all: &[String], seed: u64) -> Vec<&String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..PICKED).map(|_| &all[random.next_u32() as usize % all.len()]).collect()
}

/// Every row has what lies behind it, and its medians follow from its samples: read from the folder's table, not by the program
/// under test.
fn check(found: &Explained) {
    assert!(!found.rows.is_empty() || found.origin.is_some(), "{} leads nowhere", found.name);
    for row in found.rows.iter().take(3) {
        let folder = root().join("artifacts/h200").join(&row.folder);
        let samples = read_samples(&folder).unwrap();
        let (environment, described) = row.environment.clone().unwrap();
        assert!(!described.is_empty() && folder.join(format!("environments/{environment}.json")).exists());
        let of_row = samples.iter().filter(|sample| sample.id == row.id && sample.environment == environment);
        let latencies: Vec<f64> = of_row.filter_map(|sample| sample.latency_ms).collect();
        // A cell about failures or builds leads to rows that were never timed.
        match row.series.iter().find(|series| series.column == "latency_ms") {
            Some(latency) => {
                assert_eq!(latency.samples, latencies.len(), "{}: {}", found.name, row.id);
                assert_eq!(latency.recomputed_ms, median(&latencies));
            }
            None => assert!(row.status != Status::Ok && latencies.is_empty(), "{}: {row:?}", found.name),
        }
        assert!(row.series.iter().all(|series| series.stored_ms == series.recomputed_ms), "{}: {row:?}", found.name);
        assert!(!row.manifest.is_empty());
        assert!(row.commands[0].contains(&format!("--id {} --environment {environment}", row.id)));
    }
}

#[test]
fn ten_random_numbers_of_the_paper_lead_to_samples() {
    let explainer = published();
    let names = explainer.names();
    let macros: Vec<String> = names.iter().filter(|name| name.starts_with('\\')).cloned().collect();
    for name in picked(&macros, 7) {
        check(&explainer.explain(name).unwrap()[0]);
    }
    // Tables of searches follow from certificates, that of peers from samples of its own.
    let of_rows = |name: &&String| name.ends_with(".tex") && !name.starts_with("search") && *name != "peers.tex";
    let tables: Vec<String> = names.iter().filter(of_rows).cloned().collect();
    let cells = tables.iter().filter_map(|table| explainer.explain(table).ok()).flatten().collect::<Vec<_>>();
    assert!(cells.len() > 1000, "{}", cells.len());
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..PICKED {
        let cell = &cells[random.next_u32() as usize % cells.len()];
        assert!(!cell.rows.is_empty(), "{}", cell.name);
        check(cell);
    }
}

#[test]
fn a_line_of_a_minimal_set_leads_to_its_certificate_and_command() {
    let explainer = published();
    let found = explainer.explain("searches.tex: bert-base-uncased wikitext-2 0.999").unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let origin = found[0].origin.as_deref().unwrap();
    let (path, command) = origin.split_once(", searched with ").unwrap();
    let certificate = std::fs::read_to_string(path).unwrap();
    assert!(certificate.contains("\"cosine_min\": 0.999,"), "{path}");
    let options =
        "--model bert-base-uncased --input wikitext-2 --start fp16 --tolerance cosine_min=0.999 --batch 1 --seq 128";
    assert!(command.contains(options), "{command}");
    assert!(
        found[0].value.starts_with("3 (mlp/layer_norm of layers 2, 9 and 10) of 146 in FP32; "),
        "{}",
        found[0].value
    );
    assert_eq!(explainer.explain("searches.tex: gpt2").unwrap().len(), 3);
    assert!(explainer.explain("searches.tex: gpt3").unwrap_err().to_string().contains("no cell has all of `gpt3`"));
}

#[test]
fn every_verdict_of_the_readme_leads_to_rows_and_has_the_same_value() {
    let explainer = published();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, verdicts) = readme.split_once("<!-- generated: verdicts -->").unwrap();
    let (verdicts, _) = verdicts.split_once("<!-- /generated -->").unwrap();
    let mut seen = 0;
    for line in verdicts.lines().filter(|line| line.starts_with("| C") || line.starts_with("| F")) {
        let line = line.replace('\\', "");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let found = explainer.explain(cells[1]).unwrap().remove(0);
        assert_eq!(found.value, cells[3], "{}", found.name);
        assert!(found.name.ends_with(cells[4].trim_matches('*')), "{}: {}", found.name, cells[4]);
        check(&found);
        seen += usize::from(!found.rows.is_empty());
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn a_cell_is_chosen_by_words_and_its_value_follows_from_its_two_rows() {
    let explainer = published();
    let found = explainer.explain("speedup.tex: bert-base 8x128 hybrid").unwrap();
    let [cell] = found.as_slice() else { panic!("{} cells", found.len()) };
    let [cpu, gpu] = cell.rows.as_slice() else { panic!("{} rows", cell.rows.len()) };
    assert!(cpu.label.starts_with("onnxruntime fp32") && gpu.label.starts_with("cuda hybrid"), "{cell:?}");
    check(cell);
    let ratio = cpu.series[0].recomputed_ms.unwrap() / gpu.series[0].recomputed_ms.unwrap();
    let printed: f64 = cell.value.split('×').next().unwrap().replace('\u{202f}', "").parse().unwrap();
    assert!((ratio / printed - 1.0).abs() < 0.005, "{ratio} is printed as {printed}");
}

#[test]
fn a_number_of_the_readme_is_found_as_it_is_printed() {
    let explainer = published();
    let typical = explainer.explain("\\mpHybridOverFpTypical").unwrap().remove(0);
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&typical.value), "{}", typical.value);
    let found = explainer.explain(&typical.value).unwrap();
    assert!(found.iter().any(|one| one.name == typical.name));
    assert!(found.iter().all(|one| one.value.contains(&typical.value)));
    check(&typical);
}

#[test]
fn a_ratio_of_a_repeat_leads_to_the_rows_of_both_runs() {
    let found = published().explain("agreement-farthest.tex: ratio").unwrap();
    for cell in &found {
        let [first, repeat] = cell.rows.as_slice() else { panic!("{}: {} rows", cell.name, cell.rows.len()) };
        assert_eq!(first.id, repeat.id);
        assert_ne!(first.folder, repeat.folder);
        let median = |row: &Traced| row.series[0].recomputed_ms.unwrap();
        let printed: f64 = cell.value.split(' ').next().unwrap().parse().unwrap();
        assert!((median(repeat) / median(first) / printed - 1.0).abs() < 0.001, "{}: {}", cell.name, cell.value);
    }
    assert!(found.len() > 4);
}

/// The names under which README.md lists tables are those of the experiment's own report.
#[test]
fn a_table_of_another_experiment_is_found_without_its_name() {
    let explainer = published();
    let found = |what: &str| explainer.explain(what).unwrap().into_iter().map(|one| one.name).collect::<Vec<_>>();
    let [short, full] = ["quality.tex", "downstream-quality.tex"].map(found);
    assert!(!short.is_empty() && short == full, "{short:?}");
}

/// They stand in README.md and in the paper, and were published beside the artifact.
#[test]
fn times_of_other_engines_lead_to_the_comparison() {
    let explainer = published();
    let found = explainer.explain("peers.tex: bert-base 1x32 tensorrt-fp16").unwrap();
    let [line] = found.as_slice() else { panic!("{found:?}") };
    let origin = line.origin.as_deref().unwrap();
    assert!(origin.contains("h200-peers/peers.csv") && origin.contains("make peers"), "{origin}");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, largest) =
        readme.split_once("tensorrt-fp16 takes from ").and_then(|(_, text)| text.split_once(" to ")).unwrap();
    let (largest, _) = largest.split_once(' ').unwrap();
    let found = explainer.explain(largest).unwrap();
    assert!(found.iter().any(|one| one.name == "\\mpPeersSentence" && one.value.contains(largest)), "{found:?}");
    let refused = explainer.explain("peers.tex: bert-base 7x7").unwrap_err().to_string();
    assert!(refused.contains("no cell has all of `bert-base 7x7`"), "{refused}");
}

#[test]
fn a_number_in_a_sentence_is_found() {
    let found = published().explain("3 of 146").unwrap();
    assert!(found.iter().any(|one| one.name == "\\mpSearchesSentence" && one.origin.is_some()), "{found:?}");
}

#[test]
fn what_has_no_such_name_is_refused_with_what_is_near() {
    let explainer = published();
    let refused = |what: &str| explainer.explain(what).unwrap_err().to_string();
    assert!(refused("C99").contains("C3, F1"), "{}", refused("C99"));
    assert!(refused("\\mpHybridNothing").contains("Near: \\mpHybrid"), "{}", refused("\\mpHybridNothing"));
    assert!(refused("speedup.tex: bert-base 7x7").contains("no cell has all of `bert-base 7x7`"));
    assert!(refused("nothing.tex: 8x128").contains("nothing"));
    let near = refused("latencies.tex: 8x128");
    assert!(near.contains("Near: latency-") && !near.contains("\\mpLatency"), "{near}");
}
