//! Tolerances of searches and sets of operations, in words.

use std::collections::BTreeSet;

use crate::engine::BackendKind;
use crate::manifest::schema::SearchTolerance;
use crate::numbers;
use crate::record::certificate::Certificate;

/// `no broken row and cosine at least 0.999`
pub fn tolerance(limits: &SearchTolerance) -> String {
    let SearchTolerance { cosine_min, max_broken_rows, max_flips, max_perplexity_ratio } = limits;
    let count = |limit: Option<u64>, noun: &str| match limit? {
        0 => Some(format!("no {noun}")),
        most => Some(format!("at most {}", numbers::plural(usize::try_from(most).unwrap_or(usize::MAX), noun))),
    };
    let words = [
        count(*max_broken_rows, "broken row"),
        count(*max_flips, "flip"),
        cosine_min.map(|limit| format!("cosine at least {limit}")),
        max_perplexity_ratio.map(|limit| format!("perplexity at most {limit}× that of FP32")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// `bert-base, text 1×128`; the start where it is not full FP16, the backend where it is not the reference.
pub fn subject(certificate: &Certificate) -> String {
    let (model, input, start, backend, shape) = certificate.subject_key();
    let mut text = format!("{model}, {input} {}×{}", shape.batch, shape.sequence);
    if start != "fp16" {
        text += &format!(", from {start}");
    }
    if backend != BackendKind::Reference {
        text += &format!(", {backend}");
    }
    text
}

/// `mlp/layer_norm of layers 2, 9 and 10; final/layer_norm`
pub fn operations(certificate: &Certificate) -> String {
    let mut parts: Vec<(&str, BTreeSet<u64>)> = Vec::new();
    for one in &certificate.operations {
        let part = part(&one.op);
        let at = parts.iter().position(|(known, _)| *known == part).unwrap_or_else(|| {
            parts.push((part, BTreeSet::new()));
            parts.len() - 1
        });
        parts[at].1.extend(one.layer);
    }
    let words = parts.iter().map(|(part, layers)| {
        let layers: Vec<String> = layers.iter().map(u64::to_string).collect();
        match layers.as_slice() {
            [] => (*part).to_owned(),
            [one] => format!("{part} of layer {one}"),
            [several @ .., last] => format!("{part} of layers {} and {last}", several.join(", ")),
        }
    });
    words.collect::<Vec<_>>().join("; ")
}

/// Searches on trained models that allow no broken row, and found operations that need FP32.
pub fn keep_every_row(searches: &[Certificate]) -> impl Iterator<Item = &Certificate> {
    let no_broken_row = SearchTolerance { max_broken_rows: Some(0), ..SearchTolerance::default() };
    let trained = |found: &&Certificate| found.subject.weights.starts_with("checkpoint");
    searches
        .iter()
        .filter(trained)
        .filter(move |found| found.tolerance == no_broken_row && !found.operations.is_empty())
}

/// The sets of [`keep_every_row`], for prose.
pub fn sentence(searches: &[Certificate]) -> String {
    let of = |found: &Certificate| {
        format!(
            "in {}, {} of {} operations ({}) keep every row of {} passes on {}, and {} of {} held-out passes break",
            found.subject.model,
            found.operations.len(),
            found.subject.candidates,
            operations(found),
            found.searched.forwards,
            found.subject.input,
            found.held_out.breaking.len(),
            found.held_out.totals.forwards,
        )
    };
    let all: Vec<String> = keep_every_row(searches).map(of).collect();
    match all.as_slice() {
        [] => "No search of these results found operations of a trained model that need FP32 to keep every row."
            .to_owned(),
        all => format!("Few operations need FP32: {}.", all.join("; ")),
    }
}

/// An operation's name within its layer: `mlp/layer_norm` of `layer.9/mlp/layer_norm`.
pub fn part(op: &str) -> &str {
    op.strip_prefix("layer.").and_then(|rest| rest.split_once('/')).map_or(op, |(_, part)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_read_as_sentences_do() {
        let limits = SearchTolerance { cosine_min: Some(0.999), max_broken_rows: Some(0), ..Default::default() };
        assert_eq!(tolerance(&limits), "no broken row and cosine at least 0.999");
        assert_eq!(tolerance(&SearchTolerance { max_flips: Some(1), ..Default::default() }), "at most 1 flip");
        let ratio = SearchTolerance { max_perplexity_ratio: Some(1.01), ..Default::default() };
        assert_eq!(tolerance(&ratio), "perplexity at most 1.01× that of FP32");
        assert_eq!((part("layer.10/mlp/layer_norm"), part("final/layer_norm")), ("mlp/layer_norm", "final/layer_norm"));
    }
}
