//! A second name for a library that is open.
//!
//! cudarc asks the dynamic loader for `libnvrtc.so` before `libnvrtc.so.13`, and a machine with a CUDA toolkit has a file
//! of that name, of whatever version. The loader does not search for a name that a loaded library gives itself (its
//! SONAME), so a library that says it is `libnvrtc.so`, holds nothing, and needs the file that was chosen, leads cudarc
//! to that file: symbols are looked up in what a library needs as well. Such a library is 512 bytes of ELF, written here
//! into memory.

use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Lets `name` stand for the library at `path`, an absolute path, for as long as this process lives. Where that is not
/// possible nothing happens: the caller looks what the name stands for in the end.
pub(super) fn bind(name: &CStr, path: &Path) {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return };
    let Some(image) = image(name, &path) else { return };
    let Ok(memory) = rustix::fs::memfd_create(c"mixprec", rustix::fs::MemfdFlags::CLOEXEC) else { return };
    let mut file = std::fs::File::from(memory);
    if file.write_all(&image).is_err() {
        return;
    }
    let place = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the library has no code, so nothing runs but that of the one it needs, which is open already.
    if let Ok(library) = unsafe { Library::open(Some(place), RTLD_NOW | RTLD_LOCAL) } {
        std::mem::forget(library);
    }
    // The loader knows the library by this path now, so the number must not come to mean another file.
    std::mem::forget(file);
}

// Numbers of elf.h.
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_SONAME: u64 = 14;

const HEADER_BYTES: u64 = 64;
const SEGMENT_BYTES: u64 = 56;
const SEGMENTS: u64 = 3;
const ENTRY_BYTES: u64 = 16;
const ENTRIES: u64 = 8;
const SYMBOL_BYTES: u64 = 24;
/// A table of one bucket and one symbol, neither of which leads anywhere: four words.
const HASH_BYTES: u64 = 16;

// Where the parts lie, in the file as in memory.
const DYNAMIC: u64 = HEADER_BYTES + SEGMENTS * SEGMENT_BYTES;
const SYMBOLS: u64 = DYNAMIC + ENTRIES * ENTRY_BYTES;
const HASH: u64 = SYMBOLS + SYMBOL_BYTES;
const STRINGS: u64 = HASH + HASH_BYTES;

/// A 64-bit little-endian ELF library named `name` that needs the one at `path` and holds nothing. `None` where the
/// processor is neither of those CUDA runs beside.
fn image(name: &CStr, path: &CStr) -> Option<Vec<u8>> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => EM_X86_64,
        "aarch64" => EM_AARCH64,
        _ => return None,
    };
    let strings = [&[0], path.to_bytes_with_nul(), name.to_bytes_with_nul()].concat();
    let (path_at, name_at) = (1, 1 + path.to_bytes_with_nul().len() as u64);
    let strings_bytes = strings.len() as u64;
    let bytes = STRINGS + strings_bytes;
    let mut elf = Image(Vec::with_capacity(bytes as usize));
    elf.header(machine);
    elf.segment(PT_LOAD, 0, bytes, 1 << 16);
    elf.segment(PT_DYNAMIC, DYNAMIC, ENTRIES * ENTRY_BYTES, 8);
    // Without this one the loader would make the stack executable.
    elf.segment(PT_GNU_STACK, 0, 0, 16);
    let entries: [(u64, u64); ENTRIES as usize] = [
        (DT_NEEDED, path_at),
        (DT_SONAME, name_at),
        (DT_HASH, HASH),
        (DT_SYMTAB, SYMBOLS),
        (DT_SYMENT, SYMBOL_BYTES),
        (DT_STRTAB, STRINGS),
        (DT_STRSZ, strings_bytes),
        (DT_NULL, 0),
    ];
    for (tag, value) in entries {
        elf.put(&tag.to_le_bytes()).put(&value.to_le_bytes());
    }
    // The symbol that stands for none.
    elf.put(&[0; SYMBOL_BYTES as usize]);
    for word in [1_u32, 1, 0, 0] {
        elf.put(&word.to_le_bytes());
    }
    elf.put(&strings);
    Some(elf.0)
}

