//! Rows that were measured on a throttled or shared machine, or by a clock that ran wrong.

use crate::engine::DeviceKind;
use crate::measure::timekeeping;
use crate::store::schema::ResultRow;

/// The share of one CPU that other processes may use on average: the system and this program's parent process use some.
const TOLERATED_FOREIGN_CPUS: f64 = 0.25;

/// Something that speaks against a row's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The GPU was throttled.
    Throttled,
    /// Other processes computed on the GPU.
    SharedGpu,
    /// Other processes used the host's CPUs.
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

    /// The disturbance that spoils ratios of the row's time: a clock that ran wrong, or other processes on the device
    /// of its engine. A GPU throttled by its own power limit does not count: that is how the machine runs.
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
