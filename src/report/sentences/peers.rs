//! Other engines timed beside mixprec, in words.

use crate::numbers;
use crate::results::data::distinct;
use crate::results::peers::PeerRow;

/// `torch-cudagraph (PyTorch 2.11.0)`, each peer once.
pub fn names(rows: &[PeerRow]) -> String {
    let known = distinct(rows.iter().map(|row| (row.peer.as_str(), row.library.as_str())));
    let named = known.into_iter().map(|(peer, library)| match library {
        "" => peer.to_owned(),
        library => format!("{peer} ({library})"),
    });
    named.collect::<Vec<_>>().join(", ")
}

/// What was compared, where and how.
pub fn setting(rows: &[PeerRow]) -> String {
    let all = |of: fn(&PeerRow) -> &str| distinct(rows.iter().map(of)).join(", ");
    format!(
        "mixprec: {}. Peers: {}. Medians of {} interleaved rounds of {} samples, time between events around a pass, {}, \
         driver {}.",
        all(|row| &row.mixprec),
        names(rows),
        all(|row| &row.rounds),
        all(|row| &row.samples),
        all(|row| &row.gpu),
        all(|row| &row.driver),
    )
}

/// How each peer compares with mixprec, from its smallest ratio to its largest.
pub fn sentence(rows: &[PeerRow]) -> String {
    let of = |peer: &str| {
        let own = || rows.iter().filter(|row| row.peer == peer);
        let extreme = |pick: fn(f64, f64) -> f64| own().map(|row| row.ratio).reduce(pick).unwrap_or(f64::NAN);
        let [low, high] = [extreme(f64::min), extreme(f64::max)].map(|ratio| numbers::significant(ratio, 3));
        format!("{peer} takes from {low} to {high} times as long ({})", numbers::plural(own().count(), "shape"))
    };
    let peers = distinct(rows.iter().map(|row| row.peer.as_str()));
    let policies = distinct(rows.iter().map(PeerRow::policy)).join(", ");
    match peers.as_slice() {
        [] => "These results hold no comparison with other engines on the GPU.".to_owned(),
        peers => {
            let each: Vec<String> = peers.iter().map(|peer| of(peer)).collect();
            format!("Timed by turns with mixprec's {policies} engines on one GPU, {}.", each.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, ratio: f64) -> PeerRow {
        PeerRow {
            model: "gpt2".into(),
            shape: (1, 32),
            peer: peer.into(),
            mixprec_ms: 1.0,
            peer_ms: ratio,
            ratio,
            interval: (ratio, ratio),
            rounds: "6".into(),
            samples: "50".into(),
            mixprec: "cuda 1 (a, b), hybrid".into(),
            library: if peer.starts_with("torch") { "PyTorch 2".into() } else { String::new() },
            gpu: "H200".into(),
            driver: "580".into(),
        }
    }

    #[test]
    fn every_peer_is_named_with_its_extremes() {
        let rows = [row("torch-cudagraph", 2.4), row("torch-cudagraph", 1.1), row("tensorrt-fp16", 0.9)];
        assert_eq!(
            sentence(&rows),
            "Timed by turns with mixprec's hybrid engines on one GPU, torch-cudagraph takes from 1.10 to 2.40 times as long \
             (2 shapes); tensorrt-fp16 takes from 0.900 to 0.900 times as long (1 shape)."
        );
        assert_eq!(names(&rows), "torch-cudagraph (PyTorch 2), tensorrt-fp16");
        assert_eq!(sentence(&[]), "These results hold no comparison with other engines on the GPU.");
    }
}
