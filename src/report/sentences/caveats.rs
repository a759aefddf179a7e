//! What a reader should know before the numbers: the run at a glance, and what limits it.

use super::machine::processor;
use super::{disturbances, failures, pins, tasks};
use crate::analysis::facts::has_random_weights;
use crate::analysis::noise;
use crate::engine::{BackendKind, DeviceKind};
use crate::numbers;
use crate::provenance::drift::MATCH;
use crate::provenance::{Environment, Gpu};
use crate::record::{Status, StopReason};
use crate::report::document::Fact;
use crate::report::escape::is_named_in_latex;
use crate::results::data::{Data, distinct, timed};
use crate::store::materials::Shared;
use crate::store::schema::ResultRow;

/// The run at a glance.
pub fn facts(data: &Data) -> Vec<Fact> {
    let fact = |label: &str, value: String| Fact { label: label.to_owned(), value };
    let status = |status| numbers::count(data.count(status) as u64);
    let mut facts = vec![
        fact(
            "Configurations",
            format!(
                "{} planned{}: {} measured, {}{} failed, {} pending",
                numbers::count(data.plan.configurations.len() as u64),
                if data.rows.len() > data.plan.configurations.len() {
                    format!(", {} rows of several machines", numbers::count(data.rows.len() as u64))
                } else {
                    String::new()
                },
                status(Status::Ok),
                if data.count(Status::Built) > 0 {
                    format!("{} built but not executed, ", status(Status::Built))
                } else {
                    String::new()
                },
                status(Status::Failed),
                status(Status::Pending)
            ),
        ),
        fact("Models", list(data.rows.iter().map(|row| row.model.clone()))),
        fact("Backends", list(data.rows.iter().map(|row| row.backend.to_string()))),
        fact("Precisions", list(data.rows.iter().map(|row| row.precision.clone()))),
        fact("Manifest", format!("{}, SHA-256 {}", data.plan.name, prefix(&data.plan.manifest_sha256))),
    ];
    let environments = || data.environments.values();
    facts.extend(distinct(environments().map(machine)).into_iter().map(|machine| fact("Machine", machine)));
    let programs = distinct(environments().map(|environment| environment.build.summary()));
    facts.extend(programs.into_iter().map(|program| fact("Program", program)));
    facts
}

/// `Xeon, 32 cores, 251.8 GiB; 2 × NVIDIA H200, driver 580.159.04`
fn machine(environment: &Environment) -> String {
    let memory = environment.machine.memory_bytes.map(|bytes| format!(", {}", numbers::gibibytes(bytes)));
    let named = |gpu: &Gpu| match &gpu.driver {
        Some(driver) => format!("{}, driver {driver}", gpu.name),
        None => gpu.name.clone(),
    };
    let gpus: Vec<String> = environment.gpus.iter().map(named).collect();
    let counted =
        distinct(gpus.iter()).into_iter().map(|gpu| match gpus.iter().filter(|other| *other == gpu).count() {
            1 => format!("; {gpu}"),
            several => format!("; {several} × {gpu}"),
        });
    format!("{}{}{}", processor(environment), memory.unwrap_or_default(), counted.collect::<String>())
}

/// What limits the numbers, most important first.
pub fn caveats(data: &Data) -> Vec<String> {
    let mut found = of_outputs(data);
    stop_caveats(data, &mut found);
    found.extend(baseline_caveat(data));
    found.extend(noise_caveat(data));
    found.extend(disturbances::sentences(data, true));
    found.extend(clock_caveat(data));
    machine_caveats(data, &mut found);
    found.extend(letters_caveat(data));
    found
}

/// Letters of the manifest and of reasons that the fonts of the paper lack.
fn letters_caveat(data: &Data) -> Option<String> {
    let names = data
        .rows
        .iter()
        .flat_map(|row| [Some(&row.model), Some(&row.precision), Some(&row.input), row.reason.as_ref()]);
    let mut texts = std::iter::once(&data.plan.question).chain(names.flatten());
    texts.any(|text| is_named_in_latex(text)).then(|| {
        "Letters that the fonts of LaTeX lack are printed there as code points in brackets, like [U+0126].".to_owned()
    })
}

