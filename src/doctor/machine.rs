//! Diagnoses of the machine itself: build, processor, memory, disk, GPUs.

use std::path::Path;

use super::{Area, Diagnosis, Readiness};
use crate::numbers::gibibytes;
use crate::provenance::{Cpu, Environment, Gpu, Host};

/// Less free space than this gets a warning. A build takes about 2 GiB, the results of a sweep far less.
const LITTLE_DISK_BYTES: u64 = 3 << 30;

/// Less memory than this gets a warning. GPT-2's FP32 weights take half a GiB, loading them may take twice that, and
/// the system and the build need the rest.
const LITTLE_MEMORY_BYTES: u64 = 2 << 30;

pub(super) fn diagnoses(environment: &Environment, root: &Path) -> Vec<Diagnosis> {
    let machine = &environment.machine;
    let mut diagnoses = vec![build(environment), processor(&machine.cpu)];
    diagnoses.extend(memory(machine));
    diagnoses.push(system(machine));
    diagnoses.extend(disk(root));
    diagnoses.extend(gpus(&environment.gpus, crate::nvml::nvml().err()));
    diagnoses
}

fn build(environment: &Environment) -> Diagnosis {
    let build = &environment.build;
    let compiler = build.rustc.as_deref().unwrap_or("unknown compiler");
    let cure = "commit the changes and build again before publishing numbers";
    Diagnosis::new(Area::Machine, "build", Readiness::Ok, format!("{}, {compiler}", build.summary()))
        .limited_if(build.dirty == Some(true), cure)
}

fn processor(cpu: &Cpu) -> Diagnosis {
    let count = |number: Option<usize>, what: &str| number.map(|number| format!("{number} {what}"));
    let model = cpu.model.clone().unwrap_or_else(|| format!("unknown {} processor", cpu.architecture));
    let usable = cpu.usable_cpus.filter(|&usable| cpu.logical_cpus != Some(usable));
    let parts = [
        Some(model),
        count(cpu.physical_cores, "cores"),
        count(cpu.logical_cpus, "hardware threads"),
        count(usable, "of them usable by this process"),
        (!cpu.features.is_empty()).then(|| cpu.features.join(" ")),
        cpu.governor.as_ref().map(|governor| format!("governor {governor}")),
    ];
    let detail = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let varies = cpu.governor.as_ref().is_some_and(|governor| governor != "performance");
    let cure = "times vary with the clock; set the governor to performance before measuring";
    Diagnosis::new(Area::Machine, "processor", Readiness::Ok, detail).limited_if(varies, cure)
}

fn memory(machine: &Host) -> Option<Diagnosis> {
    let total = machine.memory_bytes?;
    let usable = machine.memory_limit_bytes.map_or(total, |limit| limit.min(total));
    let detail = match usable < total {
        true => format!("{}, limited to {} by the control group", gibibytes(total), gibibytes(usable)),
        false => gibibytes(total),
    };
    let cure = format!("below {}, large configurations may run out of memory", gibibytes(LITTLE_MEMORY_BYTES));
    let diagnosis = Diagnosis::new(Area::Machine, "memory", Readiness::Ok, detail);
    Some(diagnosis.limited_if(usable < LITTLE_MEMORY_BYTES, cure))
}

