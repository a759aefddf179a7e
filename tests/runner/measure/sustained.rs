//! Forwards back to back, and their energy.

use mixprec::measure::guard::Guard;
use mixprec::measure::sustained::sustained;

use super::simulated::SimulatedDevice;

/// Forwards of a millisecond and 7 mJ. The counter steps by 100 mJ.
fn device() -> SimulatedDevice {
    SimulatedDevice { forward_ms: 1.0, forward_mj: 7, energy_step_mj: 100, ..SimulatedDevice::default() }
}

#[test]
fn the_window_is_filled_back_to_back_and_read_under_load() {
    let device = device();
    let mut guard = device.guard();
    let found = sustained(&mut device.engine(), (0.05, 2.0), &mut guard).unwrap();
    assert!(found.elapsed_s >= 0.05 && found.forwards >= 25, "{found:?}");
    // Outside the block, the device is waited for after every 10 ms. Within it, two or three times in all.
    let waits_within = device.waits() - (device.forwards() - found.forwards as usize) / 5;
    assert!(waits_within <= device.forwards() / 4, "{waits_within} waits for {} forwards", found.forwards);
    assert!(device.was_read_during_a_forward());
    assert_eq!(guard.telemetry().readings, 1);
}

#[test]
fn energy_is_taken_between_two_steps_of_the_counter() {
    let device = device();
    let found = sustained(&mut device.engine(), (0.05, 1.0), &mut device.guard()).unwrap();
    let energy = found.energy.unwrap();
    assert!(energy.forwards > found.forwards, "forwards up to the step are counted");
    assert_eq!(energy.energy_mj % 100, 0);
    // Steps of 100 mJ are 14.3 forwards apart. The error is less than a chunk of ten, however long the window.
    let per_forward = energy.energy_mj as f64 / energy.forwards as f64;
    let error = 7.0 * 10.0 / energy.forwards as f64;
    assert!((per_forward - 7.0).abs() <= error, "{per_forward} mJ per forward");
}

#[test]
fn a_counter_that_stands_still_is_a_reason() {
    let device = SimulatedDevice { energy_step_mj: 1, forward_mj: 0, forward_ms: 5.0, ..SimulatedDevice::default() };
    let found = sustained(&mut device.engine(), (0.02, 5.0), &mut device.guard()).unwrap();
    assert_eq!(found.energy, Err("the energy counter stood still for 500 ms".to_owned()));
    assert!(found.forwards >= 4, "the block is measured all the same");
}

#[test]
fn a_counter_that_runs_backwards_is_a_reason() {
    let device = SimulatedDevice { forward_ms: 1.0, ..SimulatedDevice::default() };
    // Before and after the first step, then once before and after the second.
    device.shows_energy(&[100, 200, 200, 50]);
    let found = sustained(&mut device.engine(), (0.01, 1.0), &mut device.guard()).unwrap();
    assert_eq!(found.energy, Err("the energy counter ran backwards, from 200 to 50 mJ".to_owned()));
}

#[test]
fn no_counter_is_a_reason_and_the_block_goes_on() {
    let device = SimulatedDevice { forward_ms: 1.0, ..SimulatedDevice::default() };
    let found = sustained(&mut device.engine(), (0.01, 1.0), &mut device.guard()).unwrap();
    assert_eq!(
        (found.energy, device.forwards() as u64),
        (Err("the GPU has no energy counter".to_owned()), found.forwards)
    );
    let without = Guard::new(Err(Some("no NVIDIA driver".to_owned())));
    let found = sustained(&mut device.engine(), (0.01, 1.0), &mut { without }).unwrap();
    assert_eq!(found.energy, Err("no NVIDIA driver".to_owned()));
}

#[test]
fn a_time_of_zero_asks_for_no_endless_block() {
    let device = SimulatedDevice { forward_ms: 0.0, ..SimulatedDevice::default() };
    let found = sustained(&mut device.engine(), (0.001, 0.0), &mut device.guard()).unwrap();
    assert!(found.elapsed_s >= 0.001 && found.forwards >= 1000, "{found:?}");
}
