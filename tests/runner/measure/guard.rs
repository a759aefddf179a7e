//! What the guard reads of a device, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use mixprec::measure::guard::{Guard, Reading, Sensor};
use mixprec::record::telemetry::{Telemetry, ThrottleReason};

use super::simulated::{SimulatedDevice, disturbed};

#[test]
fn conditions_are_the_worst_of_all_readings() {
    let device = SimulatedDevice { later: Some(disturbed()), ..SimulatedDevice::default() };
    let mut guard = device.guard();
    guard.read();
    let first = guard.telemetry();
    assert_eq!((first.sm_clock_min_mhz, first.throttle_reasons), (Some(1980), Some(BTreeSet::new())));
    assert_eq!((first.foreign_processes, first.foreign_memory_bytes), (Some(0), Some(0)));
    guard.read();
    let both = guard.telemetry();
    assert_eq!((both.readings, both.sm_clock_min_mhz, both.sm_clock_median_mhz), (2, Some(1200), Some(1590.0)));
    assert_eq!((both.memory_clock_min_mhz, both.temperature_max_c), (Some(2600), Some(88)));
    assert_eq!(both.power_mean_w, Some(500.0));
    let reasons = BTreeSet::from([ThrottleReason::SwPowerCap, ThrottleReason::SwThermalSlowdown]);
    assert_eq!(both.throttle_reasons, Some(reasons));
    assert_eq!((both.foreign_processes, both.foreign_memory_bytes), (Some(2), Some(5 << 30)));
}

#[test]
fn what_a_sensor_does_not_say_is_unknown_and_not_zero() {
    struct Mute;
    impl Sensor for Mute {
        fn read(&mut self) -> Reading {
            Reading::default()
        }
        fn energy_mj(&mut self) -> Result<u64, String> {
            Err("none".to_owned())
        }
    }
    let mut guard = Guard::new(Ok(Box::new(Mute)));
    guard.read();
    assert_eq!(guard.telemetry(), Telemetry { readings: 1, ..Telemetry::default() });
}

#[test]
fn without_sensors_nothing_is_read_and_the_reason_remains() {
    let mut guard = Guard::new(Err(Some("no NVIDIA driver".to_owned())));
    guard.begin();
    assert!(!guard.between_samples());
    guard.end();
    let telemetry = guard.telemetry();
    assert_eq!((telemetry.readings, telemetry.throttle_reasons), (0, None));
    assert_eq!(telemetry.remark.as_deref(), Some("no NVIDIA driver"));
}

#[test]
fn readings_keep_their_distance() {
    let mut guard = SimulatedDevice::default().guard();
    assert!(guard.between_samples(), "the first is due at once");
    assert!(!guard.between_samples());
    std::thread::sleep(Duration::from_millis(250));
    assert!(guard.between_samples());
}
