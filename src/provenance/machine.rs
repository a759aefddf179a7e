//! The host: processor, memory, operating system. The values come from /proc, /sys and /etc; on systems other than
//! Linux most of them are unknown.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Processor features that affect the speed or the accuracy of a matrix product. Others are not recorded.
const FEATURES: [&str; 19] = [
    "amx_bf16",
    "amx_int8",
    "amx_tile",
    "asimd",
    "asimdhp",
    "avx",
    "avx2",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "avx512f",
    "avx_vnni",
    "bf16",
    "f16c",
    "fma",
    "fphp",
    "i8mm",
    "sve",
    "sve2",
];

/// The processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Model name as the kernel prints it.
    pub model: Option<String>,
    /// Instruction set, e.g. `x86_64`.
    pub architecture: String,
    /// Cores over all sockets.
    pub physical_cores: Option<usize>,
    /// Hardware threads over all sockets.
    pub logical_cpus: Option<usize>,
    /// Hardware threads that this process may use, after affinity and container quota.
    pub usable_cpus: Option<usize>,
    /// Features that affect matrix products, sorted.
    pub features: Vec<String>,
    /// Frequency governor of the first core; `None` where the host hides it (virtual machines).
    pub governor: Option<String>,
    /// Whether simultaneous multithreading is on.
    pub smt: Option<bool>,
}

/// The machine and its operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Processor.
    pub cpu: Cpu,
    /// Physical memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Memory limit of the control group, bytes; `None` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Operating system, e.g. `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// C library and version, e.g. `glibc 2.36`.
    pub libc: Option<String>,
    /// Container runtime that was detected, e.g. `docker`; `None` outside a container.
    pub container: Option<String>,
    /// Whether the processor reports a hypervisor.
    pub virtual_machine: Option<bool>,
}

