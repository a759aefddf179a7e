//! Faults in pinned things: changed bytes in a library, other libraries, changed and removed pin files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Mutation, Objection, SelftestError, Variant};
use crate::engine::BackendKind;
use crate::libraries::Pin;
use crate::libraries::pins::PinFile;
use crate::provenance::{BuildInfo, Drift, Gpu, drift, pin_digests};

pub(super) fn mutations() -> Vec<Mutation> {
    let mut mutations = vec![
        Mutation::new("library", "a changed byte in a pinned library", changed_library),
        Mutation::new("libraries loaded", "a library that the backend did not load", stranger),
        Mutation::new("driver", "a driver older than CUDA 13", old_driver),
        Mutation::new("build", "a build of changed files", changed_build),
        Mutation::new("recorded digest", "one hash changed in flake.lock before the build", changed_before_the_build),
    ];
    for (file, changed, removed) in [
        (PinFile::Wheels, "one hash changed in container/wheels.json", "container/wheels.json removed"),
        (PinFile::Flake, "one hash changed in flake.lock", "flake.lock removed"),
        (PinFile::Crates, "one hash changed in Cargo.lock", "Cargo.lock removed"),
    ] {
        mutations
            .push(Mutation::new("file of pins", changed, move |root, variant| pin_file(root, file, variant, change)));
        mutations
            .push(Mutation::new("file of pins", removed, move |root, variant| pin_file(root, file, variant, remove)));
    }
    mutations
}

fn text(drift: &[Drift]) -> Option<String> {
    (!drift.is_empty()).then(|| drift::stamp(drift))
}

/// The digest of `abc`: FIPS 180-2, appendix B.1.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn changed_library(folder: &Path, variant: Variant) -> Objection {
    let path = folder.join("libonnxruntime.so.1");
    fs::write(&path, if variant.is_mutated() { "abd" } else { "abc" })?;
    let pin = Pin { version: "1", file: "libonnxruntime.so.1", path: path.clone(), bytes: 3, sha256: ABC };
    Ok(drift::of_bytes(&path, &pin).map(|drift| drift.to_string()))
}

fn stranger(folder: &Path, variant: Variant) -> Objection {
    let [driver, stranger] = ["libcuda.so.1", "libcublasLt.so.13"].map(|name| folder.join(name));
    for path in [&driver, &stranger] {
        fs::write(path, "abc")?;
    }
    let mut mapped = BTreeSet::from([driver]);
    if variant.is_mutated() {
        mapped.insert(stranger);
    }
    Ok(text(&drift::of_libraries(BackendKind::Reference, &mapped)))
}

fn old_driver(_folder: &Path, variant: Variant) -> Objection {
    let driver = if variant.is_mutated() { "570.86.10" } else { "580.65.06" };
    let gpu = Gpu::bare("GPU", Some(driver.to_owned()));
    Ok(drift::of_driver(&[gpu]).map(|drift| drift.to_string()))
}

fn changed_build(_folder: &Path, variant: Variant) -> Objection {
    let build = BuildInfo { commit: Some("0".repeat(40)), dirty: Some(variant.is_mutated()), ..BuildInfo::current() };
    Ok(drift::of_build(&build).map(|drift| drift.to_string()))
}

fn changed_before_the_build(folder: &Path, variant: Variant) -> Objection {
    let path = folder.join("flake.lock");
    fs::write(&path, PinFile::Flake.compiled_in())?;
    if variant.is_mutated() {
        change(&path)?;
    }
    Ok(pin_digests::of_file(PinFile::Flake.path(), &fs::read(&path)?).map(|drift| drift.to_string()))
}

fn pin_file(root: &Path, file: PinFile, variant: Variant, tamper: fn(&Path) -> Result<(), SelftestError>) -> Objection {
    let path = root.join(file.path());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, file.compiled_in())?;
    if variant.is_mutated() {
        tamper(&path)?;
    }
    Ok(text(&drift::of_pin_file(root, file)))
}

fn remove(path: &Path) -> Result<(), SelftestError> {
    Ok(fs::remove_file(path)?)
}

/// Changes a digit in the first hash, a word of 40 or more hexadecimal characters.
fn change(path: &Path) -> Result<(), SelftestError> {
    let text = fs::read_to_string(path)?;
    let is_hash = |word: &&str| word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(hash) = text.split('"').find(is_hash) else {
        return Err(SelftestError::Unexpected(format!("{} has no hash", path.display())));
    };
    let other = format!("{}{}", if hash.starts_with('0') { '1' } else { '0' }, &hash[1..]);
    Ok(fs::write(path, text.replacen(hash, &other, 1))?)
}