fn system(machine: &Host) -> Diagnosis {
    let parts = [
        Some(machine.os.clone()),
        machine.kernel.as_ref().map(|kernel| format!("kernel {kernel}")),
        machine.libc.clone(),
        machine.container.as_ref().map(|name| format!("in a container ({name})")),
        (machine.virtual_machine == Some(true)).then(|| "on a virtual machine".to_owned()),
    ];
    Diagnosis::new(Area::Machine, "system", Readiness::Ok, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(unix)]
fn disk(root: &Path) -> Option<Diagnosis> {
    let folder = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let file_system = rustix::fs::statvfs(folder).ok()?;
    let free = file_system.f_bavail.saturating_mul(file_system.f_frsize);
    let diagnosis = Diagnosis::new(Area::Machine, "disk", Readiness::Ok, format!("{} free", gibibytes(free)));
    Some(diagnosis.limited_if(free < LITTLE_DISK_BYTES, "free some space: a build takes about 2 GiB"))
}

#[cfg(not(unix))]
fn disk(_root: &Path) -> Option<Diagnosis> {
    None
}

/// A GPU without NVML can be used, but its sensors cannot be read.
fn gpus(gpus: &[Gpu], without_nvml: Option<String>) -> Vec<Diagnosis> {
    let diagnosis = |status, detail: String| Diagnosis::new(Area::Machine, "gpu", status, detail);
    match without_nvml {
        reason if gpus.is_empty() => {
            let reason = reason.unwrap_or_else(|| "the NVIDIA driver lists no GPU".to_owned());
            vec![diagnosis(Readiness::Missing, reason)]
        }
        None => gpus.iter().map(|gpu| diagnosis(Readiness::Ok, gpu.describe())).collect(),
        Some(reason) => {
            let limited = |gpu: &Gpu| {
                let detail = format!("{}; clocks, throttling and energy cannot be read: {reason}", gpu.describe());
                diagnosis(Readiness::Limited, detail)
            };
            gpus.iter().map(limited).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu() -> Cpu {
        Cpu {
            model: Some("Some CPU".to_owned()),
            architecture: "x86_64".to_owned(),
            physical_cores: Some(2),
            logical_cpus: Some(4),
            usable_cpus: Some(4),
            features: vec!["avx2".to_owned(), "fma".to_owned()],
            governor: None,
            smt: Some(true),
        }
    }

    #[test]
    fn a_processor_is_told_in_one_line() {
        assert_eq!(processor(&cpu()).detail, "Some CPU, 2 cores, 4 hardware threads, avx2 fma");
        let narrow = processor(&Cpu { usable_cpus: Some(1), ..cpu() });
        assert!(narrow.detail.contains("1 of them usable by this process"), "{}", narrow.detail);
        let saving = processor(&Cpu { governor: Some("powersave".to_owned()), ..cpu() });
        assert_eq!(saving.status, Readiness::Limited);
        assert!(saving.cure.is_some_and(|cure| cure.contains("performance")));
    }

    #[test]
    fn a_memory_limit_counts_and_little_memory_is_a_warning() {
        let mut machine = Host::probe(Path::new("/nowhere"));
        assert_eq!(memory(&machine), None, "unknown memory is not judged");
        machine.memory_bytes = Some(16 << 30);
        assert_eq!(memory(&machine).map(|diagnosis| diagnosis.status), Some(Readiness::Ok));
        machine.memory_limit_bytes = Some(1 << 30);
        let diagnosis = memory(&machine).unwrap();
        assert_eq!(diagnosis.status, Readiness::Limited);
        assert_eq!(diagnosis.detail, "16.0 GiB, limited to 1.0 GiB by the control group");
    }

    #[test]
    fn a_machine_without_a_gpu_says_so() {
        let found = gpus(&[], Some("no NVIDIA driver".to_owned()));
        assert_eq!(
            (found.len(), found[0].status, found[0].detail.as_str()),
            (1, Readiness::Missing, "no NVIDIA driver")
        );
        assert_eq!(gpus(&[], None)[0].detail, "the NVIDIA driver lists no GPU");
    }

    #[test]
    fn a_gpu_without_nvml_is_a_limitation() {
        let gpu = Gpu::bare("NVIDIA H200", None);
        let watched = gpus(std::slice::from_ref(&gpu), None);
        assert_eq!((watched[0].status, watched[0].detail.as_str()), (Readiness::Ok, "NVIDIA H200"));
        let blind = gpus(&[gpu], Some("no library".to_owned()));
        assert_eq!(blind[0].status, Readiness::Limited);
        assert!(blind[0].detail.ends_with("cannot be read: no library"), "{}", blind[0].detail);
    }

    #[test]
    fn free_space_is_read() {
        let diagnosis = disk(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(diagnosis.detail.ends_with("GiB free"), "{}", diagnosis.detail);
    }
}
