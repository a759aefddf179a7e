//! The comparison with PyTorch, from the table that `experiments/peers.py` writes.

use std::path::Path;

use serde_json::{Value, json};

use super::SpliceError;
use crate::files::read_text;
use crate::numbers;

/// The table within the folder of a comparison.
const FILE: &str = "peers.csv";

/// Reads the table: both sides at each shape, and the ratio of the peer's time to mixprec's with its interval.
///
/// # Errors
/// [`SpliceError::Peers`] naming the column that is missing or no number.
pub(super) fn read(folder: &Path) -> Result<Vec<Value>, SpliceError> {
    let path = folder.join(FILE);
    let text = read_text(&path)?;
    parse(&text).map_err(|message| SpliceError::Peers { path, message })
}

fn parse(text: &str) -> Result<Vec<Value>, String> {
    let mut lines = text.lines().map(fields);
    let columns = lines.next().ok_or_else(|| "is empty".to_owned())?;
    let row = |values: Vec<String>| {
        let text = |name: &str| {
            let index = columns.iter().position(|column| column == name);
            index.and_then(|index| values.get(index)).cloned().ok_or_else(|| format!("has no column `{name}`"))
        };
        let number = |name: &str| {
            let text = text(name)?;
            text.parse::<f64>().map_err(|_| format!("column `{name}`: `{text}` is no number"))
        };
        let (ratio, interval) =
            numbers::with_interval(number("ratio")?, Some((number("ratio_low")?, number("ratio_high")?)), 3);
        Ok(json!({
            "model": text("model")?,
            "shape": format!("{}x{}", text("batch")?, text("sequence")?),
            "mixprec_ms": numbers::significant(number("mixprec_ms")?, 3),
            "peer_ms": numbers::significant(number("peer_ms")?, 3),
            "ratio": format!("{ratio} {}", interval.unwrap_or_default()),
            "rounds": text("rounds")?,
            "samples": text("samples_per_block")?,
            "gpu": text("gpu")?,
            "driver": text("driver")?,
            "torch": text("torch")?,
            "peer": text("peer")?,
        }))
    };
    lines.map(row).collect()
}

/// The fields of a line; a field in quotation marks may hold commas.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "model,batch,sequence,peer,mixprec_ms,peer_ms,ratio,ratio_low,ratio_high,rounds,samples_per_block,mixprec,gpu,driver,torch\n\
        gpt2,1,32,torch,0.19636,0.479136,2.440342,2.432088,2.447654,6,50,\"cuda (a, b), hybrid\",NVIDIA H200,580,2.11\n";

    #[test]
    fn a_table_is_read_by_its_columns() {
        let peers = parse(TABLE).unwrap();
        let [peer] = peers.as_slice() else { panic!("{peers:?}") };
        let text = |name: &str| peer[name].as_str().unwrap_or_default();
        assert_eq!([text("shape"), text("mixprec_ms"), text("peer_ms")], ["1x32", "0.196", "0.479"]);
        assert_eq!([text("ratio"), text("gpu")], ["2.44 [2.43, 2.45]", "NVIDIA H200"]);
    }

    #[test]
    fn a_missing_column_and_a_wrong_number_are_named() {
        assert_eq!(parse(&TABLE.replace("peer_ms", "other")).unwrap_err(), "has no column `peer_ms`");
        let wrong = parse(&TABLE.replace("0.479136", "fast")).unwrap_err();
        assert_eq!(wrong, "column `peer_ms`: `fast` is no number");
    }
}
