//! Environment variables that can change a measurement. The list has exact names and no prefixes, because
//! `NVIDIA_API_KEY` is a secret with the prefix of a setting.

use std::collections::BTreeMap;

/// The recorded variables. No other variable is stored.
pub const RECORDED: [&str; 24] = [
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_CACHE_DISABLE",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_ORDER",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "CUDA_VISIBLE_DEVICES",
    "GLIBC_TUNABLES",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "MALLOC_ARENA_MAX",
    "MIXPREC_TENSORRT",
    "MIXPREC_TENSORRT_CONSTRAINTS",
    "MKL_NUM_THREADS",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_TF32_OVERRIDE",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "RAYON_NUM_THREADS",
];

/// The recorded variables among `all`, by name.
pub fn recorded(all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    all.into_iter().filter(|(name, _)| RECORDED.contains(&name.as_str())).collect()
}

/// The recorded variables of this process. Values that are not UTF-8 are kept with replacement characters.
pub fn of_this_process() -> BTreeMap<String, String> {
    recorded(
        std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_and_secrets_are_not() {
        let all = [
            ("OMP_NUM_THREADS", "2"),
            ("NVIDIA_TF32_OVERRIDE", "0"),
            ("NVIDIA_API_KEY", "secret"),
            ("CUDA_SECRET_TOKEN", "secret"),
            ("HOME", "/home/someone"),
        ];
        let kept = recorded(all.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert_eq!(names, ["NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS"]);
    }

    #[test]
    fn the_list_is_sorted_and_holds_nothing_that_reads_like_a_secret() {
        assert!(RECORDED.is_sorted());
        for name in RECORDED {
            assert!(!["KEY", "TOKEN", "SECRET", "PASS"].iter().any(|word| name.contains(word)), "{name}");
        }
    }
}
