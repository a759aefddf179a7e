//! Largest magnitudes of a forward by layer and kind, and their text form in journals and tables.

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

/// Largest finite magnitude of each kind in each layer. Layer `None` stands for the operations before the first layer
/// and after the last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Magnitudes(pub BTreeMap<(Option<u64>, MagnitudeKind), f64>);

impl Magnitudes {
    /// Raises an entry to `value` if that is larger.
    pub fn raise(&mut self, layer: Option<u64>, kind: MagnitudeKind, value: f64) {
        let entry = self.0.entry((layer, kind)).or_insert(value);
        *entry = entry.max(value);
    }

    /// Raises every entry to that of `other`, where it is larger.
    pub fn merge(&mut self, other: &Magnitudes) {
        other.0.iter().for_each(|(&(layer, kind), &value)| self.raise(layer, kind, value));
    }
}

/// Binary orders of magnitude between a value and the largest FP16 number; negative beyond it. `None` for 0, whose
/// headroom is unlimited.
pub fn headroom_bits(magnitude: f64) -> Option<f64> {
    (magnitude > 0.0).then(|| (f64::from(half::f16::MAX) / magnitude).log2())
}

impl fmt::Display for Magnitudes {
    /// `-/embedding=0.25 0/layer_norm=3.5`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ((layer, kind), value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            let layer = layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
            let kind = match kind {
                MagnitudeKind::Output(class) => class.name(),
                MagnitudeKind::SquareSum => SQUARE_SUM,
            };
            write!(f, "{separator}{layer}/{kind}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Magnitudes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entry = |word: &str| {
            let (key, value) = word.split_once('=')?;
            let (layer, kind) = key.split_once('/')?;
            let layer = if layer == "-" { None } else { Some(layer.parse().ok()?) };
            let class = || OpClass::ALL.into_iter().find(|class| class.name() == kind);
            let kind = if kind == SQUARE_SUM { MagnitudeKind::SquareSum } else { MagnitudeKind::Output(class()?) };
            Some(((layer, kind), value.parse().ok().filter(|value: &f64| value.is_finite())?))
        };
        let entries =
            text.split_whitespace().map(|word| entry(word).ok_or_else(|| format!("`{word}` is no magnitude")));
        Ok(Magnitudes(entries.collect::<Result<_, _>>()?))
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
        assert_eq!(text.parse(), Ok(magnitudes));
        for nonsense in ["2/linear", "linear=1", "x/linear=1", "2/sum=1", "2/linear=NaN", "2/linear=inf"] {
            assert!(nonsense.parse::<Magnitudes>().is_err(), "{nonsense}");
        }
        assert_eq!("".parse(), Ok(Magnitudes::default()));
    }

    #[test]
    fn headroom_is_counted_in_doublings_up_to_fp16s_end() {
        assert_eq!(headroom_bits(65504.0), Some(0.0));
        assert_eq!(headroom_bits(65504.0 / 8.0), Some(3.0));
        assert!(headroom_bits(3000.0f64.powi(2)).unwrap() < -7.0);
        assert_eq!(headroom_bits(0.0), None);
    }
}
