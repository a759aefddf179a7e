//! The clocks of a row, on a machine without a device: what is timed, and what is null rather than zero.

use mixprec::store::parquet::read_samples;

use crate::expect;
use crate::experiment::{Cells, Experiment, text};

#[test]
fn a_row_on_the_cpu_has_two_series_and_no_device() {
    let experiment = Experiment::new(&Cells::default());
    experiment.run(0);
    let [row] = experiment.rows().try_into().unwrap();
    let samples = read_samples(&experiment.dir()).unwrap();
    assert_eq!((row.samples, samples.len()), (Some(3), 3));
    assert!(samples.iter().all(|sample| sample.latency_ms > 0.0 && sample.device_ms.is_none()));
    let mut end_to_end: Vec<f64> = samples.iter().filter_map(|sample| sample.end_to_end_ms).collect();
    assert_eq!(row.end_to_end_samples, Some(end_to_end.len() as u64));
    end_to_end.sort_by(f64::total_cmp);
    assert!(end_to_end[0] > 0.0);
    let middle = [end_to_end[(end_to_end.len() - 1) / 2], end_to_end[end_to_end.len() / 2]];
    assert_eq!(row.end_to_end_p50_ms, Some(f64::midpoint(middle[0], middle[1])));
    assert_eq!((row.device_p50_ms, row.device_mean_ms, row.sustained_passes), (None, None, None));
    assert_eq!((row.energy_per_inference_mj, row.energy_remark), (None, None));
    assert_eq!((row.guard_readings, row.guard_remark, row.throttled), (None, None, None));
    assert_eq!((row.throttle_reasons, row.foreign_processes, row.sm_clock_min_mhz), (None, None, None));

    expect(0, &["report", text(&experiment.dir())]);
    let page = std::fs::read_to_string(experiment.dir().join("report/report.html")).unwrap();
    assert!(page.contains("Median time end to end"), "{page}");
    assert!(!page.contains("Median device time") && !page.contains("State of the GPU"), "no empty tables");
}
