//! The sensors of a GPU, read through NVML.

use std::collections::BTreeSet;

use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use super::guard::{Foreign, Reading, Sensor};
use crate::nvml::nvml;
use crate::record::telemetry::ThrottleReason;

/// A GPU that NVML reads.
pub struct NvmlSensor {
    device: Device<'static>,
}

impl NvmlSensor {
    /// The sensors of the GPU at this PCI bus address.
    ///
    /// # Errors
    /// Why they cannot be read, as a sentence fragment.
    pub fn at(address: &str) -> Result<Self, String> {
        let found = nvml()?.device_by_pci_bus_id(address);
        let device = found.map_err(|error| format!("NVML does not know the GPU at {address}: {error}"))?;
        Ok(NvmlSensor { device })
    }
}

impl Sensor for NvmlSensor {
    fn read(&mut self) -> Reading {
        let device = &self.device;
        let processes = device.running_compute_processes().ok();
        Reading {
            sm_clock_mhz: device.clock_info(Clock::SM).ok().map(u64::from),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok().map(u64::from),
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok().map(u64::from),
            power_mw: device.power_usage().ok().map(u64::from),
            throttle_reasons: device.current_throttle_reasons().ok().map(decode),
            foreign: processes.and_then(|all| foreign(std::process::id(), &all)),
        }
    }

    fn energy_mj(&mut self) -> Result<u64, String> {
        self.device.total_energy_consumption().map_err(|error| format!("the GPU has no energy counter: {error}"))
    }
}

/// Translates NVML's bits into reasons.
fn decode(bits: ThrottleReasons) -> BTreeSet<ThrottleReason> {
    let bit = |reason| match reason {
        ThrottleReason::ApplicationsClocksSetting => ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
        ThrottleReason::SwPowerCap => ThrottleReasons::SW_POWER_CAP,
        ThrottleReason::HwSlowdown => ThrottleReasons::HW_SLOWDOWN,
        ThrottleReason::SyncBoost => ThrottleReasons::SYNC_BOOST,
        ThrottleReason::SwThermalSlowdown => ThrottleReasons::SW_THERMAL_SLOWDOWN,
        ThrottleReason::HwThermalSlowdown => ThrottleReasons::HW_THERMAL_SLOWDOWN,
        ThrottleReason::HwPowerBrakeSlowdown => ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
        ThrottleReason::DisplayClockSetting => ThrottleReasons::DISPLAY_CLOCK_SETTING,
    };
    ThrottleReason::ALL.into_iter().filter(|&reason| bits.contains(bit(reason))).collect()
}

/// The other processes that use the GPU.
///
/// In a container with its own process ids, NVML may list processes by the host's ids. This process has a context on
/// the GPU, so one entry is ours, but we cannot tell which. One entry is then left out of the count, and the memory is
/// unknown. An empty list hides this process, and so may hide others.
fn foreign(own: u32, processes: &[ProcessInfo]) -> Option<Foreign> {
    let others: Vec<&ProcessInfo> = processes.iter().filter(|process| process.pid != own).collect();
    if processes.is_empty() {
        return None;
    }
    if others.len() == processes.len() {
        let (processes, none) = (others.len() as u64 - 1, others.len() == 1);
        return Some(Foreign { processes, memory_bytes: none.then_some(0) });
    }
    let memory = |process: &&ProcessInfo| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    Some(Foreign { processes: others.len() as u64, memory_bytes: others.iter().map(memory).sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, used_gpu_memory: UsedGpuMemory) -> ProcessInfo {
        ProcessInfo { pid, used_gpu_memory, gpu_instance_id: None, compute_instance_id: None }
    }

    #[test]
    fn bits_become_reasons_and_idleness_is_none() {
        assert_eq!(decode(ThrottleReasons::GPU_IDLE), BTreeSet::new());
        let bits = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::GPU_IDLE;
        let expected = BTreeSet::from([ThrottleReason::SwPowerCap, ThrottleReason::HwThermalSlowdown]);
        assert_eq!(decode(bits), expected);
        // nvml.h: nvmlClocksEventReasonApplicationsClocksSetting is bit 1, nvmlClocksEventReasonDisplayClockSetting bit 8.
        let set = BTreeSet::from([ThrottleReason::ApplicationsClocksSetting, ThrottleReason::DisplayClockSetting]);
        assert_eq!(decode(ThrottleReasons::from_bits_truncate(0b1_0000_0010)), set);
        assert_eq!(decode(ThrottleReasons::all()).len(), ThrottleReason::ALL.len());
    }

    #[test]
    fn this_process_is_not_foreign() {
        let own = process(7, UsedGpuMemory::Used(5));
        assert_eq!(foreign(7, std::slice::from_ref(&own)), Some(Foreign { processes: 0, memory_bytes: Some(0) }));
        let all = [process(8, UsedGpuMemory::Used(3)), own, process(9, UsedGpuMemory::Used(4))];
        assert_eq!(foreign(7, &all), Some(Foreign { processes: 2, memory_bytes: Some(7) }));
        let hidden = [all[1].clone(), process(8, UsedGpuMemory::Unavailable)];
        assert_eq!(foreign(7, &hidden), Some(Foreign { processes: 1, memory_bytes: None }));
    }

    #[test]
    fn under_the_hosts_process_ids_one_of_the_list_is_this_process() {
        let host = [process(4001, UsedGpuMemory::Used(5)), process(4002, UsedGpuMemory::Used(3))];
        assert_eq!(foreign(7, &host[..1]), Some(Foreign { processes: 0, memory_bytes: Some(0) }));
        assert_eq!(foreign(7, &host), Some(Foreign { processes: 1, memory_bytes: None }));
        assert_eq!(foreign(7, &[]), None);
    }
}
