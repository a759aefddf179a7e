//! LaTeX of the fixtures' reports: one table of every kind as an inline snapshot, and of every other file that it says what
//! the committed page says. (How to accept a change: `committed.rs`.)

mod claims;
mod numerics;
mod run;
mod speed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use mixprec::report::escape::latex_string;
use serde_json::Value;

use super::render::{rendered, rendered_with, text};
use super::{fixture, machines, study};

type Files = BTreeMap<String, Vec<u8>>;

fn laptop(name: &str) -> String {
    static FILES: LazyLock<Files> = LazyLock::new(|| rendered(&fixture::laptop()));
    text(&FILES, name)
}

fn two_gpus(name: &str) -> String {
    static FILES: LazyLock<Files> = LazyLock::new(|| rendered(&machines::two_gpus()));
    text(&FILES, name)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn tex(value: &Value, key: &str) -> String {
    latex_string(string(value, key))
}

fn html(value: &Value, key: &str) -> String {
    let pairs = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    pairs.iter().fold(string(value, key).to_owned(), |text, (from, to)| text.replace(from, to))
}

/// `before` + `text` + `after`, or nothing where there is no text.
fn around(before: &str, text: &str, after: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}{after}") }
}

fn tex_heading(heading: &Value) -> String {
    let text = tex(heading, "text") + &around(r"\tnote{", &tex(heading, "marks"), "}");
    if heading["detail"] == true { format!(r"\multicolumn{{2}}{{c}}{{{text}}}") } else { text }
}

fn tex_cell((heading, cell): (&Value, &Value)) -> String {
    let muted = |text: String| if cell["muted"] == true { format!(r"\muted{{{text}}}") } else { text };
    let (detail, mark) = (tex(cell, "detail"), tex(cell, "mark"));
    let text = muted(tex(cell, "text"));
    match (heading["detail"] == true, detail.is_empty()) {
        (false, _) => text + &around(r"\tnote{", &mark, "}"),
        (true, true) => text + &around(r"\tnote{", &mark, "}") + " & ",
        (true, false) => {
            format!("{text} & {}", muted(format!(r"\interval{{{detail}}}"))) + &around(r"\textsuperscript{", &mark, "}")
        }
    }
}

fn html_cell((heading, cell): (&Value, &Value)) -> String {
    let muted = if cell["muted"] == true { " muted" } else { "" };
    let source = around(" title=\"configuration ", string(cell, "source"), "\"");
    let mark = around("<sup>", &html(cell, "mark"), "</sup>");
    let detail = around("<small>", &html(cell, "detail"), "</small>");
    let (align, text) = (string(heading, "align"), linked((heading, cell)));
    format!("<td class=\"{align}{muted}\"{source}>{text}{mark}{detail}</td>")
}

/// A number leads to its row, or to the first of its rows.
fn linked((heading, cell): (&Value, &Value)) -> String {
    let (text, rows) = (html(cell, "text"), list(cell, "rows"));
    let target = cell["source"].as_str().or_else(|| rows.first()?.as_str());
    let Some(id) = target.filter(|_| string(heading, "align") == "right") else { return text };
    let of = match rows.len() {
        count if count > 1 && cell["source"].is_null() => format!(" title=\"the first of {count} rows\""),
        _ => String::new(),
    };
    format!("<a href=\"#row-{id}\"{of}>{text}</a>")
}

fn cells(table: &Value, row: &Value, cell: impl Fn((&Value, &Value)) -> String) -> Vec<String> {
    let (headings, cells) = (list(table, "headings"), list(row, "cells"));
    assert_eq!(headings.len(), cells.len());
    headings.iter().zip(cells).map(cell).collect()
}

/// The lines between two, neither of them included.
fn between<'a>(text: &'a str, first: &str, last: &str) -> Vec<&'a str> {
    text.lines().skip_while(|line| *line != first).skip(1).take_while(|line| *line != last).collect()
}

