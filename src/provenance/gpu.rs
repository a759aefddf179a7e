//! The GPUs of the machine, from NVML. Without NVML, the driver's files in /proc give less detail.

use std::path::Path;

use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};

use crate::numbers;
use crate::nvml::nvml;

/// One GPU. A value that neither NVML nor the driver's files give is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Maximum clock of the multiprocessors, MHz.
    pub sm_clock_max_mhz: Option<u32>,
    /// Maximum clock of the memory, MHz.
    pub memory_clock_max_mhz: Option<u32>,
    /// Power limit of the board, watts.
    pub power_limit_w: Option<u32>,
    /// Whether the driver stays loaded while the GPU is unused.
    pub persistence_mode: Option<bool>,
    /// Whether the GPU is partitioned into instances (MIG).
    pub mig_mode: Option<bool>,
}

impl Gpu {
    /// `NVIDIA H200, driver 580.65.06`
    pub fn with_driver(&self) -> String {
        match &self.driver {
            Some(driver) => format!("{}, driver {driver}", self.name),
            None => self.name.clone(),
        }
    }

    /// A GPU with a known name and perhaps a known driver.
    pub fn bare(name: impl Into<String>, driver: Option<String>) -> Self {
        Gpu { name: name.into(), driver, ..Gpu::default() }
    }