/// What limits the outputs; for an experiment whose times do not answer the main run's question.
pub fn of_outputs(data: &Data) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |when: bool, text: &dyn Fn() -> String| {
        if when {
            found.push(text());
        }
    };
    let emulated = data.measured().filter(|row| row.emulated == Some(true)).count();
    let (failed, pending) = (data.count(Status::Failed), data.count(Status::Pending));
    let random = data.measured().filter(|row| has_random_weights(row)).count();
    let mock = data.rows.iter().filter(|row| row.backend == BackendKind::Mock).count();
    add(pending > 0, &|| {
        format!(
            "Not run yet: {} of {}. Tables are incomplete.",
            pending,
            numbers::plural(data.rows.len(), "configuration")
        )
    });
    add(failed > 0, &|| {
        format!("{} failed; tables show a dash and the reason.", numbers::plural(failed, "configuration"))
    });
    let built = data.count(Status::Built);
    add(built > 0, &|| {
        format!(
            "{} built but not executed; each row gives the reason. The report has their build time, size and precision \
             audit, but no latency, memory or numerics.",
            format_args!("{} engine{}", numbers::count(built as u64), if built == 1 { " was" } else { "s were" })
        )
    });
    add(emulated > 0, &|| {
        format!(
            "{} of {} measured rows emulate their formats on the CPU. Their numerics are those of the format. Their \
             time and memory say nothing about hardware with that format, and answer no claim about time or memory.",
            emulated,
            data.count(Status::Ok)
        )
    });
    add(random > 0, &|| {
        "Models with random weights have the architecture's cost, but not a trained model's activations: their cosines \
         and NaN rates may differ from those of the published checkpoints."
            .to_owned()
    });
    add(mock > 0, &|| {
        format!(
            "{} of the backend `mock`: a test instrument with made-up outputs and times. They measure nothing and answer \
             no claim.",
            numbers::plural(mock, "row")
        )
    });
    found.splice(0..0, failures::caveat(data));
    found.extend(contradictions_caveat(data));
    found.extend(definitions_caveat(data));
    found.extend(tasks::not_scored_of(data));
    found.extend(tasks::dropped_heads(data.rows.iter()).into_iter().map(|sentence| format!("{sentence}.")));
    found.extend(stand_in_caveat(data));
    found.extend(injection_caveat(data));
    found.extend(pins_caveat(data));
    found
}

/// Rows that should share a file, settings, libraries or the program's arithmetic, and do not.
fn contradictions_caveat(data: &Data) -> Option<String> {
    let mut shared = Shared::default();
    let mut contradicted =
        |row| shared.add(row, ()).into_iter().map(|(material, ..)| material.of(row)).collect::<Vec<_>>();
    let found = data.rows.iter().flat_map(&mut contradicted);
    let found = distinct(found);
    (!found.is_empty()).then(|| {
        format!(
            "Not all rows were made from the same version of: {}. Rows that differ in it are not compared with each other; \
             the columns `…_sha256` and `engine_library_digests` of results.parquet tell them apart.",
            found.join("; ")
        )
    })
}

/// Names that stand for two things.
fn definitions_caveat(data: &Data) -> Option<String> {
    let found: Vec<String> = data.plan.ambiguous().into_iter().collect();
    (!found.is_empty()).then(|| {
        format!(
            "One name has several definitions in plan.json: {}. Rows of one name are then not of one thing; their ids tell \
             them apart.",
            found.join("; ")
        )
    })
}

/// The rows whose versions differ from the pins.
fn pins_caveat(data: &Data) -> Option<String> {
    let differing = |row: &&ResultRow| row.pins.as_deref().is_some_and(|stamp| stamp != MATCH);
    let rows: Vec<&ResultRow> = data.rows.iter().filter(differing).collect();
    (!rows.is_empty()).then(|| {
        format!(
            "{} of {} {} not match the pins: {}.",
            numbers::count(rows.len() as u64),
            numbers::plural(data.rows.iter().filter(|row| row.pins.is_some()).count(), "row"),
            if rows.len() == 1 { "does" } else { "do" },
            pins::all(rows.iter().copied()).unwrap_or_default()
        )
    })
}

/// How many rows took long enough to compare the clock with the kernel's.
fn clock_caveat(data: &Data) -> Option<String> {
    let timed = data.measured().filter(|row| row.latency_p50_ms.is_some()).count();
    let checked = data.measured().filter(|row| row.clock_ratio.is_some()).count();
    (checked < timed).then(|| {
        format!(
            "The clock was compared with the kernel's for {} of {}. The others took less than a second, or the kernel's \
             time could not be read.",
            numbers::count(checked as u64),
            numbers::plural(timed, "timed row")
        )
    })
}

