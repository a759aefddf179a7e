//! What the report says of rows that were measured on a device: its own clock, its energy, and its state.

use mixprec::record::telemetry::{Energy, Sustained, Telemetry, ThrottleReason};
use mixprec::record::{EngineMeasurements, Outcome};
use mixprec::report::sentences::caveats::caveats;
use mixprec::report::tables::{device, latency};
use mixprec::results::data::Data;
use mixprec::store::derive;

use super::fixture;

/// The state of an undisturbed GPU.
fn calm() -> Telemetry {
    Telemetry {
        readings: 4,
        sm_clock_min_mhz: Some(1965),
        sm_clock_median_mhz: Some(1980.0),
        memory_clock_min_mhz: Some(3201),
        temperature_max_c: Some(52),
        power_mean_w: Some(412.6),
        throttle_reasons: Some([].into()),
        foreign_processes: Some(0),
        foreign_memory_bytes: Some(0),
        foreign_cpus: Some(0.1),
        clock_ratio: Some(1.0),
        remark: None,
    }
}

/// The server's run, its GPU rows as a device leaves them and then changed by `change`, by index.
fn server(change: impl Fn(usize, &mut EngineMeasurements)) -> Data {
    let plan = fixture::plan(&fixture::SERVER);
    let mut records = fixture::records(&plan, fixture::ENVIRONMENT);
    for (index, record) in records.iter_mut().enumerate() {
        let Outcome::Ok(measured) = &mut record.outcome else { unreachable!("every row is measured") };
        if measured.engine.library.starts_with("cuda") {
            measured.device_samples_ms = measured.samples_ms.iter().map(|ms| ms - 0.125).collect();
            measured.end_to_end_ms = measured.samples_ms[..30].iter().map(|ms| ms * 3.0).collect();
            measured.telemetry = calm();
        }
        change(index, measured);
    }
    fixture::data(plan, &records, &["NVIDIA A100-SXM4-80GB"])
}

#[test]
fn device_time_stands_beside_the_latency_and_does_not_replace_it() {
    let data = server(|_, _| ());
    let row = &data.rows[0];
    let apart = row.latency_p50_ms.unwrap() - row.device_p50_ms.unwrap();
    assert!((apart - 0.125).abs() < 1e-12, "{apart}");
    assert!(row.device_p50_low_ms.unwrap() < row.device_p50_ms.unwrap());
    assert!((row.latency_mean_ms.unwrap() - row.device_mean_ms.unwrap() - 0.125).abs() < 1e-9);
    assert_eq!(row.end_to_end_samples, Some(30));
    let per_second = 1e3 / row.latency_p50_ms.unwrap();
    assert!((row.throughput_sequences_per_s.unwrap() - per_second).abs() < 1e-9, "throughput is the wall clock's");
    let tables = latency::details(&data);
    let slugs: Vec<&str> = tables.iter().map(|table| table.slug.as_str()).collect();
    for wanted in ["latency-device-1-bert-base-random-cuda", "latency-end-to-end-2-gpt2-random-cuda"] {
        assert!(slugs.contains(&wanted), "{wanted} is not in {slugs:?}");
    }
}

#[test]
fn a_run_without_a_device_has_none_of_its_tables() {
    let data = fixture::laptop();
    assert_eq!(device::device_latency(&data), []);
    assert_eq!((device::sustained(&data), device::energy(&data), device::state(&data)), (vec![], vec![], None));
}

#[test]
fn samples_of_both_clocks_are_kept_side_by_side() {
    let plan = fixture::plan(&fixture::SERVER);
    let mut records = fixture::records(&plan, fixture::ENVIRONMENT);
    let Outcome::Ok(measured) = &mut records[0].outcome else { unreachable!("every row is measured") };
    measured.device_samples_ms = measured.samples_ms.iter().map(|ms| ms - 0.125).collect();
    measured.end_to_end_ms = vec![9.0, 8.0];
    let rows = derive::samples(&plan, &records);
    let first: Vec<_> = rows.iter().filter(|row| row.id == rows[0].id).collect();
    assert!(first.iter().all(|row| row.device_ms == row.latency_ms.map(|ms| ms - 0.125)));
    let end_to_end: Vec<_> = first.iter().map(|row| row.end_to_end_ms).collect();
    assert_eq!(end_to_end[..3], [Some(9.0), Some(8.0), None]);
    assert!(rows.last().unwrap().device_ms.is_none());
}

