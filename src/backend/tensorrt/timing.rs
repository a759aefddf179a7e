//! What TensorRT's builder has timed, kept for the next build of the same library on the same device.

use super::library::TensorRtLibrary;
use crate::backend::cuda::device::Device;
use crate::cache::ChecksummedFolder;
use crate::digest::sha256;

/// The timing cache of a library and this machine's device.
pub(super) struct TimingCache {
    folder: ChecksummedFolder,
    name: String,
}

impl TimingCache {
    /// The cache, if the library times kernels on this machine's device and the folder can be used. Without it, all is timed
    /// again.
    pub fn of(library: &TensorRtLibrary) -> Option<TimingCache> {
        let device = Device::first().ok()?;
        let folder = ChecksummedFolder::open("tensorrt-timing").ok()?;
        let digests = library.digests().values().map(String::as_str);
        let device = device.identity();
        let identity: Vec<&str> = [library.version.as_str(), &device].into_iter().chain(digests).collect();
        let identity = identity.join(", ");
        Some(TimingCache { folder, name: format!("{}.bin", &sha256(identity.as_bytes())[..16]) })
    }

    /// What earlier builds have timed.
    pub fn read(&self) -> Option<Vec<u8>> {
        self.folder.read(&self.name)
    }

    /// Keeps what a build has timed; if that fails, the next build times it again.
    pub fn write(&self, timed: &[u8]) {
        let _ = self.folder.write(&self.name, timed);
    }
}