impl Host {
    /// Reads the host whose file system starts at `root` (`/`).
    pub fn probe(root: &Path) -> Self {
        let cpuinfo = read(root, "proc/cpuinfo").unwrap_or_default();
        Host {
            virtual_machine: field(&cpuinfo, "flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            cpu: Cpu::probe(root, &cpuinfo),
            memory_bytes: read(root, "proc/meminfo").and_then(|text| kibibytes(&text, "MemTotal")),
            memory_limit_bytes: read(root, "sys/fs/cgroup/memory.max").and_then(|limit| limit.parse().ok()),
            os: read(root, "etc/os-release")
                .and_then(|text| os_name(&text))
                .unwrap_or_else(|| std::env::consts::OS.to_owned()),
            kernel: read(root, "proc/sys/kernel/osrelease"),
            libc: libc_version(),
            container: container(root),
        }
    }
}

impl Cpu {
    fn probe(root: &Path, cpuinfo: &str) -> Self {
        let flags = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features")).unwrap_or_default();
        let logical = cpuinfo.lines().filter(|line| key_of(line) == Some("processor")).count();
        Cpu {
            model: field(cpuinfo, "model name").map(str::to_owned),
            architecture: std::env::consts::ARCH.to_owned(),
            physical_cores: physical_cores(cpuinfo),
            logical_cpus: (logical > 0).then_some(logical),
            usable_cpus: std::thread::available_parallelism().ok().map(usize::from),
            features: FEATURES
                .iter()
                .filter(|name| flags.split(' ').any(|flag| flag == **name))
                .map(|&name| name.to_owned())
                .collect(),
            governor: read(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            smt: read(root, "sys/devices/system/cpu/smt/active").map(|active| active == "1"),
        }
    }
}

fn read(root: &Path, path: &str) -> Option<String> {
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn key_of(line: &str) -> Option<&str> {
    line.split_once(':').map(|(key, _)| key.trim())
}

/// First value of `key` in lines of the form `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| key_of(line) == Some(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// Number of distinct pairs of socket and core. Unknown on kernels that number neither, such as many ARM ones.
fn physical_cores(cpuinfo: &str) -> Option<usize> {
    let cores: BTreeSet<(&str, &str)> = cpuinfo
        .split("\n\n")
        .filter_map(|block| Some((field(block, "physical id").unwrap_or("0"), field(block, "core id")?)))
        .collect();
    (!cores.is_empty()).then_some(cores.len())
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let number: u64 = field(text, key)?.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

fn os_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

/// Unknown on systems without `GNU_LIBC_VERSION`, whose C library is not glibc.
fn libc_version() -> Option<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|version| !version.is_empty())
}

fn container(root: &Path) -> Option<String> {
    // systemd's container interface: the container manager writes its name there.
    if let Some(name) = read(root, "run/systemd/container") {
        return Some(name);
    }
    for (mark, name) in [(".dockerenv", "docker"), ("run/.containerenv", "podman")] {
        if root.join(mark).exists() {
            return Some(name.to_owned());
        }
    }
    let groups = read(root, "proc/1/cgroup").unwrap_or_default();
    ["kubepods", "docker", "lxc"].into_iter().find(|name| groups.contains(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two cores with two threads each, as an x86 kernel prints them.
    const CPUINFO: &str = "processor\t: 0\nmodel name\t: Some CPU\nphysical id\t: 0\ncore id\t: 0\n\
        flags\t\t: fpu sse2 avx avx2 fma f16c hypervisor avx512f\n\n\
        processor\t: 1\nphysical id\t: 0\ncore id\t: 1\n\nprocessor\t: 2\nphysical id\t: 0\ncore id\t: 0\n\n\
        processor\t: 3\nphysical id\t: 0\ncore id\t: 1\n";

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_whole_machine_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "proc/cpuinfo", CPUINFO);
        put(root, "proc/meminfo", "MemTotal:       24683656 kB\nMemFree: 1 kB\n");
        put(root, "sys/fs/cgroup/memory.max", "1073741824\n");
        put(root, "etc/os-release", "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        put(root, "proc/sys/kernel/osrelease", "6.1.0\n");
        put(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
        put(root, "sys/devices/system/cpu/smt/active", "1\n");
        put(root, ".dockerenv", "");
        let machine = Host::probe(root);
        assert_eq!(machine.cpu.model.as_deref(), Some("Some CPU"));
        assert_eq!((machine.cpu.physical_cores, machine.cpu.logical_cpus), (Some(2), Some(4)));
        assert_eq!(machine.cpu.features, ["avx", "avx2", "avx512f", "f16c", "fma"]);
        assert_eq!((machine.cpu.governor.as_deref(), machine.cpu.smt), (Some("performance"), Some(true)));
        assert_eq!(machine.memory_bytes, Some(24_683_656 * 1024));
        assert_eq!(machine.memory_limit_bytes, Some(1 << 30));
        assert_eq!(machine.os, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!((machine.container.as_deref(), machine.virtual_machine), (Some("docker"), Some(true)));
    }

    #[test]
    fn what_is_not_there_is_unknown_and_not_zero() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "sys/fs/cgroup/memory.max", "max\n");
        let machine = Host::probe(folder.path());
        assert_eq!((machine.cpu.model, machine.cpu.physical_cores, machine.cpu.logical_cpus), (None, None, None));
        assert_eq!((machine.cpu.governor, machine.cpu.smt), (None, None));
        assert_eq!((machine.memory_bytes, machine.memory_limit_bytes), (None, None));
        assert_eq!((machine.kernel, machine.container, machine.virtual_machine), (None, None, None));
        assert_eq!(machine.os, std::env::consts::OS);
    }

    #[test]
    fn arm_features_count_and_unnumbered_cores_are_unknown() {
        let text = "processor\t: 0\nFeatures\t: fp asimd asimdhp bf16 sve\n\nprocessor\t: 1\n";
        let cpu = Cpu::probe(Path::new("/nowhere"), text);
        assert_eq!(cpu.features, ["asimd", "asimdhp", "bf16", "sve"]);
        assert_eq!((cpu.physical_cores, cpu.logical_cpus), (None, Some(2)));
    }

    #[test]
    fn a_kubernetes_group_is_a_container() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "proc/1/cgroup", "0::/kubepods/besteffort/pod1\n");
        assert_eq!(container(folder.path()).as_deref(), Some("kubepods"));
        assert!(FEATURES.is_sorted());
    }
}
