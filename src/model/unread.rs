//! Tensors of a checkpoint that its model has no use for: named once, for they may be a part that was meant to be computed.

use std::path::Path;

use super::{Model, ModelSource, build_graph, open_folder};

/// Names that a notice quotes.
const NAMED: usize = 3;

/// The notice of a checkpoint that is on this machine and holds tensors which no operation reads. A checkpoint that cannot
/// be opened says nothing here; its rows fail.
pub fn unread_notice(source: &ModelSource, base_dir: &Path) -> Option<String> {
    let folder = source.checkpoint_here(base_dir)?.folder(base_dir)?;
    let (config, checkpoint, _) = open_folder(&folder).ok()?;
    unread_sentence(&checkpoint.unread(&build_graph(&config)))
}

/// ``no operation reads 4 tensors of the checkpoint: `a`, `b`, `c` and 1 more``; `None` where there are none.
pub fn unread_sentence(names: &[String]) -> Option<String> {
    let tensors = if names.len() == 1 { "tensor" } else { "tensors" };
    Some(format!("no operation reads {} {tensors} of the checkpoint: {}", names.len(), quoted_names(names)?))
}

/// The first names, and how many more there are; `None` where there are none.
fn quoted_names(names: &[String]) -> Option<String> {
    let quoted: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = match names.len() {
        0 => return None,
        count if count > NAMED => format!(" and {} more", count - NAMED),
        _ => String::new(),
    };
    Some(format!("{}{more}", quoted.join(", ")))
}

impl Model {
    /// The sentence of a head whose tensors the file has and config.json does not name; `None` where there is none.
    pub fn unused_head(&self) -> Option<String> {
        unused_head_sentence(&self.unread).filter(|_| self.config.dropped_head.is_none())
    }
}

/// First part of the names of the tensors of heads, in transformers' classes of all families.
const HEADS: [&str; 14] = [
    "classifier",
    "cls",
    "discriminator_predictions",
    "generator_lm_head",
    "generator_predictions",
    "lm_head",
    "multiple_choice_head",
    "pre_classifier",
    "predictions",
    "qa_outputs",
    "score",
    "sop_classifier",
    "vocab_projector",
    "vocab_transform",
];

/// ``the file has `score.weight` of a head, whose class is not the first of `architectures` in config.json``; `None` where none
/// of these tensors is of a head.
fn unused_head_sentence(unread: &[String]) -> Option<String> {
    let of_head = |name: &&String| name.split('.').take(2).any(|part| HEADS.contains(&part));
    let names: Vec<String> = unread.iter().filter(of_head).cloned().collect();
    let quoted = quoted_names(&names)?;
    Some(format!("the file has {quoted} of a head, whose class is not the first of `architectures` in config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_a_head_are_told_from_others() {
        let of = |names: &[&str]| unused_head_sentence(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&["encoder.layer.2.output.dense.bias", "adapter.a"]), None);
        assert_eq!(
            of(&["adapter.a", "bert.classifier.bias", "cls.predictions.bias", "score.weight"]).as_deref(),
            Some(
                "the file has `bert.classifier.bias`, `cls.predictions.bias`, `score.weight` of a head, whose \
                 class is not the first of `architectures` in config.json"
            )
        );
    }

    #[test]
    fn a_sentence_names_three_tensors_and_counts_the_rest() {
        let of = |names: &[&str]| unread_sentence(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["a"]).as_deref(), Some("no operation reads 1 tensor of the checkpoint: `a`"));
        assert_eq!(
            of(&["a", "b", "c", "d"]).as_deref(),
            Some("no operation reads 4 tensors of the checkpoint: `a`, `b`, `c` and 1 more")
        );
    }
}
