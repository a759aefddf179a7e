//! Two engines timed in turns.

use mixprec::manifest::schema::TimedBlock;
use mixprec::measure::interleaved::{RoundLimits, measure_interleaved};

use super::simulated::{SimulatedDevice, batch};

#[test]
fn engines_take_turns_and_are_warmed_up() {
    let limits = RoundLimits { rounds: 6, block: TimedBlock { untimed: 1, samples: 3 }, time_cap_s: 1e6 };
    let (first, second) = (
        SimulatedDevice { forward_ms: 1.0, ..SimulatedDevice::default() },
        SimulatedDevice { forward_ms: 2.0, ..SimulatedDevice::default() },
    );
    let test = || measure_interleaved(&mut [&mut first.engine(), &mut second.engine()], &batch(), limits);
    let rounds = test().unwrap();
    assert_eq!((first.forwards(), second.forwards()), (6 * 2 * (1 + 3), 6 * 2 * (1 + 3)));
    assert!(rounds[0].iter().all(|&ms| ms >= 1.0) && rounds[1].iter().all(|&ms| ms >= 2.0), "{rounds:?}");
    second.fails_at(second.forwards() + 1);
    assert_eq!(test().unwrap_err().to_string(), "mock failed: no more");
}
