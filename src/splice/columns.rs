//! The columns of a table, for the page that documents them.

use polars::prelude::DataType;
use serde_json::{Value, json};

use crate::store::schema::ColumnInfo;

/// Name, type, unit, whether it may be null, and meaning, in the order of the file.
pub(super) fn facts(columns: Vec<ColumnInfo>) -> Vec<Value> {
    let fact = |column: ColumnInfo| {
        json!({
            "name": column.name,
            "kind": kind(&column.dtype),
            "unit": column.unit(),
            "nullable": column.nullable,
            "description": column.description,
        })
    };
    columns.into_iter().map(fact).collect()
}

/// The type in words that readers of Parquet share.
fn kind(dtype: &DataType) -> String {
    match dtype {
        DataType::String => "text".to_owned(),
        DataType::Float64 => "float64".to_owned(),
        DataType::UInt64 => "uint64".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        other => other.to_string(),
    }
}
