//! SHA-256 in lower-case hexadecimal, the digest of ids, pins, journals, tables and the engine cache, and the canonical
//! JSON that it is computed over.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Digest of `bytes`, 64 digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A digest of bytes that arrive piece by piece.
#[derive(Debug, Clone, Default)]
pub struct RunningDigest(Sha256);

impl RunningDigest {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Digest of all bytes so far, 64 digits.
    pub fn sha256(&self) -> String {
        hex(&self.0.clone().finalize())
    }

    /// Adds all remaining bytes of a reader. Returns their number.
    ///
    /// # Errors
    /// The reader's error.
    pub fn read(&mut self, from: &mut impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return Ok(bytes);
            }
            self.update(&buffer[..count]);
            bytes += count as u64;
        }
    }
}

/// Digest of a file's bytes, read in pieces.
///
/// # Errors
/// Whatever opening or reading returns.
pub fn sha256_file(path: &Path) -> io::Result<String> {
    let mut digest = RunningDigest::default();
    digest.read(&mut File::open(path)?)?;
    Ok(digest.sha256())
}

/// Compact JSON with sorted keys and without nulls in objects. It does not depend on the order of the map type.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let members: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_is_sorted_and_compact_and_leaves_absent_members_out() {
        let value = json!({ "b": [1, null, "a b"], "a": null, "Z": { "y": 0.1, "x": true } });
        assert_eq!(canonical(&value), r#"{"Z":{"x":true,"y":0.1},"b":[1,null,"a b"]}"#);
    }

    /// FIPS 180-4, example of one block.
    #[test]
    fn a_published_digest_comes_out_of_bytes_and_of_a_file() {
        const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), ABC);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        assert_eq!(sha256_file(file.path()).unwrap(), ABC);
    }
}
