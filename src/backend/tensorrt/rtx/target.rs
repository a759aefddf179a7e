//! The GPU generation that TensorRT-RTX builds for: any of its list, with or without a device.

use trtx::{BuilderConfig, ComputeCapability};

use crate::engine::Target;

/// Writes the target into the builder's configuration.
///
/// # Errors
/// Those of the library.
pub(super) fn set(config: &mut BuilderConfig<'_>, target: Target) -> trtx::Result<()> {
    let capability = match target {
        Target::Current => ComputeCapability::kCURRENT,
        Target::Sm80 => ComputeCapability::kSM80,
        Target::Sm86 => ComputeCapability::kSM86,
        Target::Sm89 => ComputeCapability::kSM89,
        Target::Sm120 => ComputeCapability::kSM120,
    };
    config.set_nb_compute_capabilities(1)?;
    config.set_compute_capability(capability, 0)
}

/// Whether an engine for `target` can be built on this machine, whose device is of `capability`.
///
/// # Errors
/// The reason, with the cure.
pub(super) fn buildable(target: Target, capability: Option<(u32, u32)>) -> Result<(), String> {
    match (target, capability) {
        (Target::Current, None) => {
            Err("this machine has no CUDA device to build `current` for; name a target: sm80, sm86, sm89 or sm120"
                .into())
        }
        _ => Ok(()),
    }
}

/// The GPU in the cache key of an engine for `target`; `device` is this machine's. It is never `current`, since machines with
/// other GPUs may share the cache.
pub(super) fn identity(target: Target, device: &str) -> String {
    match target {
        Target::Current => device.to_owned(),
        target => target.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_the_device_and_never_current() {
        let device = "NVIDIA L4, compute capability 8.9";
        for target in Target::ALL {
            let identity = identity(target, device);
            assert_ne!(identity, Target::Current.name());
            assert_eq!(identity == device, target == Target::Current, "{identity}");
        }
    }

    #[test]
    fn only_the_current_device_needs_a_device() {
        assert!(buildable(Target::Current, None).is_err_and(|reason| reason.contains("name a target: sm80")));
        assert_eq!(buildable(Target::Current, Some((8, 9))), Ok(()));
        assert_eq!(buildable(Target::Sm120, None), Ok(()));
    }
}
