//! Telemetry of the machine during a measurement, and forwards back to back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Why a GPU's clocks are below their maximum, in NVML's terms (nvmlClocksEventReasons). The idle reason is left out,
/// because the GPU is always idle between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    /// Application clocks are set.
    ApplicationsClocksSetting,
    /// The board is at its power limit.
    SwPowerCap,
    /// The hardware has at least halved the clocks, because of heat, power or the power supply.
    HwSlowdown,
    /// Another GPU of a synchronised group limits the clocks.
    SyncBoost,
    /// The GPU or its memory is too hot.
    SwThermalSlowdown,
    /// The GPU is so hot that the hardware halves its clocks.
    HwThermalSlowdown,
    /// The power supply has asked for less power.
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

    /// Name in table columns.
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

    /// Whether the GPU was throttled. Clocks that a person has set do not count.
    pub fn throttles(self) -> bool {
        !matches!(self, ThrottleReason::ApplicationsClocksSetting | ThrottleReason::DisplayClockSetting)
    }
}

/// Telemetry of the machine while samples were taken. A value that could not be read is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Telemetry {
    /// Number of readings of the GPU's sensors.
    pub readings: u64,
    /// Lowest clock of the multiprocessors, MHz.
    pub sm_clock_min_mhz: Option<u64>,
    /// Median clock of the multiprocessors, MHz.
    pub sm_clock_median_mhz: Option<f64>,
    /// Lowest clock of the memory, MHz.
    pub memory_clock_min_mhz: Option<u64>,
    /// Highest temperature of the GPU, degrees Celsius.
    pub temperature_max_c: Option<u64>,
    /// Mean of the board's power over the readings, watts.
    pub power_mean_w: Option<f64>,
    /// All throttle reasons of all readings; empty when there were none.
    pub throttle_reasons: Option<BTreeSet<ThrottleReason>>,
    /// Largest number of other processes with a compute context on the GPU in any reading.
    pub foreign_processes: Option<u64>,
    /// Largest device memory of those processes in any reading, bytes.
    pub foreign_memory_bytes: Option<u64>,
    /// Mean number of CPUs that other processes kept busy, among those that this process may use.
    pub foreign_cpus: Option<f64>,
    /// Time by the runner's clock over time by the kernel's uptime, while samples were taken. `None` where that was too
    /// short to compare, and in older journals.
    #[serde(default)]
    pub clock_ratio: Option<f64>,
    /// Why the GPU's sensors were not read. `None` without a GPU.
    pub remark: Option<String>,
}

/// Forwards enqueued one after the other, without waiting for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    /// Number of forwards in the block.
    #[serde(rename = "passes")]
    pub forwards: u64,
    /// Wall time of the block, seconds.
    pub elapsed_s: f64,
    /// Energy of the board, or the reason why it is unknown.
    pub energy: Result<Energy, String>,
}

/// Energy of the whole board between two steps of its counter. Idle power is included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Increase of the counter, millijoules.
    pub energy_mj: u64,
    /// Forwards executed between the two steps, at least one.
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
