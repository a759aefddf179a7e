//! The comparison with other engines, from the table that `experiments/peers.py` writes: mixprec and a peer timed by turns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ResultsError;
use crate::files::read_text;

/// The table within the folder of a comparison.
pub const FILE: &str = "peers.csv";
/// Every sample of it.
pub const SAMPLES_FILE: &str = "peers.json";

/// A peer at one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerRow {
    /// `bert-base`
    pub model: String,
    /// Batch size and sequence length.
    pub shape: (u64, u64),
    /// `torch-cudagraph`, `tensorrt-fp16`, …
    pub peer: String,
    /// mixprec's median, milliseconds.
    pub mixprec_ms: f64,
    /// The peer's median, milliseconds.
    pub peer_ms: f64,
    /// The peer's time over mixprec's: above 1 mixprec is faster.
    pub ratio: f64,
    /// The 95 % interval of the ratio, a bootstrap over rounds.
    pub interval: (f64, f64),
    /// Interleaved rounds.
    pub rounds: String,
    /// Samples of a block.
    pub samples: String,
    /// mixprec's library and policy: `cuda 0.1.0 (…), hybrid`.
    pub mixprec: String,
    /// The peer's library, e.g. `PyTorch 2.11.0`; empty where the table does not say.
    pub library: String,
    /// The GPU.
    pub gpu: String,
    /// Its driver.
    pub driver: String,
}

impl PeerRow {
    /// mixprec's policy: `hybrid`.
    pub fn policy(&self) -> &str {
        self.mixprec.rsplit(", ").next().unwrap_or_default()
    }

    /// `32×512`
    pub fn shape_label(&self) -> String {
        format!("{}×{}", self.shape.0, self.shape.1)
    }
}

/// The comparison that was published beside an artifact: `artifacts/h200-peers` of `artifacts/h200`; `None` where there is none.
pub fn beside(artifact: &Path) -> Option<PathBuf> {
    let mut name = artifact.file_name()?.to_owned();
    name.push("-peers");
    Some(artifact.with_file_name(name)).filter(|folder| folder.join(FILE).exists())
}

/// Reads the table in the folder.
///
/// # Errors
/// [`ResultsError::Peers`] naming the column that is missing or no number.
pub fn read(folder: &Path) -> Result<Vec<PeerRow>, ResultsError> {
    let path = folder.join(FILE);
    let text = read_text(&path)?;
    parse(&text).map_err(|detail| ResultsError::Peers { path, detail })
}

fn parse(text: &str) -> Result<Vec<PeerRow>, String> {
    let mut lines = text.lines().map(fields);
    let columns = lines.next().ok_or_else(|| "is empty".to_owned())?;
    lines.map(|values| row(&columns.iter().map(String::as_str).zip(values).collect())).collect()
}

fn row(values: &BTreeMap<&str, String>) -> Result<PeerRow, String> {
    let text = |name: &str| values.get(name).cloned().ok_or_else(|| format!("has no column `{name}`"));
    let wrong = |name: &str, text: &str| format!("column `{name}`: `{text}` is no number");
    let number = |name: &str| {
        let text = text(name)?;
        text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(|| wrong(name, &text))
    };
    let size = |name: &str| {
        let text = text(name)?;
        text.parse::<u64>().map_err(|_| wrong(name, &text))
    };
    let peer = text("peer")?;
    let library = match peer.starts_with("tensorrt") {
        true => values.get("tensorrt").cloned().unwrap_or_default(),
        false => format!("PyTorch {}", text("torch")?),
    };
    Ok(PeerRow {
        model: text("model")?,
        shape: (size("batch")?, size("sequence")?),
        mixprec_ms: number("mixprec_ms")?,
        peer_ms: number("peer_ms")?,
        ratio: number("ratio")?,
        interval: (number("ratio_low")?, number("ratio_high")?),
        rounds: text("rounds")?,
        samples: text("samples_per_block")?,
        mixprec: text("mixprec")?,
        gpu: text("gpu")?,
        driver: text("driver")?,
        library,
        peer,
    })
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

    const TABLE: &str = "model,batch,sequence,peer,mixprec_ms,peer_ms,ratio,ratio_low,ratio_high,rounds,samples_per_block,mixprec,gpu,driver,torch,tensorrt\n\
        gpt2,1,32,torch-cudagraph,0.19636,0.479136,2.440342,2.432088,2.447654,6,50,\"cuda (a, b), hybrid\",NVIDIA H200,580,2.11,\n\
        gpt2,1,32,tensorrt-fp16,0.19636,0.38,1.94,1.93,1.95,6,50,\"cuda (a, b), hybrid\",NVIDIA H200,580,,TensorRT 8.6.1\n";

    #[test]
    fn a_table_is_read_by_its_columns() {
        let peers = parse(TABLE).unwrap();
        let [torch, tensorrt] = peers.as_slice() else { panic!("{peers:?}") };
        assert_eq!((torch.shape_label(), torch.mixprec_ms, torch.peer_ms), ("1×32".to_owned(), 0.19636, 0.479136));
        assert_eq!((torch.ratio, torch.interval, torch.policy()), (2.440342, (2.432088, 2.447654), "hybrid"));
        assert_eq!([&torch.library, &tensorrt.library], ["PyTorch 2.11", "TensorRT 8.6.1"]);
        let older: Vec<&str> = TABLE.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
        assert_eq!(parse(&older.join("\n")).unwrap()[1].library, "");
    }

    #[test]
    fn a_missing_column_and_a_wrong_number_are_named() {
        assert_eq!(parse(&TABLE.replace("peer_ms", "other")).unwrap_err(), "has no column `peer_ms`");
        let wrong = parse(&TABLE.replace("0.479136", "fast")).unwrap_err();
        assert_eq!(wrong, "column `peer_ms`: `fast` is no number");
        assert!(parse(&TABLE.replace("2.440342", "NaN")).is_err());
    }
}