fn compare_tex(table: &Value, found: &str) {
    let slug = string(table, "slug");
    if !table["empty"].is_null() {
        assert_eq!(found.trim_end(), format!(r"\emph{{{}}}", tex(table, "empty")), "{slug}");
        return;
    }
    let headings: Vec<String> = list(table, "headings").iter().map(tex_heading).collect();
    let head = format!("{} \\\\\n\\midrule\n", headings.join(" & "));
    assert!(found.contains(&head), "{slug}: {head}\n{found}");
    for span in list(table, "spans").iter().filter(|span| !string(span, "text").is_empty()) {
        assert!(found.contains(&format!(r"{{c}}{{{}}}", tex(span, "text"))), "{slug}: {span}");
    }
    let mut rows = Vec::new();
    for row in list(table, "rows") {
        rows.extend((row["rule"] == true).then(|| r"\addlinespace[2pt]".to_owned()));
        rows.push(cells(table, row, tex_cell).join(" & ") + r" \\");
    }
    assert_eq!(between(found, r"\midrule", r"\bottomrule"), rows, "{slug}");
    let note = |note: &Value| format!(r"\item[{}] {}", tex(note, "mark"), tex(note, "text"));
    let mut notes: Vec<String> = list(table, "notes").iter().map(note).collect();
    notes.extend(table["pins"].is_string().then(|| format!(r"\item[] {}", tex(table, "pins"))));
    assert_eq!(between(found, r"\begin{tablenotes}[flushleft]\footnotesize", r"\end{tablenotes}"), notes, "{slug}");
}

fn compare_html(table: &Value, page: &str) {
    let (slug, caption) = (string(table, "slug"), html(table, "caption"));
    if !table["empty"].is_null() {
        let nothing = format!("<div class=\"nothing\"><b>{caption}</b> {}</div>", html(table, "empty"));
        assert!(page.contains(&nothing), "{slug}: {nothing}");
        return;
    }
    let begin =
        page.find(&format!("id=\"{slug}-caption\">{caption}</p>")).unwrap_or_else(|| panic!("{slug}: {caption}"));
    let found = &page[begin..begin + page[begin..].find("</table>").unwrap()];
    for span in list(table, "spans") {
        assert!(found.contains(&format!(">{}</th>", html(span, "text"))), "{slug}: {span}");
    }
    let heading = |heading: &Value| {
        let marks = around("<sup>", &html(heading, "marks"), "</sup>");
        format!("<th class=\"{}\" scope=\"col\">{}{marks}</th>", string(heading, "align"), html(heading, "text"))
    };
    let head: String = list(table, "headings").iter().map(heading).collect();
    assert!(found.contains(&head), "{slug}: {head}");
    let row = |row: &Value| {
        let rule = if row["rule"] == true { " class=\"rule\"" } else { "" };
        format!("<tr{rule}>{}</tr>", cells(table, row, html_cell).concat())
    };
    let rows: Vec<String> = list(table, "rows").iter().map(row).collect();
    assert_eq!(between(found, "<tbody>", "</tbody>"), rows, "{slug}");
    for note in list(table, "notes") {
        let note = around("<sup>", &html(note, "mark"), "</sup>") + &html(note, "text");
        assert!(page[begin..].contains(&format!("<li>{note}</li>")), "{slug}: {note}");
    }
}

/// What a section's files place: figures in the text, tables in the text or in the appendix.
fn compare_placement(section: &Value, files: &Files) {
    let slug = string(section, "slug");
    let mut found = text(files, &format!("section-{slug}.tex"));
    let appendix = format!("appendix-{slug}.tex");
    if files.contains_key(&appendix) {
        found += &text(files, &appendix);
    }
    let place = |kind: &str, one: &Value| match one["empty"].as_str() {
        Some(empty) => format!(r"\MixprecNothing{{{}}}{{{}}}", tex(one, "caption"), latex_string(empty)),
        None => format!(r"\Mixprec{kind}{{{}}}{{{}}}", string(one, "slug"), tex(one, "caption")),
    };
    let mut expected: Vec<String> = list(section, "figures").iter().map(|figure| place("Figure", figure)).collect();
    expected.extend(list(section, "tables").iter().map(|table| place("Table", table)));
    let mut found: Vec<&str> = found.lines().filter(|line| line.starts_with(r"\Mixprec")).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{slug}");
}

/// The names of the files that a document is rendered to.
fn names(document: &Value) -> BTreeSet<String> {
    let texts = ["macros", "verdicts", "findings", "claims", "readings", "caveats"].map(|name| format!("{name}.tex"));
    let mut names: BTreeSet<String> =
        ["report.html", "report.json"].map(str::to_owned).into_iter().chain(texts).collect();
    for section in list(document, "sections") {
        let tables = list(section, "tables");
        names.insert(format!("section-{}.tex", string(section, "slug")));
        if list(section, "figures").iter().chain(tables).any(|one| one["in_appendix"] == true) {
            names.insert(format!("appendix-{}.tex", string(section, "slug")));
        }
        names.extend(tables.iter().map(|table| format!("{}.tex", string(table, "slug"))));
        for figure in list(section, "figures").iter().filter(|figure| figure["empty"].is_null()) {
            names.extend(["svg", "pdf"].map(|extension| format!("{}.{extension}", string(figure, "slug"))));
        }
    }
    names
}

