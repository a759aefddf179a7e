//! The environment of a measurement. The parent process captures it once, names it by a hash and stores it next to the
//! results.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use super::build::BuildInfo;
use super::gpu::{self, Gpu};
use super::machine::{Cpu, Host};
use super::variables;
use crate::digest::sha256;
use crate::files::{FileError, JsonError, read_json};
use crate::json_diff::{Difference, differences};
use crate::libraries::loaded::{self, LoadedLibrary};

/// Name of the environments' folder inside a run's folder.
pub const FOLDER: &str = "environments";

/// Version of the hashed form. Raise it only when the meaning of a hashed field changes.
const ID_VERSION: u32 = 1;

/// The machine, software and settings of a measurement. It contains no host name, user name or path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The build of this binary.
    pub build: BuildInfo,
    /// Processor, memory, operating system.
    pub machine: Host,
    /// GPUs; empty without a driver.
    pub gpus: Vec<Gpu>,
    /// Inference libraries loaded dynamically; empty for the reference backend.
    pub libraries: Vec<LoadedLibrary>,
    /// Variables that can change a measurement, from a fixed list.
    pub variables: BTreeMap<String, String>,
    /// Hexadecimal SHA-256 of the manifest's bytes, where the environment belongs to a run.
    pub manifest_sha256: Option<String>,
}

/// An environment that could not be stored or read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum EnvironmentError {
    /// A file or folder could not be written.
    #[error("{path}: cannot write the environment: {source}; choose a writable folder with --out, or make room")]
    Write { path: PathBuf, source: io::Error },
    /// A file or folder could not be read.
    #[error("cannot read the environment: {0}")]
    Read(FileError),
    /// A file does not hold an environment.
    #[error("{path}: not an environment: {source}; delete the file and repeat the run to write it again")]
    Parse { path: PathBuf, source: serde_json::Error },
}

impl Environment {
    /// The environment of this process.
    pub fn capture() -> Self {
        let root = Path::new("/");
        Environment {
            build: BuildInfo::current(),
            machine: Host::probe(root),
            gpus: gpu::of_this_machine(),
            libraries: loaded::loaded(),
            variables: variables::of_this_process(),
            manifest_sha256: None,
        }
    }

    /// The same environment, as part of a run of the manifest with this digest.
    pub fn for_manifest(self, sha256: &str) -> Self {
        Environment { manifest_sha256: Some(sha256.to_owned()), ..self }
    }

    /// The environment's id, 16 hexadecimal digits. They begin the SHA-256 of a JSON object with the build, the
    /// processor, the operating system, the GPUs, the libraries and the variables.
    ///
    /// The manifest is left out, so that results of one machine join across manifests. The memory limit and the bytes
    /// below a whole GiB are left out too: they vary from boot to boot and change no time.
    pub fn id(&self) -> String {
        let Environment { build, machine, gpus, libraries, variables, manifest_sha256: _ } = self;
        let Host { cpu, memory_bytes, memory_limit_bytes: _, os, kernel, libc, container, virtual_machine } = machine;
        // Keys are sorted and there is no white space. Strings, integers and booleans have only one form.
        let identity = json!({
            "version": ID_VERSION,
            "build": build,
            "cpu": cpu,
            "memory_gib": memory_bytes.map(|bytes| bytes.div_ceil(1 << 30)),
            "os": os,
            "kernel": kernel,
            "libc": libc,
            "container": container,
            "virtual_machine": virtual_machine,
            "gpus": gpus,
            "libraries": libraries,
            "variables": variables,
        });
        sha256(identity.to_string().as_bytes())[..16].to_owned()
    }

    /// Differences between this environment and another one, in the order of their usual effect on times: GPUs,
    /// libraries, variables, machine, build. Whatever the id leaves out is left out here.
    pub fn differences(&self, other: &Environment) -> Vec<Difference> {
        let document = |environment: &Environment| {
            let machine = Host { memory_limit_bytes: None, ..environment.machine.clone() };
            let environment = Environment { manifest_sha256: None, machine, ..environment.clone() };
            serde_json::to_value(environment).unwrap_or_default()
        };
        let mut found = differences(&document(self), &document(other));
        let rank = |property: &str| {
            ["gpus", "libraries", "variables", "machine"].iter().position(|part| property.starts_with(part))
        };
        found.sort_by_key(|difference| rank(&difference.property).unwrap_or(usize::MAX));
        found
    }

    /// The same without what may differ between processes of one host: the manifest, the memory limit, and which of the host's
    /// CPUs and GPUs the process could use.
    pub fn of_host(&self) -> Environment {
        let cpu = Cpu { usable_cpus: None, ..self.machine.cpu.clone() };
        let machine = Host { cpu, memory_limit_bytes: None, ..self.machine.clone() };
        let mut variables = self.variables.clone();
        variables.remove("CUDA_VISIBLE_DEVICES");
        Environment { machine, variables, manifest_sha256: None, ..self.clone() }
    }

