//! Shards, merged and set beside the run that did everything alone; and what a merge refuses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mixprec::provenance::Environment;
use mixprec::record::Status;
use mixprec::store::parquet::{read_results, read_samples};
use mixprec::store::schema::{ResultRow, SampleRow};

use crate::experiment::{CONFIGURATIONS, Experiment};

/// Runs the program; returns exit code, standard output and standard error.
pub fn mixprec(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
    let output =
        command.args(arguments).env_remove("MIXPREC_MOCK_FAULT").env_remove("RUST_BACKTRACE").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Merges and expects this exit code; returns standard error.
fn merge(code: i32, dirs: &[&Path], out: &Path) -> String {
    let mut arguments = vec!["merge"];
    arguments.extend(dirs.iter().map(|dir| path(dir)));
    arguments.extend(["--out", path(out)]);
    let (found, stdout, stderr) = mixprec(&arguments);
    assert_eq!(found, Some(code), "{stdout}{stderr}");
    stderr
}

/// Asserts that one clear line says all of this.
fn assert_says(message: &str, fragments: &[&str]) {
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    for fragment in fragments {
        assert!(message.contains(fragment), "`{fragment}` is not in: {message}");
    }
}

/// Every file below a folder, by its path there.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Rows without what differs from one measurement to the next.
fn rows_without_times(dir: &Path) -> Vec<ResultRow> {
    let timeless = |row: ResultRow| ResultRow {
        stop_reason: None,
        latency_mean_ms: None,
        latency_sd_ms: None,
        latency_min_ms: None,
        latency_p50_ms: None,
        latency_p50_low_ms: None,
        latency_p50_high_ms: None,
        throughput_sequences_per_s: None,
        throughput_tokens_per_s: None,
        gflops_per_s: None,
        end_to_end_samples: None,
        end_to_end_p50_ms: None,
        foreign_cpus: None,
        load_s: None,
        build_s: None,
        process_peak_bytes: None,
        finished_unix_s: None,
        wall_s: None,
        ..row
    };
    read_results(dir).unwrap().into_iter().map(timeless).collect()
}

/// The same experiment with the results in a folder of that name beside it.
fn beside(experiment: &Experiment, name: &str) -> PathBuf {
    experiment.dir().with_file_name(name)
}

/// Runs a shard of the experiment into a folder of its own.
fn run_shard(experiment: &Experiment, shard: &str) -> PathBuf {
    let dir = beside(experiment, &format!("shard-{}", shard.replace('/', "-of-")));
    let (code, _, stderr) = mixprec(&["run", path(&experiment.yaml()), "--shard", shard, "--out", path(&dir)]);
    assert_eq!(code, Some(0), "{stderr}");
    dir
}

#[test]
fn merged_shards_equal_the_single_run_in_all_but_time() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let shards: Vec<PathBuf> = (1..=3).map(|index| run_shard(&experiment, &format!("{index}/3"))).collect();
    for shard in &shards {
        let rows = read_results(shard).unwrap();
        let measured = rows.iter().filter(|row| row.status == Status::Ok).count();
        // Six blocks of two policies each.
        assert_eq!((rows.len(), measured), (CONFIGURATIONS, 4), "a shard knows the whole plan");
    }
    let out = beside(&experiment, "merged");
    let dirs: Vec<&Path> = shards.iter().map(PathBuf::as_path).collect();
    let said = merge(0, &dirs, &out);
    assert!(
        said.contains("3 folder(s) joined: 12 row(s) of 12 configuration(s) from 1 environment(s), 0 not run"),
        "{said}"
    );
    assert_eq!(rows_without_times(&out), rows_without_times(experiment.dir()));
    let ids = |dir: &Path| read_samples(dir).unwrap().into_iter().map(|row| (row.id, row.index)).collect::<Vec<_>>();
    assert_eq!(ids(&out), ids(experiment.dir()));
    assert_eq!(
        std::fs::read(out.join("plan.json")).unwrap(),
        std::fs::read(experiment.dir().join("plan.json")).unwrap()
    );
    let (code, stdout, stderr) = mixprec(&["report", path(&out)]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

#[test]
fn shards_may_be_run_into_one_folder() {
    let (experiment, single) = (Experiment::new(), Experiment::new());
    for shard in ["2/2", "1/2"] {
        experiment.expect(0, "", &["--shard", shard]);
    }
    single.expect(0, "", &[]);
    assert_eq!(experiment.rows_without_times(), single.rows_without_times());
    let (code, _, stderr) = mixprec(&["run", path(&experiment.yaml()), "--shard", "3/2"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("`3/2` is no shard; write I/N"), "{stderr}");
}

#[test]
fn backends_may_be_run_one_after_the_other() {
    let (experiment, single) = (Experiment::new(), Experiment::new());
    for one in [&experiment, &single] {
        one.manifest(|text| {
            text.replace("[mock]", "[mock, reference]").replace("configurations: 12", "configurations: 24")
        });
    }
    let said = experiment.expect(0, "", &["--backend", "reference"]);
    assert!(said.contains("12 measured"), "{said}");
    let rows = read_results(experiment.dir()).unwrap();
    let ran = |row: &&ResultRow| row.status == Status::Ok;
    assert_eq!((rows.len(), rows.iter().filter(ran).count()), (24, 12));
    assert!(rows.iter().filter(ran).all(|row| row.backend.name() == "reference"));
    let said = experiment.expect(0, "", &[]);
    assert!(said.contains("12 measured, 12 measured earlier"), "{said}");
    single.expect(0, "", &[]);
    assert_eq!(experiment.rows_without_times(), single.rows_without_times());
    let said = experiment.expect(2, "", &["--backend", "cuda"]);
    assert_says(&said, &["--backend cuda", "faults.yaml has no configuration of it"]);
}

#[test]
fn order_does_not_matter_and_a_merge_of_merges_is_the_merge() {
    let experiment = Experiment::new();
    let (a, b) = (run_shard(&experiment, "1/2"), run_shard(&experiment, "2/2"));
    let [first, second, third] = ["first", "second", "third"].map(|name| beside(&experiment, name));
    merge(0, &[&a, &b], &first);
    merge(0, &[&b, &a, &b], &second);
    merge(0, &[&a, &first], &third);
    assert_eq!(contents(&first), contents(&second));
    assert_eq!(contents(&first), contents(&third));
    let before = std::fs::metadata(first.join("results.parquet")).unwrap().modified().unwrap();
    merge(0, &[&a, &b], &first);
    let after = std::fs::metadata(first.join("results.parquet")).unwrap().modified().unwrap();
    assert_eq!(before, after, "nothing new, nothing written");
    // A merge that grows: the earlier one is joined with what is new and replaced.
    let growing = beside(&experiment, "growing");
    merge(0, &[&a], &growing);
    assert!(contents(&growing) != contents(&first));
    let (code, _, stderr) = mixprec(&["report", path(&growing)]);
    assert_eq!(code, Some(0), "{stderr}");
    merge(0, &[&growing, &b], &growing);
    assert_eq!(contents(&growing), contents(&first));
    let root = first.parent().unwrap();
    let left: Vec<PathBuf> =
        contents(root).into_keys().filter(|path| path.to_string_lossy().contains(".merge.")).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "a half-written folder was left");
}

/// Gives a run another machine: its environment and every row's name of it.
fn move_to_another_machine(dir: &Path) -> String {
    let (name, mut environment) = Environment::read_all(dir).unwrap().into_iter().next().unwrap();
    environment.machine.cpu.model = Some("Another CPU @ 9 GHz".to_owned());
    let id = environment.id();
    environment.write(dir).unwrap();
    std::fs::remove_file(dir.join("environments").join(format!("{name}.json"))).unwrap();
    let mut rows = read_results(dir).unwrap();
    let mut samples = read_samples(dir).unwrap();
    rows.iter_mut().filter_map(|row| row.environment.as_mut()).for_each(|environment| environment.clone_from(&id));
    samples.iter_mut().for_each(|sample| sample.environment.clone_from(&id));
    mixprec::store::parquet::write_results(dir, &rows).unwrap();
    mixprec::store::parquet::write_samples(dir, &samples).unwrap();
    // Published: the tables without the journal they were derived from.
    std::fs::remove_file(dir.join("journal.jsonl")).unwrap();
    id
}

#[test]
fn machines_keep_their_rows_and_an_environment_keeps_its_newest() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let other = Experiment::in_dir(&beside(&experiment, "other"));
    other.expect(0, "", &[]);
    let there = move_to_another_machine(other.dir());
    let out = beside(&experiment, "merged");
    let said = merge(0, &[experiment.dir(), other.dir()], &out);
    assert!(said.contains("24 row(s) of 12 configuration(s) from 2 environment(s)"), "{said}");
    let rows = read_results(&out).unwrap();
    let (here, moved) = (read_results(experiment.dir()).unwrap(), read_results(other.dir()).unwrap());
    for (pair, (first, second)) in rows.chunks(2).zip(here.iter().zip(&moved)) {
        let mut expected = [first.clone(), second.clone()];
        expected.sort_by(|a, b| a.environment.cmp(&b.environment));
        assert_eq!(pair, expected, "both rows, unchanged");
    }
    assert_eq!(Environment::read_all(&out).unwrap().len(), 2);
    assert_eq!(read_samples(&out).unwrap().len(), 2 * read_samples(other.dir()).unwrap().len());

    // The other machine again, an hour later: its newer rows replace the older ones, with a note each.
    let later = beside(&experiment, "later");
    std::fs::create_dir_all(later.join("environments")).unwrap();
    for (name, bytes) in contents(other.dir()).into_iter().filter(|(name, _)| !name.starts_with("reference")) {
        std::fs::write(later.join(name), bytes).unwrap();
    }
    let mut again = moved.clone();
    for row in &mut again {
        row.finished_unix_s = row.finished_unix_s.map(|at| at + 3600);
        row.load_s = Some(4.0);
    }
    mixprec::store::parquet::write_results(&later, &again).unwrap();
    for (dirs, out) in [([&later, &out], "newest"), ([&out, &later], "newest-turned")] {
        let newest = beside(&experiment, out);
        let said = merge(0, &dirs.map(PathBuf::as_path), &newest);
        assert_eq!(said.matches("was run more than once in environment").count(), 12, "{said}");
        let of_there: Vec<ResultRow> =
            read_results(&newest).unwrap().into_iter().filter(|row| row.environment.as_ref() == Some(&there)).collect();
        assert_eq!(of_there, again);
    }
    assert_eq!(contents(&beside(&experiment, "newest")), contents(&beside(&experiment, "newest-turned")));
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let out = beside(&experiment, "merged");
    let with = |name: &str, edit: &dyn Fn(String) -> String| {
        let other = Experiment::in_dir(&beside(&experiment, name));
        other.manifest(edit);
        other.expect(0, "", &[]);
        other
    };
    let slower = with("slower", &|text| text.replace("warmup: 1", "warmup: 2"));
    let said = merge(2, &[experiment.dir(), slower.dir()], &out);
    assert_says(&said, &["slower", "under other settings", "measurement.warmup: ", "merge each with its like"]);
    let renamed = with("renamed", &|text| text.replace("name: faults", "name: others"));
    let said = merge(2, &[experiment.dir(), renamed.dir()], &out);
    assert_says(&said, &["`faults`", "`others`", "merge each with its like"]);
    assert!(!out.exists(), "a refused merge leaves nothing");

    let absent = beside(&experiment, "absent");
    assert_says(&merge(2, &[experiment.dir(), &absent], &out), &["absent: no plan.json", "give the folder that"]);
    let (code, _, stderr) = mixprec(&["merge", "--out", path(&out)]);
    assert_eq!(code, Some(2), "{stderr}");
}

#[test]
fn a_grown_manifest_is_joined_with_its_younger_self() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let grown = Experiment::in_dir(&beside(&experiment, "grown"));
    grown.manifest(|text| text.replace("[1, 2]", "[2, 3]"));
    grown.expect(0, "", &[]);
    let out = beside(&experiment, "merged");
    let said = merge(0, &[grown.dir(), experiment.dir()], &out);
    assert!(said.contains("2 versions of the manifest under one protocol: their 18 configurations"), "{said}");
    assert_eq!(read_results(&out).unwrap().len(), 18);
    let plan: mixprec::plan::Plan = serde_json::from_slice(&std::fs::read(out.join("plan.json")).unwrap()).unwrap();
    assert_eq!((plan.axes.batch_sizes, plan.axes.sequence_lengths, plan.axes.precisions), (3, 3, 2));
}