/// An ELF file as it grows.
struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// `Elf64_Ehdr`.
    fn header(&mut self, machine: u16) {
        // 64 bits, little-endian, version 1.
        self.put(b"\x7fELF\x02\x01\x01").put(&[0; 9]);
        self.put(&ET_DYN.to_le_bytes()).put(&machine.to_le_bytes()).put(&1_u32.to_le_bytes());
        // No entry point; segments follow; no sections.
        self.put(&0_u64.to_le_bytes()).put(&HEADER_BYTES.to_le_bytes()).put(&0_u64.to_le_bytes());
        self.put(&0_u32.to_le_bytes());
        for number in [HEADER_BYTES, SEGMENT_BYTES, SEGMENTS, 0, 0, 0] {
            self.put(&(number as u16).to_le_bytes());
        }
    }

    /// `Elf64_Phdr` of a segment that can be read and written: the loader turns its offsets into addresses.
    fn segment(&mut self, kind: u32, at: u64, bytes: u64, alignment: u64) {
        const READ_WRITE: u32 = 6;
        self.put(&kind.to_le_bytes()).put(&READ_WRITE.to_le_bytes());
        for number in [at, at, at, bytes, bytes, alignment] {
            self.put(&number.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A library with a function that returns this number; `None`, with the reason printed, without a C compiler.
    fn compiled(folder: &Path, name: &str, number: i32) -> Option<std::path::PathBuf> {
        let [code, library] = [folder.join(format!("{name}.c")), folder.join(format!("{name}.so.13"))];
        std::fs::write(&code, format!("int number(void) {{ return {number}; }}")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &code]);
        compiler.arg(format!("-Wl,-soname,{name}.so.13"));
        if !compiler.status().is_ok_and(|status| status.success()) {
            crate::skip::skip("no C compiler to make a library with");
            return None;
        }
        Some(library)
    }

    fn number(name: &str) -> Result<i32, libloading::Error> {
        // SAFETY: the library and its function are those compiled above.
        unsafe {
            let library = Library::open(Some(name), RTLD_NOW)?;
            Ok(library.get::<unsafe extern "C" fn() -> i32>(c"number")?())
        }
    }

    #[test]
    fn a_bare_name_leads_to_the_chosen_file() {
        let folder = tempfile::tempdir().unwrap();
        let Some(library) = compiled(folder.path(), "libmixprec-alias-test", 41) else { return };
        let Some(other) = compiled(folder.path(), "libmixprec-other-test", 42) else { return };
        assert!(number("libmixprec-alias-test.so").is_err(), "nothing of that name is there yet");
        // SAFETY: as above; it stays open as the libraries of CUDA do.
        std::mem::forget(unsafe { Library::open(Some(&library), RTLD_NOW | RTLD_LOCAL) }.unwrap());
        assert!(number("libmixprec-alias-test.so").is_err(), "its own name has a version");
        bind(c"libmixprec-alias-test.so", &library);
        assert_eq!(number("libmixprec-alias-test.so").unwrap(), 41);
        assert_eq!(number("libmixprec-alias-test.so.13").unwrap(), 41);
        bind(c"libmixprec-other-test.so", &other);
        assert_eq!(number("libmixprec-other-test.so").unwrap(), 42, "a second name is another file");
    }

    #[test]
    fn a_file_that_is_not_there_gets_no_name() {
        bind(c"libmixprec-nowhere.so", Path::new("/nowhere/libmixprec-nowhere.so.13"));
        assert!(number("libmixprec-nowhere.so").is_err());
    }

    #[test]
    fn the_parts_lie_where_the_headers_say() {
        let image = image(c"NAME", c"PATH").unwrap();
        let word = |at: u64| {
            let at = at as usize;
            u64::from_le_bytes(image[at..at + 8].try_into().unwrap())
        };
        assert_eq!(word(HEADER_BYTES + 32), image.len() as u64, "the loaded segment is the whole file");
        assert_eq!((word(DYNAMIC), word(DYNAMIC + 8)), (DT_NEEDED, 1));
        assert_eq!(&image[STRINGS as usize..], b"\0PATH\0NAME\0");
        assert!(image.iter().skip(HASH as usize).take(16).eq(&[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    }
}
