//! Rewrites the footer of a Parquet file so that every reader sees the types of the format alone.
//!
//! The writer adds the schema of Arrow as metadata, which calls text a view. Readers that believe it yield a type with
//! which they can neither filter, sort nor join, or refuse the file: pyarrow 12 knows no views. Without that metadata
//! text is a string to all of them.

use polars_parquet_format::FileMetaData;
use polars_parquet_format::thrift::protocol::{TCompactInputProtocol, TCompactOutputProtocol};

/// Name of the metadata that holds Arrow's schema.
const ARROW_SCHEMA_KEY: &str = "ARROW:schema";
/// What a file ends in, after the length of its footer.
const MAGIC: [u8; 4] = *b"PAR1";
/// Bytes of that length.
const LENGTH_BYTES: usize = 4;
/// Most bytes that the parts of one footer may claim.
const MAX_FOOTER_BYTES: usize = 1 << 28;

/// The file without the schema of Arrow in its footer.
///
/// # Errors
/// A sentence fragment, where the bytes do not end in a footer.
pub(super) fn without_arrow_schema(mut file: Vec<u8>) -> Result<Vec<u8>, String> {
    let (start, mut footer) = read_footer(&file)?;
    footer.key_value_metadata.iter_mut().for_each(|pairs| pairs.retain(|pair| pair.key != ARROW_SCHEMA_KEY));
    file.truncate(start);
    let mut output = TCompactOutputProtocol::new(&mut file);
    footer.write_to_out_protocol(&mut output).map_err(|error| error.to_string())?;
    let length = u32::try_from(file.len() - start).map_err(|error| error.to_string())?;
    file.extend(length.to_le_bytes());
    file.extend(MAGIC);
    Ok(file)
}

/// The footer, and where it begins.
///
/// # Errors
/// A sentence fragment, where the bytes do not end in a footer.
pub(super) fn read_footer(file: &[u8]) -> Result<(usize, FileMetaData), String> {
    let start = footer_start(file).ok_or("it does not end in a Parquet footer")?;
    let mut input = TCompactInputProtocol::new(&file[start..file.len() - LENGTH_BYTES - MAGIC.len()], MAX_FOOTER_BYTES);
    let footer = FileMetaData::read_from_in_protocol(&mut input).map_err(|error| error.to_string())?;
    Ok((start, footer))
}

/// Where the footer begins.
fn footer_start(file: &[u8]) -> Option<usize> {
    let end = file.strip_suffix(&MAGIC)?.len().checked_sub(LENGTH_BYTES)?;
    let length = u32::from_le_bytes(file.get(end..end + LENGTH_BYTES)?.try_into().ok()?);
    end.checked_sub(usize::try_from(length).ok()?)
}