#[test]
fn damage_is_found_in_every_file_and_nothing_is_written() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let out = beside(&experiment, "merged");
    let published = beside(&experiment, "published");
    merge(0, &[experiment.dir()], &published);
    let environment = std::fs::read_dir(published.join("environments")).unwrap().next().unwrap().unwrap().file_name();
    let environment = format!("environments/{}", environment.to_str().unwrap());
    for name in ["results.parquet", "samples.parquet", "plan.json", &environment] {
        let file = published.join(name);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        let said = merge(2, &[experiment.dir(), &published], &out);
        assert_says(&said, &[name]);
        std::fs::remove_file(&file).unwrap();
        assert_says(&merge(2, &[&published], &out), &["published"]);
        std::fs::write(&file, &whole).unwrap();
    }
    // Whole tables of two states.
    let samples = read_samples(&published).unwrap();
    mixprec::store::parquet::write_samples(&published, &samples[1..]).unwrap();
    assert_says(&merge(2, &[&published], &out), &["samples.parquet", "index do(es) not follow"]);
    mixprec::store::parquet::write_samples(&published, &samples[..samples.len() - 1]).unwrap();
    let said = merge(2, &[&published], &out);
    assert_says(&said, &["results.parquet", "samples, latency_mean_ms, ", "do(es) not follow from samples.parquet"]);
    let mut more = samples.clone();
    more.push(SampleRow { id: "f".repeat(16), ..samples[0].clone() });
    mixprec::store::parquet::write_samples(&published, &more).unwrap();
    assert_says(
        &merge(2, &[&published], &out),
        &["samples.parquet: ffffffffffffffff", "id do(es) not follow from results"],
    );

    let journal = experiment.dir().join("journal.jsonl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&journal, &bytes).unwrap();
    assert_says(&merge(2, &[experiment.dir()], &out), &["journal.jsonl:", "--force"]);
    assert!(!out.exists());
}