/// `report.json` holds what was formatted; the page is committed as a whole. Neither leaves a cell, a note or a caption of
/// the other out, nor does a file of LaTeX, and every figure stands in the page.
#[test]
fn the_page_the_values_and_the_latex_say_the_same() {
    for files in [rendered(&fixture::laptop()), rendered(&machines::two_gpus()), rendered_with(&study::study())] {
        let document: Value = serde_json::from_slice(&files["report.json"]).unwrap();
        let page = text(&files, "report.html");
        assert_eq!(files.keys().cloned().collect::<BTreeSet<_>>(), names(&document));
        for (name, _) in files.iter().filter(|(name, _)| name.ends_with(".svg")) {
            assert!(page.contains(&text(&files, name)), "{name}");
        }
        for place in page.split("href=\"#").skip(1) {
            let id = place.split('"').next().unwrap();
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        for section in list(&document, "sections") {
            compare_placement(section, &files);
            for table in list(section, "tables") {
                compare_tex(table, &text(&files, &format!("{}.tex", string(table, "slug"))));
                compare_html(table, &page);
            }
        }
        let line = |one: &Value| format!(r"\newcommand{{\{}}}{{{}\xspace}}", string(one, "name"), tex(one, "value"));
        let macros: Vec<String> = list(&document, "macros").iter().map(line).collect();
        let found = text(&files, "macros.tex");
        assert_eq!(found.lines().filter(|line| line.starts_with('\\')).collect::<Vec<_>>(), macros);
        let caveats: Vec<String> = list(&document, "caveats")
            .iter()
            .map(|caveat| format!(r"\item {}", latex_string(caveat.as_str().unwrap())))
            .collect();
        assert_eq!(between(&text(&files, "caveats.tex"), r"\begin{itemize}", r"\end{itemize}"), caveats);
        compare_claims(&document, &text(&files, "claims.tex"));
        compare_findings(&document, &text(&files, "findings.tex"));
        compare_readings(&document, &text(&files, "readings.tex"));
    }
}

fn compare_claims(document: &Value, found: &str) {
    let cell = r"\multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}";
    let rows = |claim: &Value, words: String| {
        let [id, shown] = ["id", "shown"].map(|key| tex(claim, key));
        let verdict = format!(r"\verdict{}{{{}}}", string(claim, "tone"), tex(claim, "label"));
        let rows = format!("; rows: {})", claim["rows"]);
        let why = tex(claim, "why") + &around(" (", &tex(claim, "answered_by"), &rows);
        [format!(r"{id} & {words} & {shown} & {verdict} \\*"), format!(r" & {cell}{{\interval{{{why}}}}} \\")]
    };
    let claim = |claim: &Value| {
        let mut lines = rows(claim, format!("{} & {}", tex(claim, "sentence"), tex(claim, "paper_value"))).to_vec();
        let second = |second: &Value| rows(second, format!("the same, counting {} &", tex(second, "counts")));
        lines.extend(claim.get("second").into_iter().flat_map(second));
        lines
    };
    let expected: Vec<String> = list(document, "claims").iter().flat_map(claim).collect();
    let lines = between(found, r"\midrule", r"\bottomrule");
    assert_eq!(lines.into_iter().filter(|line| *line != ROOM).collect::<Vec<_>>(), expected);
}

/// Room between two rows.
const ROOM: &str = r"\addlinespace[2pt]";

fn compare_findings(document: &Value, found: &str) {
    let row = |finding: &Value| {
        let [id, words, shown, label] = ["id", "finding", "shown", "label"].map(|key| tex(finding, key));
        format!(r"{id} & {words} & {shown} & \verdict{}{{{label}}} \\", string(finding, "tone"))
    };
    let expected: Vec<String> = list(document, "findings").iter().map(row).collect();
    let lines = between(found, r"\midrule", r"\bottomrule");
    assert_eq!(lines.into_iter().filter(|line| *line != ROOM).collect::<Vec<_>>(), expected);
}

fn compare_readings(document: &Value, found: &str) {
    let item = |of: &Value| format!(r"\item[{}] {}.", tex(of, "id"), tex(of, "reading"));
    let claim = |of: &Value| std::iter::once(item(of)).chain(of.get("second").map(item)).collect::<Vec<_>>();
    let finding = |of: &Value| format!("{} {}", item(of), tex(of, "why"));
    let mut expected: Vec<String> = list(document, "claims").iter().flat_map(claim).collect();
    expected.extend(list(document, "findings").iter().map(finding));
    assert_eq!(between(found, r"\begin{description}\setlength{\itemsep}{2pt}", r"\end{description}"), expected);
}
