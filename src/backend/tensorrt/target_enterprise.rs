//! The GPU generation that TensorRT builds for: that of this machine's device, on which it times kernels while building.

use trtx::BuilderConfig;

use crate::engine::Target;

/// Does nothing: the target is the device.
///
/// # Errors
/// None; the signature is that of TensorRT-RTX.
pub(super) fn set(_config: &mut BuilderConfig<'_>, _target: Target) -> trtx::Result<()> {
    Ok(())
}

/// Whether an engine for `target` can be built on this machine, whose device is of `capability`.
///
/// # Errors
/// The reason, with the cure.
pub(super) fn buildable(target: Target, capability: Option<(u32, u32)>) -> Result<(), String> {
    let Some((major, minor)) = capability else {
        return Err(
            "TensorRT times kernels on the device it builds for, and this machine has no CUDA device; build with \
                    TensorRT-RTX, which needs none"
                .into(),
        );
    };
    match target.compute_capability() {
        Some(required) if required != (major, minor) => Err(format!(
            "TensorRT builds for the device it runs on, of compute capability {major}.{minor}, not for {target}; build on \
             such a device, or with TensorRT-RTX"
        )),
        _ => Ok(()),
    }
}

/// The GPU in the cache key of an engine: this machine's `device`, on which its kernels were timed, whatever the target.
pub(super) fn identity(_target: Target, device: &str) -> String {
    device.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_the_device_whatever_the_target() {
        assert!(Target::ALL.into_iter().all(|target| identity(target, "NVIDIA A100") == "NVIDIA A100"));
    }

    #[test]
    fn only_this_machines_device_is_a_target() {
        assert!(buildable(Target::Current, None).is_err());
        assert_eq!(buildable(Target::Current, Some((9, 0))), Ok(()));
        assert_eq!(buildable(Target::Sm80, Some((8, 0))), Ok(()));
        assert!(buildable(Target::Sm89, Some((8, 0))).is_err_and(|reason| reason.contains("8.0, not for sm89")));
    }
}
