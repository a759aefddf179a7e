//! The samples of one engine: what is timed, and when sampling ends.

use mixprec::manifest::schema::Measurement;
use mixprec::measure::{measure, measure_with, samples};
use mixprec::record::StopReason;
use mixprec::stats::median;

use super::simulated::{SimulatedDevice, batch};

fn limits() -> Measurement {
    Measurement { warmup: 2, min_samples: 5, max_samples: 8, target_precision: 0.0, ..Measurement::default() }
}

fn on_cpu(forward_ms: f64) -> SimulatedDevice {
    SimulatedDevice { forward_ms, ..SimulatedDevice::default() }
}

#[test]
fn the_clock_includes_synchronisation_and_warm_up_is_not_a_sample() {
    let device = on_cpu(3.0);
    let sampling = measure(&mut device.engine(), &batch(), &limits()).unwrap();
    assert_eq!((sampling.warmup, sampling.samples_ms.len()), (2, 8));
    assert_eq!(device.forwards(), 2 + 8 + sampling.end_to_end_ms.len());
    assert_eq!(sampling.stop_reason, StopReason::MaxSamples);
    assert!(sampling.samples_ms.iter().all(|&ms| ms >= 3.0), "{:?}", sampling.samples_ms);
}

#[test]
fn the_share_of_a_further_process_is_its_warm_up_and_its_samples() {
    let device = on_cpu(1.0);
    let (samples_ms, telemetry) = samples(&mut device.engine(), &batch(), &limits()).unwrap();
    assert_eq!((samples_ms.len(), device.forwards()), (8, 2 + 8));
    assert_eq!(telemetry.readings, 0);
}

#[test]
fn the_minimum_is_taken_whatever_the_time_cap() {
    let sampling =
        measure(&mut on_cpu(5.0).engine(), &batch(), &Measurement { time_cap_s: 0.001, ..limits() }).unwrap();
    assert_eq!((sampling.warmup, sampling.samples_ms.len()), (2, 5));
    assert_eq!(sampling.stop_reason, StopReason::TimeCap);
}

#[test]
fn a_failing_engine_ends_the_measurement() {
    let device = on_cpu(0.0);
    device.fails_at(4);
    let error = measure(&mut device.engine(), &batch(), &limits()).unwrap_err();
    assert_eq!((error.to_string(), device.forwards()), ("mock failed: no more".to_owned(), 4));
}

#[test]
fn on_a_cpu_there_is_no_device_time_and_no_block_back_to_back() {
    let limits = Measurement { energy_window_s: Some(0.5), ..limits() };
    let sampling = measure(&mut on_cpu(1.0).engine(), &batch(), &limits).unwrap();
    assert_eq!((sampling.device_samples_ms, sampling.sustained), (vec![], None));
    assert_eq!((sampling.telemetry.readings, sampling.telemetry.remark), (0, None));
    assert!(!sampling.end_to_end_ms.is_empty());
}

#[test]
fn on_a_device_every_pass_has_both_times_and_the_launch_is_only_in_one() {
    let device = SimulatedDevice { forward_ms: 2.0, launch_ms: 3.0, ..SimulatedDevice::default() };
    let sampling = measure_with(device.instruments(), &mut device.engine(), &batch(), &limits()).unwrap();
    assert_eq!((sampling.samples_ms.len(), sampling.device_samples_ms.len()), (8, 8));
    for (&wall_ms, &device_ms) in sampling.samples_ms.iter().zip(&sampling.device_samples_ms) {
        assert!(wall_ms >= 5.0 && device_ms == 2.0, "{wall_ms} {device_ms}");
    }
    assert!(sampling.telemetry.readings >= 2, "one before the samples, one after");
}

#[test]
fn end_to_end_contains_binding_and_copying() {
    let device = SimulatedDevice { forward_ms: 1.0, bind_ms: 4.0, copy_ms: 5.0, ..SimulatedDevice::default() };
    let sampling = measure(&mut device.engine(), &batch(), &limits()).unwrap();
    assert!(sampling.end_to_end_ms.len() <= 8 && !sampling.end_to_end_ms.is_empty());
    assert!(sampling.end_to_end_ms.iter().all(|&ms| ms >= 10.0), "{:?}", sampling.end_to_end_ms);
    assert!(median(&sampling.samples_ms) < median(&sampling.end_to_end_ms), "{sampling:?}");
}

#[test]
fn a_long_series_is_read_between_samples_and_warmed_up_again() {
    let device = SimulatedDevice { forward_ms: 30.0, ..SimulatedDevice::default() };
    let limits = Measurement { warmup: 0, max_samples: 20, min_samples: 20, ..limits() };
    let sampling = measure_with(device.instruments(), &mut device.engine(), &batch(), &limits).unwrap();
    let between = sampling.telemetry.readings as usize - 2;
    assert!(between >= 2, "{between} readings within 600 ms");
    assert_eq!(device.forwards(), 20 + between + sampling.end_to_end_ms.len());
    assert!(!device.was_read_during_a_forward());
}
