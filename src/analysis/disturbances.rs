//! Rows that were measured on a machine that was not itself, or not alone.

use crate::engine::DeviceKind;
use crate::measure::timekeeping;
use crate::store::schema::ResultRow;

/// So much of one CPU, on average, others may use: the system itself and this program's parent process do.
const TOLERATED_FOREIGN_CPUS: f64 = 0.25;

/// Something that speaks against a row's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The GPU's clocks were held back.
    Throttled,
    /// Others computed on the GPU.
    SharedGpu,
    /// Others used the host's CPUs.
    SharedCpus,
    /// The clock and the kernel counted different times.
    Clock,
}

impl Disturbance {
    /// Every kind, most important first.
    pub const ALL: [Disturbance; 4] =
        [Disturbance::Clock, Disturbance::Throttled, Disturbance::SharedGpu, Disturbance::SharedCpus];

    /// Whether the row was measured under it.
    pub fn of(self, row: &ResultRow) -> bool {
        match self {
            Disturbance::Throttled => row.throttled == Some(true),
            Disturbance::SharedGpu => row.foreign_processes.is_some_and(|others| others > 0),
            Disturbance::SharedCpus => row.foreign_cpus.is_some_and(|cpus| cpus > TOLERATED_FOREIGN_CPUS),
            Disturbance::Clock => row.clock_ratio.is_some_and(|ratio| !timekeeping::agrees(ratio)),
        }
    }

    /// What speaks against dividing a row's time by another's: a clock that ran wrong, or others on the device that its engine
    /// computes on. A GPU whose clocks its own power limit held back is that machine as it is.
    pub fn of_ratios(row: &ResultRow) -> Option<Disturbance> {
        let counts = |kind: &Disturbance| match kind {
            Disturbance::Clock => true,
            Disturbance::SharedCpus => row.device == DeviceKind::Cpu,
            Disturbance::SharedGpu => row.device == DeviceKind::Gpu,
            Disturbance::Throttled => false,
        };
        Disturbance::ALL.into_iter().filter(counts).find(|kind| kind.of(row))
    }
}
