//! The table of other engines: its lines follow from samples that were taken by turns, and not from rows.

use std::path::Path;

use super::target::is_word_of;
use super::{ExplainError, Explained};
use crate::numbers;
use crate::report::table::Table;
use crate::results::peers::{FILE, PeerRow, SAMPLES_FILE};
use crate::terminal::shell_word;

/// Whether a table is made of a comparison with other engines.
pub(super) fn is_of_peers(table: &Table) -> bool {
    table.slug == "peers"
}

/// The lines of the comparison in `folder` that have all the words.
pub(super) fn lines(
    table: &Table,
    folder: &Path,
    peers: &[PeerRow],
    words: &[String],
) -> Result<Vec<Explained>, ExplainError> {
    let has_all = |one: &&PeerRow| {
        let shape = one.shape_label().replace('×', "x");
        let known = [one.model.to_lowercase(), shape, one.peer.to_lowercase(), one.library.to_lowercase()];
        words.iter().all(|word| known.iter().any(|text| is_word_of(word, text)))
    };
    let found: Vec<Explained> = peers.iter().filter(has_all).map(|one| line(table, folder, one)).collect();
    match found.is_empty() {
        true => Err(ExplainError::NoCell { table: format!("{}.tex", table.slug), words: words.join(" ") }),
        false => Ok(found),
    }
}

fn line(table: &Table, folder: &Path, one: &PeerRow) -> Explained {
    let (ratio, interval) = numbers::with_interval(one.ratio, Some(one.interval), 3);
    let interval = interval.map(|interval| format!(" {interval}")).unwrap_or_default();
    let PeerRow { model, peer, library, mixprec, rounds, samples, gpu, driver, .. } = one;
    Explained {
        name: format!("{}.tex, {model} {}, {peer}", table.slug, one.shape_label()),
        value: format!("{ratio}×{interval}"),
        meaning: table.caption.clone(),
        origin: Some(format!(
            "{}: {peer} ({library}) {} ms over {mixprec} {} ms, medians of {rounds} rounds of {samples} samples by turns on \
             {gpu}, driver {driver}; every sample is in {}; again: make peers PYTHON=... BESIDE={}",
            folder.join(FILE).display(),
            one.peer_ms,
            one.mixprec_ms,
            folder.join(SAMPLES_FILE).display(),
            shell_word(Path::new(peer.strip_prefix("torch-").unwrap_or(peer)))
        )),
        rows: vec![],
        others: 0,
    }
}
