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
    assert!(samples.iter().all(|sample| sample.latency_ms > Some(0.0) && sample.device_ms.is_none()));
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

#[test]
fn an_engine_is_timed_against_itself_where_the_manifest_asks_for_it() {
    for backend in ["reference", "mock"] {
        let experiment = Experiment::new(&Cells {
            backends: &format!("[{backend}]"),
            precisions: "[fp32, fp16]",
            batch_sizes: "[1, 2]",
            more: "noise_floor: {batch_sizes: [2], sequence_lengths: [8], precisions: [fp32], rounds: 9, samples: 5}",
            count: 4,
            ..Cells::default()
        });
        experiment.run(0);
        for row in experiment.rows() {
            let tested = row.batch_size == 2 && row.precision == "fp32";
            assert_eq!(row.aa_rounds, tested.then_some(9), "{backend} {} {}", row.precision, row.batch_size);
            assert_eq!((row.aa_ratio.is_some(), row.aa_remark), (tested, None));
            if let (Some(low), Some(ratio), Some(high)) = (row.aa_ratio_low, row.aa_ratio, row.aa_ratio_high) {
                assert!(low <= ratio && ratio <= high && low > 0.0, "{backend}: {low} {ratio} {high}");
                // The same engine, on a host that others use too: near 1, and nobody knows how near.
                assert!((0.5..2.0).contains(&ratio), "{backend}: {ratio}");
            }
        }
        let rows = experiment.rows();
        let tested = rows.iter().find(|row| row.aa_rounds.is_some()).unwrap();
        let samples = read_samples(&experiment.dir()).unwrap();
        let rounds =
            samples.iter().filter_map(|sample| Some((sample.id.clone(), sample.aa_first_ms?, sample.aa_second_ms?)));
        let rounds: Vec<_> = rounds.collect();
        assert!(rounds.len() == 9 && rounds.iter().all(|(id, ..)| *id == tested.id), "{rounds:?}");
        let mut ratios: Vec<f64> = rounds.iter().map(|(_, first, second)| second / first).collect();
        ratios.sort_by(f64::total_cmp);
        assert_eq!(tested.aa_ratio, Some(ratios[4]), "the median of the rounds that were kept");
        let floor =
            rows.iter().find_map(|row| Some((row.aa_ratio_low? - 1.0).abs().max((row.aa_ratio_high? - 1.0).abs())));
        expect(0, &["report", text(&experiment.dir())]);
        let table = std::fs::read_to_string(experiment.dir().join("report/noise-floor.tex")).unwrap();
        let shown = format!("{backend} & 1 & 9 & ");
        assert!(table.contains(&shown) && floor.is_some(), "{table}");
    }
}
