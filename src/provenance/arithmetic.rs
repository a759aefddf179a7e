//! The digest of the program's own arithmetic. The build script (build.rs) computes it over the sources that decide the
//! outputs and counts of a backend: the graph, the models, the inputs, the comparison and its FP32 reference, the backend
//! itself with its kernels, and the versions of the crates that compute for it. Comments, blank lines, unit tests and line
//! ends do not count, nor do the machine and the folder of the build.

use crate::engine::BackendKind;

/// SHA-256 of the arithmetic behind a backend's rows, 64 digits; `None` where the sources could not be read.
pub fn sha256(kind: BackendKind) -> Option<&'static str> {
    match kind {
        BackendKind::Reference => option_env!("MIXPREC_ARITHMETIC_REFERENCE"),
        BackendKind::OnnxRuntime => option_env!("MIXPREC_ARITHMETIC_ONNXRUNTIME"),
        BackendKind::Cuda => option_env!("MIXPREC_ARITHMETIC_CUDA"),
        BackendKind::TensorRt => option_env!("MIXPREC_ARITHMETIC_TENSORRT"),
        BackendKind::Mock => option_env!("MIXPREC_ARITHMETIC_MOCK"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_an_arithmetic_of_its_own() {
        let mut digests = BackendKind::ALL.map(|kind| sha256(kind).unwrap());
        assert!(digests.iter().all(|digest| digest.len() == 64));
        digests.sort_unstable();
        assert!(digests.windows(2).all(|pair| pair[0] != pair[1]), "{digests:?}");
    }
}
