//! The rule that ends sampling.

use crate::manifest::schema::Measurement;
use crate::record::StopReason;
use crate::stats::relative_half_width;

/// The number of samples grows by this factor between two checks of the spread. Sorting then costs O(n log n) over the
/// whole measurement, and rare checks make an early stop by chance rare.
const CHECK_GROWTH: f64 = 1.25;

/// The stop rule of one measurement: minimum samples, target precision of the median, maximum samples, time cap.
///
/// The minimum is always taken, because fewer samples give no interval. The runner's timeout ends a measurement that
/// takes far too long. Stopping on an interval favours streams that happen to look quiet, especially at small n.
/// `min_samples` limits this bias.
#[derive(Debug, Clone)]
pub struct StopRule {
    min_samples: usize,
    max_samples: usize,
    target_precision: f64,
    time_cap_s: f64,
    next_check: usize,
}

impl StopRule {
    /// The rule with the manifest's limits.
    pub fn new(limits: &Measurement) -> Self {
        StopRule {
            min_samples: limits.min_samples.max(1),
            max_samples: limits.max_samples.max(1),
            target_precision: limits.target_precision,
            time_cap_s: limits.time_cap_s,
            next_check: limits.min_samples.max(1),
        }
    }

    /// Decides whether to stop after these samples, taken within `elapsed_s` seconds. Call it after every sample.
    ///
    /// The target is met when half the width of the median's order-statistic 95 % interval is at most
    /// `target_precision` of the median. Below 6 samples that interval does not exist, so the target cannot be met.
    pub fn verdict(&mut self, samples_ms: &[f64], elapsed_s: f64) -> Option<StopReason> {
        let n = samples_ms.len();
        if n >= self.next_check || n >= self.max_samples {
            self.next_check = ((n as f64 * CHECK_GROWTH) as usize).max(n + 1);
            if relative_half_width(samples_ms).is_some_and(|width| width <= self.target_precision) {
                return Some(StopReason::TargetPrecision);
            }
        }
        if n >= self.max_samples {
            return Some(StopReason::MaxSamples);
        }
        (n >= self.min_samples && elapsed_s >= self.time_cap_s).then_some(StopReason::TimeCap)
    }
}