#[test]
fn throttled_and_shared_rows_are_named_and_marked() {
    let throttled = [ThrottleReason::SwPowerCap, ThrottleReason::ApplicationsClocksSetting];
    let data = server(|index, measured| match index {
        0..5 => measured.telemetry.throttle_reasons = Some(throttled.into()),
        7 => {
            measured.telemetry.foreign_processes = Some(2);
            measured.telemetry.foreign_memory_bytes = Some(3 << 30);
        }
        8 => measured.telemetry.foreign_cpus = Some(1.75),
        _ => {}
    });
    assert_eq!(data.rows[0].throttle_reasons.as_deref(), Some("applications_clocks_setting, sw_power_cap"));
    let caveats = caveats(&data);
    let named =
        |start: &str| caveats.iter().find(|text| text.starts_with(start)).unwrap_or_else(|| panic!("{caveats:?}"));
    let power = named("5 of 300 rows were measured while the GPU was throttled");
    assert!(power.contains("sw_power_cap") && power.contains(": 5 of cuda fp32."), "{power}");
    let shared = named("1 of 300 rows was measured while other processes had a compute context on the GPU");
    assert!(shared.contains("up to 2 of them with 3072 MiB") && shared.contains("2×64"), "{shared}");
    assert!(named("1 of 300 rows was measured while other processes used the host").contains("up to 1.8 CPUs"));
    let table = &latency::latency(&data)[0];
    let note = |text: &str| table.notes.iter().find(|note| note.text.contains(text)).map(|note| note.mark.clone());
    let mark = note("GPU was throttled").expect("a footnote for throttling");
    let marked = |mark: &str| {
        let cells = table.rows.iter().flat_map(|row| &row.cells);
        cells.filter(|cell| cell.mark.as_ref().is_some_and(|marks| marks.split(',').any(|one| one == mark))).count()
    };
    assert_eq!((marked(&mark), marked(&note("compute context").expect("a footnote for others"))), (5, 1));
}

#[test]
fn clocks_that_somebody_set_are_no_disturbance() {
    let set = [ThrottleReason::ApplicationsClocksSetting];
    let data = server(|_, measured| {
        if measured.telemetry.readings > 0 {
            measured.telemetry.throttle_reasons = Some(set.into());
        }
    });
    assert_eq!(data.rows[0].throttled, Some(false));
    assert!(!caveats(&data).iter().any(|text| text.contains("throttled")));
    let state = device::state(&data).unwrap();
    assert!(state.rows.iter().all(|row| row.cells.iter().any(|cell| cell.text == "applications_clocks_setting")));
}

#[test]
fn unwatched_rows_are_a_caveat_with_the_reason() {
    let data = server(|_, measured| {
        if !measured.device_samples_ms.is_empty() {
            measured.telemetry = Telemetry { remark: Some("no NVIDIA driver".to_owned()), ..Telemetry::default() };
        }
    });
    let caveats = caveats(&data);
    let expected = "The GPU's clocks, throttling and other users were not watched for 240 rows: no NVIDIA driver.";
    assert!(caveats.iter().any(|text| text == expected), "{caveats:?}");
    assert_eq!((data.rows[0].throttle_reasons.as_deref(), data.rows[0].throttled), (None, None), "unknown is not none");
    assert_eq!(device::state(&data), None);
}

#[test]
fn the_state_of_the_gpu_is_the_worst_of_a_series() {
    let data = server(|index, measured| {
        if index == 3 {
            measured.telemetry.sm_clock_min_mhz = Some(1200);
            measured.telemetry.temperature_max_c = Some(83);
        }
    });
    let state = device::state(&data).unwrap();
    assert_eq!(state.rows.len(), 8, "four precisions of two models");
    let cells: Vec<&str> = state.rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
    assert_eq!(cells, ["bert-base", "cuda fp32", "30", "1200", "1980", "3201", "83", "413", "0", ""]);
    assert_eq!(state.rows[1].cells[3].text, "1965");
}

#[test]
fn energy_is_per_pass_and_its_absence_has_a_reason() {
    let sustained = |energy| Some(Sustained { forwards: 4000, elapsed_s: 2.0, energy });
    let data = server(|index, measured| match index {
        // Batch size 1, then batch size 2.
        0 => measured.sustained = sustained(Ok(Energy { energy_mj: 1_025_000, forwards: 4100 })),
        1 => measured.sustained = sustained(Err("the energy counter stood still for 500 ms".to_owned())),
        _ => {}
    });
    let [first, second] = [&data.rows[0], &data.rows[1]];
    assert_eq!((first.energy_per_inference_mj, first.energy_passes), (Some(250.0), Some(4100)));
    assert_eq!((first.sustained_passes, first.sustained_sequences_per_s), (Some(4000), Some(2000.0)));
    assert_eq!((second.energy_per_inference_mj, second.sustained_sequences_per_s), (None, Some(4000.0)));
    assert_eq!(second.energy_remark.as_deref(), Some("the energy counter stood still for 500 ms"));
    let [energy] = device::energy(&data).try_into().unwrap();
    assert!(energy.notes.iter().any(|note| note.text == "Not known: the energy counter stood still for 500 ms."));
    assert!(energy.rows.iter().any(|row| row.cells.iter().any(|cell| cell.text == "250")));
    assert_eq!(device::sustained(&data).len(), 1);
}

#[test]
fn records_of_before_the_second_clock_are_read_and_have_none_of_it() {
    let plan = fixture::plan(&fixture::SERVER);
    let measured = fixture::measured(&plan.configurations[0]);
    let mut record = serde_json::to_value(&measured).unwrap();
    for key in ["device_samples_ms", "end_to_end_ms", "sustained", "conditions"] {
        assert!(record.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    assert_eq!(serde_json::from_value::<EngineMeasurements>(record).unwrap(), measured);
}