    /// `NVIDIA A100-SXM4-80GB, driver 580.65.06, compute capability 8.0, 80.0 GiB, SM clock up to 1410 MHz, ...`: the
    /// known values on one line.
    pub fn describe(&self) -> String {
        let clock = |what: &str, mhz: Option<u32>| mhz.map(|mhz| format!("{what} clock up to {mhz} MHz"));
        let switch = |what: &str, on: Option<bool>| on.map(|on| format!("{what} {}", if on { "on" } else { "off" }));
        let parts = [
            Some(self.name.clone()),
            self.driver.as_ref().map(|driver| format!("driver {driver}")),
            self.compute_capability.map(|(major, minor)| format!("compute capability {major}.{minor}")),
            self.memory_bytes.map(numbers::gibibytes),
            clock("SM", self.sm_clock_max_mhz),
            clock("memory", self.memory_clock_max_mhz),
            self.power_limit_w.map(|watts| format!("power limit {watts} W")),
            switch("persistence mode", self.persistence_mode),
            switch("MIG", self.mig_mode),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The GPUs of this machine, in the order of their bus addresses. Empty without a driver.
pub fn of_this_machine() -> Vec<Gpu> {
    match nvml() {
        Ok(nvml) => (0..nvml.device_count().unwrap_or(0)).filter_map(|index| from_nvml(nvml, index)).collect(),
        Err(_) => probe(Path::new("/")),
    }
}

/// Where a GPU is on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Unique id.
    pub uuid: String,
    /// Memory node of the PCI device; `None` where the host has one, or does not say.
    pub node: Option<usize>,
    /// Whether it is partitioned into instances (MIG).
    pub mig: bool,
}

/// The slots of this machine's GPUs, in the order of their bus addresses. Empty without NVML.
pub fn slots() -> Vec<Slot> {
    let Ok(nvml) = nvml() else { return Vec::new() };
    let slot = |index| {
        let device = nvml.device_by_index(index).ok()?;
        let node = device.pci_info().ok().and_then(|found| node_of(Path::new("/"), &found.bus_id));
        Some(Slot { uuid: device.uuid().ok()?, node, mig: mig_mode(&device) == Some(true) })
    };
    (0..nvml.device_count().unwrap_or(0)).filter_map(slot).collect()
}

/// The memory node of a PCI device. NVML writes the domain with eight digits, the kernel with four.
fn node_of(root: &Path, bus_id: &str) -> Option<usize> {
    let address = bus_id.to_ascii_lowercase();
    let address = address.get(address.len().checked_sub("0000:00:00.0".len())?..)?;
    let text = std::fs::read_to_string(root.join("sys/bus/pci/devices").join(address).join("numa_node")).ok()?;
    // The kernel writes -1 where the host has no nodes.
    text.trim().parse().ok()
}

fn from_nvml(nvml: &Nvml, index: u32) -> Option<Gpu> {
    let device = nvml.device_by_index(index).ok()?;
    let capability = device.cuda_compute_capability().ok();
    Some(Gpu {
        name: device.name().ok()?,
        uuid: device.uuid().ok(),
        compute_capability: capability.map(|found| (found.major.unsigned_abs(), found.minor.unsigned_abs())),
        memory_bytes: device.memory_info().ok().map(|memory| memory.total),
        driver: nvml.sys_driver_version().ok(),
        sm_clock_max_mhz: device.max_clock_info(Clock::SM).ok(),
        memory_clock_max_mhz: device.max_clock_info(Clock::Memory).ok(),
        power_limit_w: device.enforced_power_limit().ok().map(|milliwatts| milliwatts.div_ceil(1000)),
        persistence_mode: device.is_in_persistent_mode().ok(),
        mig_mode: mig_mode(&device),
    })
}

/// `None` for GPUs without MIG.
fn mig_mode(device: &Device<'_>) -> Option<bool> {
    // NVML_DEVICE_MIG_ENABLE
    device.mig_mode().ok().map(|mode| mode.current == 1)
}

/// Reads the GPUs from the driver's files under `root` (`/`), in the order of their bus addresses. Empty without a
/// driver.
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
    // The driver prints question marks until the device is first opened.
    let uuid = field("GPU UUID").filter(|uuid| !uuid.contains('?'));
    Some(Gpu { uuid, ..Gpu::bare(field("Model")?, driver) })
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

    const VERSION: &str = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release BuildInfo\n\
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
    fn a_gpu_is_told_in_one_line_and_what_is_unknown_is_left_out() {
        let bare = parse_information(INFORMATION, None).unwrap();
        assert_eq!(bare.describe(), "NVIDIA A100-SXM4-80GB");
        let known = Gpu {
            compute_capability: Some((8, 0)),
            memory_bytes: Some(80 << 30),
            driver: Some("580.65.06".to_owned()),
            sm_clock_max_mhz: Some(1410),
            memory_clock_max_mhz: Some(1593),
            power_limit_w: Some(400),
            persistence_mode: Some(true),
            mig_mode: Some(false),
            ..bare
        };
        assert_eq!(
            known.describe(),
            "NVIDIA A100-SXM4-80GB, driver 580.65.06, compute capability 8.0, 80.0 GiB, SM clock up to 1410 MHz, memory \
             clock up to 1593 MHz, power limit 400 W, persistence mode on, MIG off"
        );
    }

    #[test]
    fn the_machine_of_this_test_is_asked_without_a_panic() {
        for gpu in of_this_machine() {
            assert!(!gpu.name.is_empty() && gpu.driver.is_some(), "{gpu:?}");
        }
    }

    #[test]
    fn the_node_of_a_device_is_read_by_the_kernels_address() {
        let root = tempfile::tempdir().unwrap();
        for (address, node) in [("0000:81:00.0", "1\n"), ("0000:01:00.0", "-1\n")] {
            let folder = root.path().join("sys/bus/pci/devices").join(address);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("numa_node"), node).unwrap();
        }
        let node = |bus_id| node_of(root.path(), bus_id);
        assert_eq!(
            ["00000000:81:00.0", "00000000:01:00.0", "0000:02:00.0", "x"].map(node),
            [Some(1), None, None, None]
        );
    }

    #[test]
    fn no_driver_means_no_gpus_and_an_unread_uuid_is_none() {
        assert!(probe(tempfile::tempdir().unwrap().path()).is_empty());
        let gpu = parse_information("Model: X\nGPU UUID: GPU-????????-????\n", None).unwrap();
        assert_eq!((gpu.uuid, gpu.driver), (None, None));
        assert_eq!(parse_information("IRQ: 3\n", None), None);
    }
}
