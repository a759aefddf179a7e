//! A results folder with well-formed files that say anything: plan, journal and environment of a real run, any of whose
//! values the input replaces by others of its kind or by hostile text. Three bytes of the input are one replacement.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::{Corpus, fuzz_target};
use mixprec::claims::{Claims, judge};
use mixprec::report::document::document;
use mixprec::report::render::Renderer;
use mixprec::results::data::Data;
use mixprec::results::study::Study;
use mixprec::store::derive;
use mixprec_fuzz::{HOSTILE, base_json};
use serde_json::Value;

/// Every value that is no object or array, in order.
fn leaves<'v>(value: &'v mut Value, found: &mut Vec<&'v mut Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values_mut().for_each(|member| leaves(member, found)),
        leaf => found.push(leaf),
    }
}

fn replacement(old: &Value, by: u8) -> Value {
    const NUMBERS: [f64; 10] = [0.0, -1.0, 1e-300, 1e300, -1e300, 0.5, 1e15, f64::MAX, f64::MIN_POSITIVE, 3.0];
    const WHOLE: [u64; 6] = [0, 1, 2, u32::MAX as u64 + 1, i64::MAX as u64, u64::MAX];
    match (old, by) {
        (_, 255) => Value::Null,
        (Value::String(_), by) => HOSTILE[by as usize % HOSTILE.len()].into(),
        (Value::Number(number), by) if number.is_f64() => NUMBERS[by as usize % NUMBERS.len()].into(),
        (Value::Number(_), by) => WHOLE[by as usize % WHOLE.len()].into(),
        (Value::Bool(old), _) => (!old).into(),
        (_, by) if by < 128 => NUMBERS[by as usize % NUMBERS.len()].into(),
        (_, by) => WHOLE[by as usize % WHOLE.len()].into(),
    }
}

fuzz_target!(|edits: &[u8]| -> Corpus {
    let mut all = base_json().clone();
    let mut found = Vec::new();
    leaves(&mut all, &mut found);
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % found.len();
        *found[at] = replacement(found[at], edit[2]);
    }
    let parsed = (
        serde_json::from_value(all["plan"].take()),
        serde_json::from_value::<Vec<_>>(all["records"].take()),
        serde_json::from_value(all["environment"].take()),
    );
    let (Ok(plan), Ok(records), Ok(environment)) = parsed else { return Corpus::Reject };
    let rows = derive::derive(&plan, &records);
    let ids = rows.iter().filter_map(|row| row.environment.clone());
    let environments: BTreeMap<_, _> =
        ids.map(|id| (id, mixprec::provenance::Environment::clone(&environment))).collect();
    let data = Data { plan, rows, environments };
    let claims = Claims::builtin().expect("the built-in claims");
    let verdicts = judge(&data, &claims);
    let document = document(&Study::of(data), &claims, verdicts).expect("a document");
    let renderer = Renderer::new().expect("templates");
    let html = renderer.html(&document).expect("a page");
    for forbidden in ["<script", "<img", "\" onload"] {
        assert!(!html.contains(forbidden), "{forbidden} in the page");
    }
    let mut tex: String = ["macros.tex", "findings.tex", "claims.tex", "readings.tex", "caveats.tex"]
        .map(|name| renderer.tex(name, &document).expect("macros, claims and caveats"))
        .concat();
    for section in &document.sections {
        tex += &section.tables.iter().map(|table| renderer.table(table).expect("a table")).collect::<String>();
    }
    assert!(
        !tex.contains("\\input{/") && !tex.contains("\\write18") && !tex.contains("\\immediate"),
        "a command in LaTeX"
    );
    Corpus::Keep
});
