//! Every text that enters a report may be an attack: none of it becomes markup, script or a command.

use std::collections::{BTreeMap, BTreeSet};

use mixprec::model::WeightsOrigin;
use mixprec::plan::Plan;
use mixprec::provenance::Environment;
use mixprec::record::{Outcome, Record};
use mixprec::results::data::Data;
use mixprec::store::derive;
use mixprec::terminal::is_hidden;
use serde_json::{Value, json};

use super::fixture::{self, Shapes};
use super::machines;
use super::render::rendered;

const ATTACK: &str = "</td><script>alert(1)</script>\" onload=\"x' onclick='y javascript:alert(1) ../../up \\input{/etc/passwd}\
                      \\immediate\\write18{id} $$ % ]]> --> {{ 7 * 7 }} {% raw %} << 7 >> <% if %>\u{0}\u{202e}\n";

/// A small run in which every text that can be another is an attack, each its own; and how many those are.
fn hostile() -> (Data, usize) {
    let shapes = Shapes { models: &["bert-base", "gpt2"], batches: &[1], sequences: &[16, 32], ..fixture::LAPTOP };
    let plan = fixture::plan(&shapes);
    let mut records = fixture::laptop_records(&plan);
    // Of all that a label says, a repository's name alone is text.
    let stand_in = WeightsOrigin::StandIn { seed: 0, repository: "owner/name".to_owned(), revision: None };
    for record in &mut records {
        if let Outcome::Ok(measured) = &mut record.outcome {
            measured.weights = Some(stand_in.clone().into());
        }
    }
    let mut all = json!({
        "plan": plan, "records": records, "environment": fixture::environment(&["NVIDIA A100-SXM4-80GB"])
    });
    let mut texts = BTreeSet::new();
    collect(&all, &mut texts);
    let mut replaced = 0;
    for (index, text) in texts.iter().enumerate() {
        let mut attacked = all.clone();
        replace(&mut attacked, text, &format!("{index}{ATTACK}"));
        // Names of variants, digests and such cannot be anything else.
        if parts(attacked.clone()).is_some() {
            all = attacked;
            replaced += 1;
        }
    }
    let (plan, records, environment) = parts(all).unwrap();
    let environments = BTreeMap::from([(records[0].environment.clone(), environment)]);
    (Data { rows: derive::derive(&plan, &records), plan, environments }, replaced)
}

fn collect(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(texts.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.iter().for_each(|(_, member)| collect(member, texts)),
        _ => {}
    }
}

fn replace(value: &mut Value, text: &str, by: &str) {
    match value {
        Value::String(found) if found == text => *found = by.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, text, by)),
        Value::Object(members) => members.iter_mut().for_each(|(_, member)| replace(member, text, by)),
        _ => {}
    }
}

fn parts(mut all: Value) -> Option<(Plan, Vec<Record>, Environment)> {
    let mut part = |name: &str| all[name].take();
    Some((
        serde_json::from_value(part("plan")).ok()?,
        serde_json::from_value(part("records")).ok()?,
        serde_json::from_value(part("environment")).ok()?,
    ))
}

/// Names of the elements and attributes of a page, and the values of those attributes that name something to load.
fn markup(page: &str) -> (BTreeSet<String>, BTreeSet<String>, Vec<String>) {
    let (mut elements, mut attributes, mut links) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for tag in page.split('<').skip(1).filter(|tag| !tag.starts_with(['/', '!', '?'])) {
        let mut rest = tag;
        let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap();
        elements.insert(rest[..end].to_owned());
        rest = rest[end..].trim_start();
        while !rest.starts_with(['>', '/']) {
            let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("no attribute: <{tag}"));
            let (value, more) = value.split_once('"').unwrap();
            attributes.insert(name.to_owned());
            if name.ends_with("href") || name == "src" {
                links.push(value.to_owned());
            }
            rest = more.trim_start();
        }
    }
    (elements, attributes, links)
}

/// Names of TeX's control sequences.
fn commands(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| match rest.find(|c: char| !c.is_ascii_alphabetic()) {
        Some(0) => rest.chars().take(1).collect(),
        Some(end) => rest[..end].to_owned(),
        None => rest.to_owned(),
    };
    // After `\\` the next backslash begins a command of its own.
    let text = text.replace("\\\\", " ");
    text.match_indices('\\').map(|(at, _)| name(&text[at + 1..])).collect()
}

#[test]
fn no_text_of_a_run_becomes_markup_or_a_command() {
    let (data, replaced) = hostile();
    // The manifest's name and question, models, inputs, reasons, remarks, libraries, devices, processor, GPU, variables...
    assert!(replaced > 20, "only {replaced} texts can be hostile");
    let (mut elements, mut attributes, mut known) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // Of the names in these reports none is an attack.
    for (name, bytes) in [rendered(&fixture::laptop()), rendered(&machines::two_gpus())].into_iter().flatten() {
        let text = String::from_utf8_lossy(&bytes);
        if name.ends_with(".html") || name.ends_with(".svg") {
            let (more_elements, more_attributes, _) = markup(&text);
            elements.extend(more_elements);
            attributes.extend(more_attributes);
        }
        if name.ends_with(".tex") {
            known.extend(commands(&text));
        }
    }
    // What the escapes of LaTeX are made of, where the plain runs have no such character.
    known.extend(
        ["textless", "textgreater", "textbackslash", "textquotedbl", "textquotesingle", "texttt"].map(String::from),
    );
    known.extend(["{", "}", "$", "%", "_", "&", "#", "textbar", "textasciitilde", "textasciicircum"].map(String::from));
    for (name, bytes) in rendered(&data) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        assert!(name.chars().all(plain) && !name.contains(".."), "{name}");
        let text = String::from_utf8_lossy(&bytes);
        let shown = [".html", ".svg", ".tex"].iter().any(|end| name.ends_with(end));
        let hidden = text.chars().find(|&c| is_hidden(c) && c != '\n');
        assert!(!shown || hidden.is_none(), "{name}: {hidden:?}");
        if name.ends_with(".html") || name.ends_with(".svg") {
            let (found, named, links) = markup(&text);
            assert!(found.is_subset(&elements), "{name}: {:?}", found.difference(&elements));
            assert!(named.is_subset(&attributes), "{name}: {:?}", named.difference(&attributes));
            assert!(!name.ends_with(".html") || text.contains("{{ 7 * 7 }}"), "a template inside a value was rendered");
            assert!(links.iter().all(|link| link.starts_with('#')), "{name}: {links:?}");
            assert!(!found.contains("script") && !named.iter().any(|attribute| attribute.starts_with("on")), "{name}");
        }
        if name.ends_with(".tex") {
            let found = commands(&text);
            assert!(found.is_subset(&known), "{name}: {:?}", found.difference(&known));
            let count = |c: char| text.matches(c).count() - text.matches(&format!("\\{c}")).count();
            assert_eq!(count('{'), count('}'), "{name}");
        }
    }
}

#[test]
fn a_page_may_run_no_script_and_load_nothing() {
    let files = rendered(&fixture::laptop());
    let page = String::from_utf8(files["report.html"].clone()).unwrap();
    assert!(
        page.contains(
            "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\""
        )
    );
    assert!(!page.contains("<script") && !page.contains("url("));
}
