//! A results folder as the appendix reads it: the cost of its rows, the machines, and the verdicts on the claims.

use std::fs;
use std::io;
use std::path::Path;

use crate::analysis::facts::engine_bytes;
use crate::claims::{Claims, Verdict};
use crate::engine::DeviceKind;
use crate::files::FileError;
use crate::record::Status;
use crate::report::sentences::machine::processor;
use crate::results::data::{Data, distinct};
use crate::results::study::Parts;
use crate::store::schema::ResultRow;
use crate::{claims, numbers};

use super::AppendixError;

/// A results folder, read.
#[derive(Debug, Clone)]
pub struct ResultsFolder {
    /// As it was named.
    pub label: String,
    /// Plan, rows and environments.
    pub data: Data,
    /// Size of all its files.
    pub bytes: Option<u64>,
    /// Every claim, judged by its rows.
    pub verdicts: Vec<Verdict>,
}

/// Wall time, and the number of rows that it covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WallTime {
    /// Sum over the rows that recorded it, seconds.
    pub seconds: f64,
    /// Number of these rows.
    pub rows: usize,
    /// Number of rows that were run.
    pub run: usize,
}

impl ResultsFolder {
    /// Reads a folder and judges the claims by it. For an artifact, this includes the folders of its other experiments.
    ///
    /// # Errors
    /// [`AppendixError`] naming what cannot be read.
    pub fn read(dir: &Path, claims: &Claims) -> Result<Vec<ResultsFolder>, AppendixError> {
        let bytes = |path: &Path| size(path).map_err(FileError::at(path));
        let one = |path: &Path, bytes: u64| -> Result<ResultsFolder, AppendixError> {
            Ok(ResultsFolder::of(path.display().to_string(), Data::read(path)?, Some(bytes), claims))
        };
        let Some(parts) = Parts::read(dir)? else { return Ok(vec![one(dir, bytes(dir)?)?]) };
        let inside = parts.folders().map(|part| bytes(&dir.join(part))).sum::<Result<u64, FileError>>()?;
        let mut folders = vec![one(dir, bytes(dir)?.saturating_sub(inside))?];
        for path in parts.with.iter().map(|part| dir.join(part)) {
            folders.push(one(&path, bytes(&path)?)?);
        }
        Ok(folders)
    }

    /// A folder that was read already.
    pub fn of(label: String, data: Data, bytes: Option<u64>, claims: &Claims) -> ResultsFolder {
        let verdicts = claims::judge(&data, claims);
        ResultsFolder { label, data, bytes, verdicts }
    }

    fn run(&self) -> impl Iterator<Item = &ResultRow> {
        self.data.rows.iter().filter(|row| row.status != Status::Pending)
    }

    /// Wall time of the rows; `None` if no row recorded it.
    pub fn wall_time(&self) -> Option<WallTime> {
        let known: Vec<f64> = self.run().filter_map(|row| row.wall_s).collect();
        let of = WallTime { seconds: known.iter().sum(), rows: known.len(), run: self.run().count() };
        (!known.is_empty()).then_some(of)
    }

    /// Largest peak of resident host memory of a worker, bytes.
    pub fn host_memory_bytes(&self) -> Option<u64> {
        self.run().filter_map(|row| row.process_peak_bytes).max()
    }

    /// Most device memory that an engine held, bytes: as counted by the driver, otherwise by the engine itself.
    pub fn device_memory_bytes(&self) -> Option<u64> {
        let on_gpu = self.data.measured().filter(|row| row.device == DeviceKind::Gpu);
        on_gpu.filter_map(|row| row.device_memory_bytes.or_else(|| engine_bytes(row))).max()
    }

    /// The machines of its rows, each once.
    pub fn machines(&self) -> Vec<String> {
        distinct(self.data.environments.values().map(|environment| {
            let mut parts = vec![processor(environment)];
            parts.extend(environment.machine.memory_bytes.map(numbers::gibibytes));
            parts.extend(environment.gpus.iter().map(crate::provenance::Gpu::describe));
            parts.push(environment.machine.os.clone());
            parts.join("; ")
        }))
    }

    /// `48 of 48 configurations measured, 2 failed`
    pub fn counts(&self) -> String {
        let count = |status| self.data.count(status);
        let mut text = format!("{} measured", numbers::count(count(Status::Ok) as u64));
        for (status, word) in [(Status::Built, "built"), (Status::Failed, "failed"), (Status::Pending, "not run")] {
            if count(status) > 0 {
                text += &format!(", {} {word}", numbers::count(count(status) as u64));
            }
        }
        format!("{text} of {}", numbers::plural(self.data.plan.configurations.len(), "configuration"))
    }
}

/// Bytes of all files below `path`. Links are not followed: their targets lie elsewhere.
///
/// # Errors
/// The error of the file system.
pub fn size(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(if metadata.is_file() { metadata.len() } else { 0 });
    }
    fs::read_dir(path)?.try_fold(0_u64, |sum, entry| Ok(sum.saturating_add(size(&entry?.path())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_large_as_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        fs::write(dir.path().join("deep/a"), [0; 5]).unwrap();
        fs::write(dir.path().join("b"), [0; 7]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("deep/everything")).unwrap();
        assert_eq!(size(dir.path()).unwrap(), 12);
        assert_eq!(size(&dir.path().join("b")).unwrap(), 7);
        assert!(size(&dir.path().join("c")).is_err());
    }
}
