//! Two engines timed in turns.

use mixprec::manifest::schema::NoiseFloorTest;
use mixprec::measure::interleaved::measure_interleaved;

use super::simulated::{SimulatedDevice, batch};

#[test]
fn engines_take_turns_and_are_warmed_up() {
    let limits = NoiseFloorTest {
        batch_sizes: vec![],
        sequence_lengths: vec![],
        precisions: vec![],
        rounds: 6,
        samples: 3,
        time_cap_s: 1e6,
    };
    let (first, second) = (
        SimulatedDevice { forward_ms: 1.0, ..SimulatedDevice::default() },
        SimulatedDevice { forward_ms: 2.0, ..SimulatedDevice::default() },
    );
    let test = measure_interleaved(&mut first.engine(), &mut second.engine(), &batch(), &limits).unwrap();
    assert_eq!((first.forwards(), second.forwards()), (6 * 2 * (1 + 3), 6 * 2 * (1 + 3)));
    assert!(test.first_ms.iter().all(|&ms| ms >= 1.0) && test.second_ms.iter().all(|&ms| ms >= 2.0), "{test:?}");
    second.fails_at(second.forwards() + 1);
    let failed = measure_interleaved(&mut first.engine(), &mut second.engine(), &batch(), &limits);
    assert_eq!(failed.unwrap_err().to_string(), "mock failed: no more");
}
