//! Exclusions: cells left out of the product, each with a reason.

use super::axes::{self, DraftAxis, MAX_BATCH, MAX_SEQUENCE};
use super::cursor::{Cursor, Fields, Positioned};
use super::diagnostic::{Report, quoted, suggestion};
use super::read::Draft;
use super::schema::Exclusion;

const AXES: [&str; 7] = ["models", "backends", "precisions", "targets", "batch_sizes", "sequence_lengths", "inputs"];

/// `exclude: [{backends: [onnxruntime], precisions: [fp16], reason: ...}]`; `None` when one of them is wrong.
pub(super) fn exclusions(
    cursor: &Cursor<'_>,
    report: &mut Report<'_>,
    draft: &Draft,
) -> Option<Vec<Positioned<Exclusion>>> {
    let items =
        cursor.items(report, "a list of exclusions", "- {backends: [onnxruntime], precisions: [fp16], reason: why}")?;
    let read: Vec<Option<Positioned<Exclusion>>> =
        items.iter().map(|item| Some(item.locate(exclusion(item, report, draft)?))).collect();
    read.into_iter().collect()
}

fn exclusion(item: &Cursor<'_>, report: &mut Report<'_>, draft: &Draft) -> Option<Exclusion> {
    let allowed: Vec<&str> = AXES.into_iter().chain(["reason"]).collect();
    let fields = Fields::open(item, report, "a mapping with `reason` and the axes it concerns", &allowed)?;
    let reason = fields.required(report, "reason", "\"why these cells are left out\"");
    let reason = reason.and_then(|cursor| cursor.text(report, "the reason, a sentence that ends up in the report"));
    let named = AXES.iter().any(|axis| fields.optional(axis).is_some());
    if !named {
        item.reject(
            report,
            "found no axis, so that everything would be excluded; name some of the values to leave out",
        );
    }
    let words = |cursor: &Cursor<'_>, report: &mut Report<'_>| cursor.text(report, "a name").map(str::to_owned);
    let models = selection((&fields, "models"), report, &draft.models, words);
    let backends = selection((&fields, "backends"), report, &draft.backends, axes::backend);
    let precisions = selection((&fields, "precisions"), report, &draft.precisions, words);
    let targets = selection((&fields, "targets"), report, &draft.targets, axes::target);
    let batch_sizes = selection((&fields, "batch_sizes"), report, &draft.batch_sizes, |c, r| c.whole(r, 1..=MAX_BATCH));
    let sequence_lengths =
        selection((&fields, "sequence_lengths"), report, &draft.sequence_lengths, |c, r| c.whole(r, 1..=MAX_SEQUENCE));
    let inputs = selection((&fields, "inputs"), report, &draft.inputs, words);
    Some(Exclusion {
        models: models?,
        backends: backends?,
        precisions: precisions?,
        targets: targets?,
        batch_sizes: batch_sizes?,
        sequence_lengths: sequence_lengths?,
        inputs: inputs?,
        reason: reason.filter(|_| named)?.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

/// The values an exclusion names on one axis; none when it leaves the axis out.
fn selection<T, A>(
    (fields, key): (&Fields<'_>, &str),
    report: &mut Report<'_>,
    axis: &DraftAxis<A>,
    read: impl Fn(&Cursor<'_>, &mut Report<'_>) -> Option<T>,
) -> Option<Vec<T>>
where
    T: ToString,
{
    let Some(cursor) = fields.optional(key) else { return Some(Vec::new()) };
    let example = axis.names.first().map_or_else(|| "[...]".to_owned(), |(name, _)| format!("[{name}]"));
    let items = cursor.items(report, &format!("a list of {}", key.replace('_', " ")), &example)?;
    let mut seen: Vec<String> = Vec::new();
    let values: Vec<Option<T>> = items
        .iter()
        .map(|item| {
            let value = read(item, report)?;
            let name = value.to_string();
            let names: Vec<&str> = axis.names.iter().map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() && !names.contains(&name.as_str()) {
                let list = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
                let near = suggestion(&name, &names);
                item.reject(report, format!("found {}, expected a value of `{key}`: {list}{near}", quoted(&name)));
                return None;
            }
            if seen.contains(&name) {
                item.reject(report, format!("found {} a second time; keep one", quoted(&name)));
                return None;
            }
            seen.push(name);
            Some(value)
        })
        .collect();
    values.into_iter().collect()
}
