//! Peak resident memory of this process, from Linux's /proc (proc(5)). `None` on other systems.

use std::fs;

/// A period over which the kernel tracks peak memory.
#[derive(Debug, Clone, Copy)]
pub struct PeakMemory {
    reset: bool,
}

impl PeakMemory {
    /// Resets the process's high-water mark to the memory resident now, which discards the peak of an earlier engine.
    pub fn start() -> Self {
        PeakMemory { reset: fs::write("/proc/self/clear_refs", "5").is_ok() }
    }

    /// Largest resident set since [`PeakMemory::start`], bytes. `None` where the kernel does not report it, or refused
    /// the reset: the mark would then show an older peak.
    pub fn bytes(self) -> Option<u64> {
        if !self.reset {
            return None;
        }
        high_water_bytes(&fs::read_to_string("/proc/self/status").ok()?)
    }
}

/// The `VmHWM` line of /proc/self/status, which counts in units of 1024 bytes.
fn high_water_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_spelling() {
        assert_eq!(high_water_bytes("Name:\tx\nVmHWM:\t    1520 kB\nVmRSS:\t 1 kB\n"), Some(1520 * 1024));
        assert_eq!(high_water_bytes("Name:\tx\n"), None);
        assert_eq!(high_water_bytes("VmHWM:\tmany kB\n"), None);
    }

    #[test]
    fn a_buffer_raises_the_peak_and_a_reset_forgets_it() {
        const SIZE: usize = 256 << 20;
        let before = PeakMemory::start();
        let Some(idle) = before.bytes() else {
            crate::skip::skip("this kernel does not let the high-water mark be set back");
            return;
        };
        let mut buffer = vec![0_u8; SIZE];
        for page in buffer.iter_mut().step_by(4096) {
            *page = 1;
        }
        assert!(before.bytes().unwrap() >= idle + SIZE as u64 * 9 / 10);
        drop(std::hint::black_box(buffer));
        let after = PeakMemory::start().bytes().unwrap();
        assert!(after < idle + SIZE as u64 / 2, "{after} {idle}");
    }
}
