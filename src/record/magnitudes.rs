//! Largest magnitudes of a forward by layer and kind or by layer norm, and their text form in journals and tables.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::graph::OpClass;

/// The quantity in a layer that a magnitude describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MagnitudeKind {
    /// The outputs of a class of operations.
    Output(OpClass),
    /// The sums of squared deviations in layer norms. An FP16 reduction that sums before it divides must represent
    /// them.
    SquareSum,
}

/// Name of [`MagnitudeKind::SquareSum`] in the text form. No class has this name.
const SQUARE_SUM: &str = "square_sum";

/// Stands in the place of a layer before the name of a layer norm. No layer has this name.
const DEVIATION: &str = "deviation";

/// Largest deviation whose square FP16 can hold: √65504. Beyond it a layer norm in FP16 returns its bias.
pub fn deviation_limit() -> f64 {
    f64::from(half::f16::MAX).sqrt()
}

/// Largest finite magnitudes of a model that reads an input.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Magnitudes {
    /// Of each kind in each layer. Layer `None` stands for the operations before the first layer and after the last.
    pub of_layers: BTreeMap<(Option<u64>, MagnitudeKind), f64>,
    /// Deviations from a row's mean that enter each layer norm, by the operation's name in the order of the graph. Results of
    /// schema 7 and before have none.
    pub deviations: Vec<(String, f64)>,
}

impl Magnitudes {
    /// Raises an entry to `value` if that is larger.
    pub fn raise(&mut self, layer: Option<u64>, kind: MagnitudeKind, value: f64) {
        let entry = self.of_layers.entry((layer, kind)).or_insert(value);
        *entry = entry.max(value);
    }

    /// Raises the deviation that enters a layer norm to `value` if that is larger.
    pub fn raise_deviation(&mut self, norm: &str, value: f64) {
        match self.deviations.iter_mut().find(|(known, _)| known == norm) {
            Some((_, entry)) => *entry = entry.max(value),
            None => self.deviations.push((norm.to_owned(), value)),
        }
    }

    /// Raises every entry to that of `other`, where it is larger.
    pub fn merge(&mut self, other: &Magnitudes) {
        other.of_layers.iter().for_each(|(&(layer, kind), &value)| self.raise(layer, kind, value));
        other.deviations.iter().for_each(|(norm, value)| self.raise_deviation(norm, *value));
    }
}

/// Binary orders of magnitude between a value and the largest FP16 number; negative beyond it. `None` for 0, whose
/// headroom is unlimited.
pub fn headroom_bits(magnitude: f64) -> Option<f64> {
    (magnitude > 0.0).then(|| (f64::from(half::f16::MAX) / magnitude).log2())
}

impl fmt::Display for Magnitudes {
    /// `-/embedding=0.25 0/layer_norm=3.5 deviation/layer.0/mlp/layer_norm=62.5`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_layers = self.of_layers.iter().map(|((layer, kind), value)| {
            let layer = layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
            let kind = match kind {
                MagnitudeKind::Output(class) => class.name(),
                MagnitudeKind::SquareSum => SQUARE_SUM,
            };
            format!("{layer}/{kind}={value}")
        });
        let deviations = self.deviations.iter().map(|(norm, value)| format!("{DEVIATION}/{norm}={value}"));
        f.write_str(&of_layers.chain(deviations).collect::<Vec<_>>().join(" "))
    }
}

impl FromStr for Magnitudes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Magnitudes::default();
        let mut add = |word: &str| {
            let (key, value) = word.split_once('=')?;
            let (layer, kind) = key.split_once('/')?;
            let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
            if layer == DEVIATION {
                return (!kind.is_empty()).then(|| all.raise_deviation(kind, value));
            }
            let layer = if layer == "-" { None } else { Some(layer.parse().ok()?) };
            let class = || OpClass::ALL.into_iter().find(|class| class.name() == kind);
            let kind = if kind == SQUARE_SUM { MagnitudeKind::SquareSum } else { MagnitudeKind::Output(class()?) };
            all.of_layers.insert((layer, kind), value);
            Some(())
        };
        text.split_whitespace().try_for_each(|word| add(word).ok_or_else(|| format!("`{word}` is no magnitude")))?;
        Ok(all)
    }
}

impl From<Magnitudes> for String {
    fn from(magnitudes: Magnitudes) -> String {
        magnitudes.to_string()
    }
}

impl TryFrom<String> for Magnitudes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back_to_the_bit_and_nonsense_is_refused() {
        let mut magnitudes = Magnitudes::default();
        magnitudes.raise(None, MagnitudeKind::Output(OpClass::Embedding), 0.1 + 0.2);
        magnitudes.raise(Some(11), MagnitudeKind::SquareSum, 8.999e6);
        magnitudes.raise(Some(2), MagnitudeKind::Output(OpClass::ResidualLinear), 3000.5);
        magnitudes.raise(Some(2), MagnitudeKind::Output(OpClass::ResidualLinear), 1.0);
        let text = magnitudes.to_string();
        assert_eq!(text, "-/embedding=0.30000000000000004 2/residual_linear=3000.5 11/square_sum=8999000");
        assert_eq!(text.parse(), Ok(magnitudes.clone()), "the form before schema 8");
        for (norm, value) in
            [("embeddings/layer_norm", 1.96), ("layer.9/mlp/layer_norm", 646.5), ("embeddings/layer_norm", 1.0)]
        {
            magnitudes.raise_deviation(norm, value);
        }
        let deviations = "deviation/embeddings/layer_norm=1.96 deviation/layer.9/mlp/layer_norm=646.5";
        let text = format!("{text} {deviations}");
        assert_eq!(magnitudes.to_string(), text);
        assert_eq!(text.parse(), Ok(magnitudes));
        for nonsense in [
            "2/linear",
            "linear=1",
            "deviation/=1",
            "deviation/final=NaN",
            "x/linear=1",
            "2/sum=1",
            "2/linear=NaN",
            "2/linear=inf",
        ] {
            assert!(nonsense.parse::<Magnitudes>().is_err(), "{nonsense}");
        }
        assert_eq!("".parse(), Ok(Magnitudes::default()));
    }

    #[test]
    fn the_merged_magnitudes_are_the_larger_ones_in_the_order_of_the_graph() {
        let mut all: Magnitudes = "0/gelu=2 deviation/final=3 deviation/layer.0/mlp=9".parse().unwrap();
        all.merge(&"0/gelu=1 1/gelu=1 deviation/final=4 deviation/layer.0/mlp=8".parse().unwrap());
        assert_eq!(all.to_string(), "0/gelu=2 1/gelu=1 deviation/final=4 deviation/layer.0/mlp=9");
        let squares = [deviation_limit(), deviation_limit() * 1.001].map(|x| half::f16::from_f64(x * x).is_finite());
        assert_eq!(squares, [true, false]);
    }

    #[test]
    fn headroom_is_counted_in_doublings_up_to_fp16s_end() {
        assert_eq!(headroom_bits(65504.0), Some(0.0));
        assert_eq!(headroom_bits(65504.0 / 8.0), Some(3.0));
        assert!(headroom_bits(3000.0f64.powi(2)).unwrap() < -7.0);
        assert_eq!(headroom_bits(0.0), None);
    }
}
