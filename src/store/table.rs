//! A table as one list of columns: the row, its default, and the way to a dataframe and back.

use polars::prelude::DataType;

/// A column as documentation: its name, type and meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnInfo {
    /// Name, with the unit where there is one.
    pub name: &'static str,
    /// Type of its cells.
    pub dtype: DataType,
    /// Whether a cell may be undefined.
    pub nullable: bool,
    /// What it holds.
    pub description: &'static str,
}

/// Endings of names that are units, and the units; a longer ending comes before its own end.
const UNITS: [(&str, &str); 16] = [
    ("_tokens_per_s", "tokens per second"),
    ("_sequences_per_s", "sequences per second"),
    ("gflops_per_s", "billion operations per second"),
    ("_flops_per_s", "operations per second"),
    ("_bytes_per_s", "bytes per second"),
    ("_unix_s", "seconds since 1970 UTC"),
    ("_ms", "milliseconds"),
    ("_mj", "millijoules"),
    ("_mhz", "megahertz"),
    ("_w", "watts"),
    ("temperature_max_c", "degrees Celsius"),
    ("_bytes", "bytes"),
    ("nll_mean", "nats per token"),
    ("_sha256", "hexadecimal digits"),
    ("foreign_cpus", "CPUs"),
    ("_s", "seconds"),
];

impl ColumnInfo {
    /// The unit of its cells, which the name tells; empty for counts, ratios and text.
    pub fn unit(&self) -> &'static str {
        UNITS.iter().find(|(ending, _)| self.name.ends_with(ending)).map_or("", |(_, unit)| unit)
    }
}

macro_rules! table {
    ($(#[$meta:meta])* $row:ident { $(#[doc = $doc:literal] $name:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $row {
            $(#[doc = $doc] pub $name: $type,)+
        }

        impl Default for $row {
            /// A row in which every column is unknown.
            fn default() -> Self {
                $row { $($name: ColumnValue::blank(),)+ }
            }
        }

        impl $row {
            /// Every column, in the order of the file.
            pub fn columns() -> Vec<ColumnInfo> {
                vec![$(ColumnInfo {
                    name: stringify!($name),
                    dtype: <<$type as ColumnValue>::Stored as Stored>::dtype(),
                    nullable: <$type as ColumnValue>::NULLABLE,
                    description: $doc.trim_ascii(),
                },)+]
            }

            /// Every text of the row.
            pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
                [$(self.$name.text(),)+].into_iter().flatten()
            }

            /// Names of the columns in which two rows differ.
            pub fn differing(&self, other: &$row) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$name != other.$name {
                    names.push(stringify!($name));
                })+
                names
            }

            /// The rows as dataframe columns.
            pub(super) fn to_columns(rows: &[$row]) -> Vec<Column> {
                vec![$(to_column::<$type>(stringify!($name), rows.iter().map(|row| row.$name.store())),)+]
            }

            /// The rows of a dataframe.
            ///
            /// # Errors
            /// A sentence fragment that names the column and the problem.
            pub(super) fn from_frame(frame: &DataFrame) -> Result<Vec<$row>, String> {
                $(let mut $name = from_column::<$type>(frame, stringify!($name))?.into_iter();)+
                let mut rows = Vec::with_capacity(frame.height());
                while let ($(Some($name),)+) = ($($name.next(),)+) {
                    rows.push($row { $($name,)+ });
                }
                Ok(rows)
            }
        }
    };
}
pub(super) use table;
