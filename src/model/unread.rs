//! Tensors of a checkpoint that its model has no use for: named once, for they may be a part that was meant to be computed.

use std::path::Path;

use super::{ModelSource, build_graph, open_folder};

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
    let quoted: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let tensors = if names.len() == 1 { "tensor" } else { "tensors" };
    let more = match names.len() {
        0 => return None,
        count if count > NAMED => format!(" and {} more", count - NAMED),
        _ => String::new(),
    };
    Some(format!("no operation reads {} {tensors} of the checkpoint: {}{more}", names.len(), quoted.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