#[test]
fn results_that_are_no_merge_are_never_replaced() {
    let experiment = Experiment::new();
    experiment.expect(0, "", &[]);
    let before = contents(experiment.dir());
    let said = merge(2, &[experiment.dir()], experiment.dir());
    assert_says(&said, &["not of an earlier merge", "--out"]);
    assert_eq!(contents(experiment.dir()), before);
    let out = beside(&experiment, "merged");
    merge(0, &[experiment.dir()], &out);
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    assert_says(&merge(2, &[experiment.dir()], &out), &["notes.txt", "would be lost"]);
    std::fs::remove_file(out.join("notes.txt")).unwrap();
    // Nor by a run.
    let merged = contents(&out);
    let run = Experiment::in_dir(&out);
    assert_says(&run.expect(2, "", &[]), &["results.parquet", "a run would replace them"]);
    assert_eq!(contents(&out), merged);
}

#[test]
fn a_folder_in_use_is_waited_for() {
    let experiment = Experiment::new();
    let mut run = experiment.start("hang@2x16");
    crate::experiment::eventually("a row", || {
        std::fs::read(experiment.dir().join("journal.jsonl"))
            .is_ok_and(|bytes| bytes.iter().filter(|&&b| b == b'\n').count() > 1)
    });
    let said = merge(2, &[experiment.dir()], &beside(&experiment, "merged"));
    assert_says(&said, &[&format!("the run with process id {} is using this folder", run.id()), "wait for its end"]);
    run.kill().unwrap();
    run.wait().unwrap();
}
