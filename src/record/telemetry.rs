//! What the machine did while a configuration was measured, and what many passes in a row came to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Why a GPU's clocks are below their highest, in NVML's terms (nvmlClocksEventReasons). That nothing is running is
/// left out: between two blocks of samples nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    /// Somebody has set application clocks.
    ApplicationsClocksSetting,
    /// The board is at its power limit.
    SwPowerCap,
    /// The hardware has halved the clocks or worse: heat, power or the supply.
    HwSlowdown,
    /// Another GPU of a synchronised group is slow.
    SyncBoost,
    /// GPU or memory is too hot.
    SwThermalSlowdown,
    /// The GPU is so hot that the hardware halves its clocks.
    HwThermalSlowdown,
    /// The power supply has asked for less.
    HwPowerBrakeSlowdown,
    /// Display clocks are set.
    DisplayClockSetting,
}

impl ThrottleReason {
    /// Every reason, in the order of NVML's bits.
    pub const ALL: [ThrottleReason; 8] = [
        ThrottleReason::ApplicationsClocksSetting,
        ThrottleReason::SwPowerCap,
        ThrottleReason::HwSlowdown,
        ThrottleReason::SyncBoost,
        ThrottleReason::SwThermalSlowdown,
        ThrottleReason::HwThermalSlowdown,
        ThrottleReason::HwPowerBrakeSlowdown,
        ThrottleReason::DisplayClockSetting,
    ];

    /// As columns have it.
    pub fn name(self) -> &'static str {
        match self {
            ThrottleReason::ApplicationsClocksSetting => "applications_clocks_setting",
            ThrottleReason::SwPowerCap => "sw_power_cap",
            ThrottleReason::HwSlowdown => "hw_slowdown",
            ThrottleReason::SyncBoost => "sync_boost",
            ThrottleReason::SwThermalSlowdown => "sw_thermal_slowdown",
            ThrottleReason::HwThermalSlowdown => "hw_thermal_slowdown",
            ThrottleReason::HwPowerBrakeSlowdown => "hw_power_brake_slowdown",
            ThrottleReason::DisplayClockSetting => "display_clock_setting",
        }
    }

    /// Whether the clocks were taken back, rather than set by a person who wants them steady.
    pub fn throttles(self) -> bool {
        !matches!(self, ThrottleReason::ApplicationsClocksSetting | ThrottleReason::DisplayClockSetting)
    }
}

/// The machine while samples were taken. What could not be read is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Telemetry {
    /// Times the GPU's sensors were read.
    pub readings: u64,
    /// Lowest clock of the multiprocessors, MHz.
    pub sm_clock_min_mhz: Option<u64>,
    /// Median of the same.
    pub sm_clock_median_mhz: Option<f64>,
    /// Lowest clock of the memory, MHz.
    pub memory_clock_min_mhz: Option<u64>,
    /// Highest temperature of the GPU, degrees Celsius.
    pub temperature_max_c: Option<u64>,
    /// Mean of the board's power as read, watts.
    pub power_mean_w: Option<f64>,
    /// Every reason that any reading gave; empty when there was none.
    pub throttle_reasons: Option<BTreeSet<ThrottleReason>>,
    /// Most processes of others with a compute context on the GPU at once.
    pub foreign_processes: Option<u64>,
    /// Most device memory that these held at once, bytes.
    pub foreign_memory_bytes: Option<u64>,
    /// Mean number of the host CPUs this process may use that other processes kept busy.
    pub foreign_cpus: Option<f64>,
    /// Time by the runner's clock over the kernel's own count of it, while samples were taken; `None` where that was too
    /// short to compare, and in journals from before it was.
    #[serde(default)]
    pub clock_ratio: Option<f64>,
    /// Why the GPU's sensors were not read, where there is a GPU.
    pub remark: Option<String>,
}

/// Passes enqueued one after the other without waiting for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    /// Passes between two waits for the device.
    #[serde(rename = "passes")]
    pub forwards: u64,
    /// Wall time they took, seconds.
    pub elapsed_s: f64,
    /// What the board used, or why that is not known.
    pub energy: Result<Energy, String>,
}

/// Energy of the whole board between two steps of its counter. Idle power is part of it: nothing is subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// What the counter went up by, millijoules.
    pub energy_mj: u64,
    /// Passes executed meanwhile, at least one.
    #[serde(rename = "passes")]
    pub forwards: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_journal() {
        for reason in ThrottleReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        assert!(ThrottleReason::ALL.is_sorted());
        assert_eq!(ThrottleReason::ALL.iter().filter(|reason| !reason.throttles()).count(), 2);
    }
}