    /// Writes `DIR/environments/<id>.json` atomically and returns its path. Equal environments share one file.
    ///
    /// # Errors
    /// [`EnvironmentError::Write`] naming the file or folder.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, EnvironmentError> {
        self.write_as(dir, &self.id())
    }

    /// Like [`Environment::write`], under the id that the rows use. Another version of this program may have computed a
    /// different id.
    ///
    /// # Errors
    /// [`EnvironmentError::Write`] naming the file or folder.
    pub fn write_as(&self, dir: &Path, id: &str) -> Result<PathBuf, EnvironmentError> {
        let folder = dir.join(FOLDER);
        let path = folder.join(format!("{id}.json"));
        write_atomically(&folder, &path, self)
            .map_err(|source| EnvironmentError::Write { path: path.clone(), source })?;
        Ok(path)
    }

    /// Reads one environment.
    ///
    /// # Errors
    /// [`EnvironmentError`] naming the file.
    pub fn read(path: &Path) -> Result<Self, EnvironmentError> {
        read_json(path).map_err(|error| match error {
            JsonError::File(error) => EnvironmentError::Read(error),
            JsonError::Document(source) => EnvironmentError::Parse { path: path.to_owned(), source },
        })
    }

    /// All environments of the run in `dir`, by id. Empty when the run has stored none.
    ///
    /// # Errors
    /// [`EnvironmentError`] naming the first file that cannot be used.
    pub fn read_all(dir: &Path) -> Result<BTreeMap<String, Environment>, EnvironmentError> {
        let folder = dir.join(FOLDER);
        let unreadable = |source| EnvironmentError::Read(FileError::at(&folder)(source));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut environments = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                environments.insert(name, Environment::read(&path)?);
            }
        }
        Ok(environments)
    }
}

fn write_atomically(folder: &Path, path: &Path, environment: &Environment) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(environment)?;
    text.push(b'\n');
    if fs::read(path).is_ok_and(|stored| stored == text) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    // By default only the owner can read a temporary file, which would hide this file in a shared results folder.
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.prefix(".environment").tempfile_in(folder)?;
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed() -> Environment {
        let text = r#"{
            "build": {"version": "0.1.0", "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": false,
                "rustc": "rustc 1.89.0", "target": "x86_64-unknown-linux-gnu", "target_features": ["sse2"]},
            "machine": {"cpu": {"model": "Some CPU", "architecture": "x86_64", "physical_cores": 2, "logical_cpus": 4,
                "usable_cpus": 4, "features": ["avx2"], "governor": null, "smt": true},
                "memory_bytes": 25276063744, "memory_limit_bytes": null, "os": "Debian", "kernel": "6.1.0",
                "libc": "glibc 2.36", "container": null, "virtual_machine": false},
            "gpus": [], "libraries": [], "variables": {"OMP_NUM_THREADS": "2"}, "manifest_sha256": null}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_id_never_changes_by_accident() {
        // A new value here orphans every earlier result. Raise ID_VERSION deliberately.
        assert_eq!(fixed().id(), "d57dd5b8b97466e2");
    }

    #[test]
    fn the_id_follows_what_changes_a_measurement_and_nothing_else() {
        let base = fixed();
        let same = [
            base.clone().for_manifest("ab"),
            Environment { machine: Host { memory_limit_bytes: Some(1), ..base.machine.clone() }, ..base.clone() },
            Environment {
                machine: Host { memory_bytes: Some(25_276_063_744 - 4096), ..base.machine.clone() },
                ..base.clone()
            },
        ];
        for other in same {
            assert_eq!(other.id(), base.id());
        }
        let cpu = Cpu { usable_cpus: Some(1), ..base.machine.cpu.clone() };
        let different = [
            Environment { variables: BTreeMap::new(), ..base.clone() },
            Environment { build: BuildInfo { dirty: Some(true), ..base.build.clone() }, ..base.clone() },
            Environment { machine: Host { cpu, ..base.machine.clone() }, ..base.clone() },
            Environment { machine: Host { kernel: None, ..base.machine.clone() }, ..base.clone() },
        ];
        for other in different {
            assert_ne!(other.id(), base.id(), "{other:?}");
        }
    }

    #[test]
    fn written_twice_it_is_one_readable_file() {
        let dir = tempfile::tempdir().unwrap();
        let environment = Environment::capture().for_manifest("ab");
        let path = environment.write(dir.path()).unwrap();
        assert_eq!(environment.write(dir.path()).unwrap(), path);
        assert_eq!(path.file_stem().unwrap().to_str(), Some(environment.id().as_str()));
        let all = Environment::read_all(dir.path()).unwrap();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [(environment.id(), environment)]);
        assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 1, "a temporary file was left");
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o400, 0o400);
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Environment::read_all(dir.path()).unwrap().is_empty());
        fs::write(dir.path().join(FOLDER), "a file where the folder belongs").unwrap();
        let error = fixed().write(dir.path()).unwrap_err().to_string();
        assert!(error.contains(FOLDER) && error.contains("cannot write"), "{error}");
        let broken = dir.path().join("broken.json");
        fs::write(&broken, "{").unwrap();
        let error = Environment::read(&broken).unwrap_err().to_string();
        assert!(error.contains("broken.json: not an environment"), "{error}");
    }
}
