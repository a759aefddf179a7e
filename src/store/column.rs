//! Converts Rust values to dataframe cells and back. Undefined is null, never 0.

use polars::prelude::{Column, DataFrame, DataType, NamedFrom, PolarsResult, Series};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::magnitudes::Magnitudes;

/// A physical column type.
pub trait Stored: Sized {
    /// The dataframe's type.
    fn dtype() -> DataType;
    /// A column of these values.
    fn column(name: &str, values: Vec<Option<Self>>) -> Column;
    /// The values of a column.
    ///
    /// # Errors
    /// When the column has another type.
    fn values(column: &Column) -> PolarsResult<Vec<Option<Self>>>;
}

macro_rules! stored {
    ($type:ty, $dtype:ident, $access:ident) => {
        impl Stored for $type {
            fn dtype() -> DataType {
                DataType::$dtype
            }
            fn column(name: &str, values: Vec<Option<Self>>) -> Column {
                Series::new(name.into(), values).into()
            }
            fn values(column: &Column) -> PolarsResult<Vec<Option<Self>>> {
                Ok(column.$access()?.iter().map(|cell| cell.map(Into::into)).collect())
            }
        }
    };
}

stored!(String, String, str);
stored!(f64, Float64, f64);
stored!(u64, UInt64, u64);
stored!(bool, Boolean, bool);

/// A value of a row.
pub trait ColumnValue: Sized {
    /// The type that it is stored as.
    type Stored: Stored;
    /// Whether a cell may be null.
    const NULLABLE: bool = false;
    /// The stored form; `None` is null.
    fn store(&self) -> Option<Self::Stored>;
    /// The value of a stored form. `None` where the column does not allow that form.
    fn load(stored: Option<Self::Stored>) -> Option<Self>;
    /// The value in a row before anything is known.
    fn blank() -> Self;
    /// The value, where it is any text.
    fn text(&mut self) -> Option<&mut String> {
        None
    }
}

macro_rules! plain_value {
    ($($type:ty),+) => {$(
        impl ColumnValue for $type {
            type Stored = $type;
            fn store(&self) -> Option<Self> {
                Some(self.clone())
            }
            fn load(stored: Option<Self>) -> Option<Self> {
                stored
            }
            fn blank() -> Self {
                Self::default()
            }
        }
    )+};
}

plain_value!(f64, u64, bool);

impl ColumnValue for String {
    type Stored = String;
    fn store(&self) -> Option<String> {
        Some(self.clone())
    }
    fn load(stored: Option<String>) -> Option<Self> {
        stored
    }
    fn blank() -> Self {
        String::new()
    }
    fn text(&mut self) -> Option<&mut String> {
        Some(self)
    }
}

impl<T: ColumnValue> ColumnValue for Option<T> {
    type Stored = T::Stored;
    const NULLABLE: bool = true;
    fn store(&self) -> Option<T::Stored> {
        self.as_ref().and_then(T::store)
    }
    fn load(stored: Option<T::Stored>) -> Option<Self> {
        match stored {
            None => Some(None),
            stored => T::load(stored).map(Some),
        }
    }
    fn blank() -> Self {
        None
    }
    fn text(&mut self) -> Option<&mut String> {
        self.as_mut().and_then(T::text)
    }
}

/// The name that serde gives to a unit variant.
pub(super) fn variant_name<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// The unit variant that serde names `name`.
pub(super) fn variant_of<T: DeserializeOwned>(name: String) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(name)).ok()
}

/// Stores enumerations under their serde names, as manifests and the journal do.
macro_rules! named_value {
    ($($type:ty = $blank:expr),+ $(,)?) => {$(
        impl $crate::store::column::ColumnValue for $type {
            type Stored = String;
            fn store(&self) -> Option<String> {
                $crate::store::column::variant_name(self)
            }
            fn load(stored: Option<String>) -> Option<Self> {
                stored.and_then($crate::store::column::variant_of)
            }
            fn blank() -> Self {
                $blank
            }
        }
    )+};
}
pub(super) use named_value;

/// The column `name` with one cell per value.
pub(super) fn to_column<T: ColumnValue>(name: &str, values: impl Iterator<Item = Option<T::Stored>>) -> Column {
    T::Stored::column(name, values.collect())
}

/// The values of column `name`.
///
/// # Errors
/// A sentence fragment that names the column and the problem.
pub(super) fn from_column<T: ColumnValue>(frame: &DataFrame, name: &str) -> Result<Vec<T>, String> {
    let column = frame.column(name).map_err(|_| format!("column `{name}` is missing"))?;
    let stored = T::Stored::values(column)
        .map_err(|_| format!("column `{name}` holds {} where {} is expected", column.dtype(), T::Stored::dtype()))?;
    let loaded: Option<Vec<T>> = stored.into_iter().map(T::load).collect();
    loaded.ok_or_else(|| format!("column `{name}` holds a value that is not one of its kind"))
}

impl ColumnValue for Magnitudes {
    type Stored = String;

    fn store(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn load(stored: Option<String>) -> Option<Self> {
        stored?.parse().ok()
    }

    fn blank() -> Self {
        Magnitudes::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::BackendKind;

    #[test]
    fn null_is_refused_where_a_value_is_required_and_kept_where_not() {
        let column = f64::column("x", vec![Some(1.0), None]);
        let frame = DataFrame::new(2, vec![column]).unwrap();
        assert_eq!(from_column::<Option<f64>>(&frame, "x").unwrap(), [Some(1.0), None]);
        assert_eq!(
            from_column::<f64>(&frame, "x").unwrap_err(),
            "column `x` holds a value that is not one of its kind"
        );
        assert_eq!(from_column::<String>(&frame, "x").unwrap_err(), "column `x` holds f64 where str is expected");
        assert_eq!(from_column::<String>(&frame, "y").unwrap_err(), "column `y` is missing");
    }

    #[test]
    fn enumerations_keep_their_manifest_spelling() {
        assert_eq!(BackendKind::OnnxRuntime.store().as_deref(), Some("onnxruntime"));
        assert_eq!(BackendKind::load(Some("tensorrt".into())), Some(BackendKind::TensorRt));
        assert_eq!(BackendKind::load(Some("abacus".into())), None);
    }

    #[test]
    fn magnitudes_are_stored_as_text_and_come_back() {
        let magnitudes: Magnitudes = "-/embedding=0.30000000000000004 11/square_sum=8999000".parse().unwrap();
        assert_eq!(Magnitudes::load(magnitudes.store()), Some(magnitudes));
    }
}