/// The models with random weights in place of the weights that they are named after.
fn stand_in_caveat(data: &Data) -> Option<String> {
    let stand_ins = distinct(data.rows.iter().filter_map(|row| {
        Some(format!("{} has random weights in place of {}", row.model, row.weights()?.stands_in_for()?))
    }));
    (!stand_ins.is_empty()).then(|| {
        format!(
            "Not the published checkpoints: {}. The checkpoints had not been fetched when these rows were measured. \
             `mixprec fetch` and another run of the same manifest measure the rows again with the real weights.",
            stand_ins.join("; ")
        )
    })
}

/// The models with an outlier added to their weights.
fn injection_caveat(data: &Data) -> Option<String> {
    let injected = distinct(data.rows.iter().filter_map(|row| Some((row.model.clone(), row.injection.clone()?))));
    let models: Vec<String> = injected.iter().map(|(model, what)| format!("{model} has an {what}")).collect();
    (!models.is_empty()).then(|| {
        format!(
            "Changed weights: {}. The outlier stands in for the massive activations of trained language models; unlike \
             them, it is on every token. Such rows answer no claim. In the prose, only the numbers named injected \
             include them.",
            models.join("; ")
        )
    })
}

/// The CPU baseline, where it is not ONNX Runtime.
fn baseline_caveat(data: &Data) -> Option<String> {
    let measured = |kind| data.measured().any(|row| row.backend == kind);
    let weak = measured(BackendKind::Reference) && !measured(BackendKind::OnnxRuntime);
    weak.then(|| {
        "No ONNX Runtime row: the CPU baseline is the reference backend, so speed-ups are not over a tuned runtime."
            .to_owned()
    })
}

/// Ratios are quoted without a noise floor.
fn noise_caveat(data: &Data) -> Option<String> {
    let quoted = data.measured().any(|row| timed(row) && row.backend.device() == DeviceKind::Gpu);
    (quoted && noise::floors(data).is_empty()).then(|| {
        "No configuration was timed against itself (`noise_floor` in the manifest), so the noise of a ratio is not \
         known."
            .to_owned()
    })
}

fn stop_caveats(data: &Data, found: &mut Vec<String>) {
    let timed = data.measured().filter(|row| row.stop_reason.is_some()).count();
    for (reason, limit) in [(StopReason::TimeCap, "time cap"), (StopReason::MaxSamples, "sample limit")] {
        let stopped = data.measured().filter(|row| row.stop_reason == Some(reason)).count();
        if stopped > 0 {
            found.push(format!(
                "{} of {} stopped at the {limit}, before the median's interval was within the target; tables mark them.",
                numbers::count(stopped as u64),
                numbers::plural(timed, "row"),
            ));
        }
    }
}

fn machine_caveats(data: &Data, found: &mut Vec<String>) {
    let environments = || data.environments.values();
    if data.environments.len() > 1 {
        found.push(format!(
            "Rows come from {} environments; every row of results.parquet names its own.",
            data.environments.len()
        ));
    }
    if data.environments.is_empty() {
        found.push("The run has stored no environment: its machine is unknown.".to_owned());
    } else if environments().all(|environment| environment.gpus.is_empty()) {
        found.push("No GPU: claims about GPUs are not judged.".to_owned());
    }
    if environments().any(|environment| environment.machine.virtual_machine == Some(true)) {
        found.push("The machine is virtual: neighbours may disturb its clock and caches.".to_owned());
    }
    if environments().any(|environment| environment.build.dirty == Some(true)) {
        found.push("The program was built from files that differ from its commit.".to_owned());
    }
    let few = data.measured().filter(|row| row.latency_p50_ms.is_some() && row.latency_p50_low_ms.is_none()).count();
    if few > 0 {
        found.push(format!("{few} measured rows have too few samples for an interval of the median."));
    }
}

/// Values in order of first appearance, separated by commas.
pub fn list(values: impl Iterator<Item = String>) -> String {
    distinct(values).join(", ")
}

/// The beginning of a digest.
pub fn prefix(digest: &str) -> String {
    digest.chars().take(12).collect()
}
