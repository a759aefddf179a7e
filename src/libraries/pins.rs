//! The pins, compiled into this program: libraries in `container/wheels.json`, nixpkgs in `flake.lock`, crates in
//! `Cargo.lock`. The program knows its pins even outside its repository.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A file of pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinFile {
    /// The libraries that backends load, one checkpoint, and the oldest driver.
    Wheels,
    /// The inputs of the flake.
    Flake,
    /// The crates that this program is built from.
    Crates,
}

impl PinFile {
    /// Every such file.
    pub const ALL: [PinFile; 3] = [PinFile::Wheels, PinFile::Flake, PinFile::Crates];

    /// Its path from the repository's root.
    pub fn path(self) -> &'static str {
        match self {
            PinFile::Wheels => "container/wheels.json",
            PinFile::Flake => "flake.lock",
            PinFile::Crates => "Cargo.lock",
        }
    }

    /// Its text at the time this program was compiled.
    pub fn compiled_in(self) -> &'static str {
        match self {
            PinFile::Wheels => include_str!("../../container/wheels.json"),
            PinFile::Flake => include_str!("../../flake.lock"),
            PinFile::Crates => include_str!("../../Cargo.lock"),
        }
    }

    /// Parses the pins in a text of this file, for a comparison pin by pin.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn read(self, text: &str) -> Result<Value, String> {
        match self {
            PinFile::Wheels | PinFile::Flake => serde_json::from_str(text).map_err(|error| error.to_string()),
            PinFile::Crates => crates(text),
        }
    }
}

/// `{"serde 1.0.228": "<checksum>", ...}`, the crates of a `Cargo.lock`. A crate without a checksum has its source, or
/// `local`.
fn crates(text: &str) -> Result<Value, String> {
    let mut crates = Map::new();
    for package in text.split("[[package]]").skip(1) {
        // Version 4 of the format has no other tables, such as `[metadata]`, whose lines would follow here.
        let field = |name: &str| {
            let mut lines = package.lines().filter_map(|line| line.split_once(" = "));
            let (_, value) = lines.find(|(key, _)| *key == name)?;
            Some(value.trim_matches('"'))
        };
        let (Some(name), Some(version)) = (field("name"), field("version")) else {
            return Err(format!("package {} has no name or no version", crates.len() + 1));
        };
        let pin = field("checksum").or_else(|| field("source")).unwrap_or("local");
        crates.insert(format!("{name} {version}"), pin.into());
    }
    if crates.is_empty() { Err("it names no package".to_owned()) } else { Ok(Value::Object(crates)) }
}

/// `container/wheels.json`.
#[derive(Debug, Deserialize)]
pub struct Pins {
    /// Wheels by the names that set-up uses.
    pub wheels: BTreeMap<String, Wheel>,
    /// NVIDIA's driver.
    pub driver: DriverPin,
}

/// A wheel.
#[derive(Debug, Deserialize)]
pub struct Wheel {
    /// Its version.
    pub version: String,
    /// The files used from it, by name.
    pub unpack: BTreeMap<String, PinnedFile>,
}

/// A file.
#[derive(Debug, Deserialize)]
pub struct PinnedFile {
    /// Size.
    pub bytes: u64,
    /// Digest, hexadecimal.
    pub sha256: String,
}

/// The driver belongs to the machine and cannot be pinned. Its oldest supported version is stated instead.
#[derive(Debug, Deserialize)]
pub struct DriverPin {
    /// Oldest version that the pinned CUDA libraries support.
    pub oldest: String,
}

static PINS: LazyLock<Result<Pins, String>> =
    LazyLock::new(|| serde_json::from_str(PinFile::Wheels.compiled_in()).map_err(|error| error.to_string()));

/// The pins compiled in.
///
/// # Errors
/// What is wrong with them.
pub fn compiled_in() -> Result<&'static Pins, String> {
    PINS.as_ref().map_err(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_compiled_in_can_be_read() {
        for file in PinFile::ALL {
            assert!(file.read(file.compiled_in()).is_ok(), "{}", file.path());
        }
        let crates = PinFile::Crates.read(PinFile::Crates.compiled_in()).unwrap();
        assert_eq!(crates[format!("mixprec {}", env!("CARGO_PKG_VERSION"))], "local");
        assert!(crates.as_object().unwrap().len() > 100);
        assert!(compiled_in().unwrap().wheels.contains_key("onnxruntime"));
    }

    #[test]
    fn a_lock_without_names_is_refused() {
        assert_eq!(PinFile::Crates.read("version = 4\n").unwrap_err(), "it names no package");
        let error = PinFile::Crates.read("[[package]]\nname = \"a\"\n").unwrap_err();
        assert_eq!(error, "package 1 has no name or no version");
    }
}
