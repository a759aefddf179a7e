//! The GPUs of the machine, as far as the driver's own files tell without loading a library.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// One GPU. What the driver's files do not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Marketing name, e.g. `NVIDIA A100-SXM4-80GB`.
    pub name: String,
    /// Unique id.
    pub uuid: Option<String>,
    /// Compute capability, major and minor.
    pub compute_capability: Option<(u32, u32)>,
    /// Device memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Driver version.
    pub driver: Option<String>,
    /// Highest clock of the multiprocessors, MHz.
    pub sm_clock_max_mhz: Option<u32>,
    /// Highest clock of the memory, MHz.
    pub memory_clock_max_mhz: Option<u32>,
}

/// The GPUs under `root` (`/`), in the order of their bus addresses; empty without a driver.
pub fn probe(root: &Path) -> Vec<Gpu> {
    let folder = root.join("proc/driver/nvidia");
    let driver = std::fs::read_to_string(folder.join("version")).ok().and_then(|text| driver_version(&text));
    let Ok(entries) = std::fs::read_dir(folder.join("gpus")) else {
        return Vec::new();
    };
    let mut devices: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path().join("information")).collect();
    devices.sort();
    devices
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .filter_map(|text| parse_information(&text, driver.clone()))
        .collect()
}

fn parse_information(text: &str, driver: Option<String>) -> Option<Gpu> {
    let field = |key: &str| {
        let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == key)?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    Some(Gpu {
        name: field("Model")?,
        // The driver prints question marks until the device has been opened once.
        uuid: field("GPU UUID").filter(|uuid| !uuid.contains('?')),
        compute_capability: None,
        memory_bytes: None,
        driver,
        sm_clock_max_mhz: None,
        memory_clock_max_mhz: None,
    })
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun ...` -> `580.65.06`.
fn driver_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version"))?;
    let is_version = |word: &&str| {
        word.contains('.') && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n\
                           GCC version:  gcc version 12.2.0\n";
    const INFORMATION: &str = "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 42\n\
                               GPU UUID: \t GPU-0f0e0d0c-0b0a-0908-0706-050403020100\nVideo BIOS: \t 92.00\n";

    #[test]
    fn driver_files_become_gpus_in_bus_order() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("proc/driver/nvidia");
        for (bus, name) in [("0000:81:00.0", "Second"), ("0000:01:00.0", "First")] {
            std::fs::create_dir_all(folder.join("gpus").join(bus)).unwrap();
            let text = INFORMATION.replace("NVIDIA A100-SXM4-80GB", name);
            std::fs::write(folder.join("gpus").join(bus).join("information"), text).unwrap();
        }
        std::fs::write(folder.join("version"), VERSION).unwrap();
        let gpus = probe(root.path());
        assert_eq!(gpus.iter().map(|gpu| gpu.name.as_str()).collect::<Vec<_>>(), ["First", "Second"]);
        assert_eq!(gpus[0].driver.as_deref(), Some("580.65.06"));
        assert_eq!(gpus[0].uuid.as_deref(), Some("GPU-0f0e0d0c-0b0a-0908-0706-050403020100"));
        assert_eq!(gpus[0].memory_bytes, None);
    }

    #[test]
    fn no_driver_means_no_gpus_and_an_unread_uuid_is_none() {
        assert!(probe(tempfile::tempdir().unwrap().path()).is_empty());
        let gpu = parse_information("Model: X\nGPU UUID: GPU-????????-????\n", None).unwrap();
        assert_eq!((gpu.uuid, gpu.driver), (None, None));
        assert_eq!(parse_information("IRQ: 3\n", None), None);
    }
}
