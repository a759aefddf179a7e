//! Places and layers of a model, in words.

use crate::record::magnitudes::MagnitudeKind;

/// A place in words.
pub fn place_name(place: MagnitudeKind) -> &'static str {
    match place {
        MagnitudeKind::Output(class) => class.name(),
        MagnitudeKind::SquareSum => "sum of squares in layer_norm",
    }
}

/// A layer in words.
pub fn layer_name(layer: Option<u64>) -> String {
    layer.map_or_else(|| "outside".to_owned(), |layer| layer.to_string())
}
