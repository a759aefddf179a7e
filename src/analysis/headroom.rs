//! How far the values of a model stay below FP16's largest, from FP32 runs that recorded their magnitudes.

use crate::graph::OpClass;
use crate::record::magnitudes::{MagnitudeKind, Magnitudes, headroom_bits};
use crate::results::data::{Data, distinct};
use crate::store::schema::ResultRow;

/// Magnitudes of one model reading one input, the largest over all shapes that were run.
#[derive(Debug, Clone, PartialEq)]
pub struct Headroom<'a> {
    /// Model name.
    pub model: &'a str,
    /// Input name.
    pub input: &'a str,
    /// By layer and place.
    pub magnitudes: Magnitudes,
    /// The rows that recorded them.
    pub rows: Vec<&'a ResultRow>,
}

/// The worst layer of a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worst {
    /// Largest magnitude.
    pub magnitude: f64,
    /// Its layer; `None` before the first and after the last.
    pub layer: Option<u64>,
    /// Binary orders of magnitude up to 65504; negative beyond.
    pub bits: f64,
}

/// What was recorded, in plan order; nothing where no run recorded magnitudes.
pub fn of(data: &Data) -> Vec<Headroom<'_>> {
    let mut all: Vec<Headroom<'_>> = Vec::new();
    for row in &data.rows {
        let Some(magnitudes) = &row.magnitudes else { continue };
        match all.iter_mut().find(|known| known.model == row.model && known.input == row.input) {
            Some(known) => {
                known.magnitudes.merge(magnitudes);
                known.rows.push(row);
            }
            None => {
                let magnitudes = magnitudes.clone();
                all.push(Headroom { model: &row.model, input: &row.input, magnitudes, rows: vec![row] });
            }
        }
    }
    all
}

impl Headroom<'_> {
    /// Places that the model has, in the order of a layer, the sums inside layer norms behind the norms themselves.
    pub fn places(&self) -> Vec<MagnitudeKind> {
        let ordered = OpClass::ALL.into_iter().flat_map(|class| match class {
            OpClass::LayerNorm => vec![MagnitudeKind::Output(class), MagnitudeKind::SquareSum],
            class => vec![MagnitudeKind::Output(class)],
        });
        ordered.filter(|wanted| self.magnitudes.of_layers.keys().any(|(_, place)| place == wanted)).collect()
    }

    /// Layers, what lies outside them first.
    pub fn layers(&self) -> Vec<Option<u64>> {
        distinct(self.magnitudes.of_layers.keys().map(|(layer, _)| *layer))
    }

    /// Headroom at a place of a layer, bits.
    pub fn bits(&self, layer: Option<u64>, place: MagnitudeKind) -> Option<f64> {
        self.magnitudes.of_layers.get(&(layer, place)).copied().and_then(headroom_bits)
    }

    /// Where a place comes closest to FP16's end.
    pub fn worst(&self, wanted: MagnitudeKind) -> Option<Worst> {
        let entries = self.magnitudes.of_layers.iter().filter(|((_, place), _)| *place == wanted);
        let worst = |(&(layer, _), &magnitude): (&(Option<u64>, MagnitudeKind), &f64)| {
            Some(Worst { magnitude, layer, bits: headroom_bits(magnitude)? })
        };
        entries.filter_map(worst).reduce(|a, b| if b.bits < a.bits { b } else { a })
    }

    /// The place that comes closest of all, and how close.
    pub fn tightest(&self) -> Option<(MagnitudeKind, Worst)> {
        let worst = self.places().into_iter().filter_map(|place| Some((place, self.worst(place)?)));
        worst.reduce(|a, b| if b.1.bits < a.1.bits { b } else { a })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_place_is_found_over_layers_and_places() {
        let mut magnitudes = Magnitudes::default();
        magnitudes.raise(None, MagnitudeKind::Output(OpClass::Embedding), 0.5);
        magnitudes.raise(Some(0), MagnitudeKind::Output(OpClass::Residual), 16.0);
        magnitudes.raise(Some(1), MagnitudeKind::Output(OpClass::Residual), 3000.0);
        magnitudes.raise(Some(1), MagnitudeKind::SquareSum, 65504.0 * 4.0);
        magnitudes.raise(Some(1), MagnitudeKind::Output(OpClass::LayerNorm), 0.0);
        let headroom = Headroom { model: "m", input: "i", magnitudes, rows: vec![] };
        let residual = headroom.worst(MagnitudeKind::Output(OpClass::Residual)).unwrap();
        assert_eq!((residual.layer, residual.magnitude), (Some(1), 3000.0));
        assert_eq!(headroom.worst(MagnitudeKind::Output(OpClass::LayerNorm)), None, "zero has no limit");
        let (place, worst) = headroom.tightest().unwrap();
        assert_eq!((place, worst.layer, worst.bits), (MagnitudeKind::SquareSum, Some(1), -2.0));
        let places = [
            MagnitudeKind::Output(OpClass::Embedding),
            MagnitudeKind::Output(OpClass::LayerNorm),
            MagnitudeKind::SquareSum,
            MagnitudeKind::Output(OpClass::Residual),
        ];
        assert_eq!(headroom.places(), places);
        assert_eq!(headroom.layers(), [None, Some(0), Some(1)]);
    }
}
