//! Compiles CUDA source to device code for one GPU generation, by NVRTC, and caches it on disk.
#![allow(unsafe_code, reason = "calls NVRTC")]

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;

use cudarc::nvrtc::result::{self, NvrtcError};
use cudarc::nvrtc::sys;
use thiserror::Error;

use super::libraries;
use crate::cache::ChecksummedFolder;
use crate::digest::sha256;

/// A GPU generation, by its compute capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GpuArchitecture {
    /// Major number of the compute capability.
    pub major: u32,
    /// Minor number of the compute capability.
    pub minor: u32,
}

impl GpuArchitecture {
    /// The generations that the tests compile the kernels for: A100; A10; L4; H100 and H200; RTX 50.
    #[cfg(test)]
    pub const TESTED: [GpuArchitecture; 5] = [
        GpuArchitecture { major: 8, minor: 0 },
        GpuArchitecture { major: 8, minor: 6 },
        GpuArchitecture { major: 8, minor: 9 },
        GpuArchitecture { major: 9, minor: 0 },
        GpuArchitecture { major: 12, minor: 0 },
    ];

    /// The oldest generation that has the kernels' instructions: BF16 products and asynchronous copies.
    pub const OLDEST: GpuArchitecture = GpuArchitecture { major: 8, minor: 0 };

    /// Whether the GPU has `wgmma`. Only compute capability 9.0 has it.
    pub fn has_warpgroup_products(self) -> bool {
        (self.major, self.minor) == (9, 0)
    }

    /// Whether a kernel may be scheduled before its predecessors have ended (programmatic dependent launch).
    pub fn overlaps_launches(self) -> bool {
        self.major >= 9
    }

    /// The compiler's option. It is `sm_90a` where the kernels use `wgmma`.
    fn option(self) -> String {
        let specific = if self.has_warpgroup_products() { "a" } else { "" };
        format!("--gpu-architecture=sm_{}{}{specific}", self.major, self.minor)
    }
}

/// What one kernel needs of a multiprocessor, as the assembler reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelResources {
    /// Name of the kernel.
    pub kernel: String,
    /// Registers per thread.
    pub registers: u32,
    /// Bytes of register spills, stored and loaded.
    pub spilled_bytes: u32,
}

/// Device code for one GPU generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cubin {
    pub bytes: Vec<u8>,
}

/// Why source was not compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// NVRTC cannot be loaded.
    #[error("{0}")]
    Unavailable(String),
    /// The compiler refused the source.
    #[error("NVRTC refuses {unit}: {log}")]
    Refused {
        /// Name of the translation unit.
        unit: String,
        /// The compiler's messages.
        log: String,
    },
}

/// A translation unit: the source of kernels and the lines that define instances of them.
#[derive(Debug, Clone)]
pub(super) struct TranslationUnit {
    /// Name for messages.
    pub name: &'static str,
    pub source: String,
}

/// Compiles translation units. It reuses what an earlier process compiled from the same source, for the same generation
/// and with the same compiler.
#[derive(Debug)]
pub(super) struct Compiler {
    architecture: GpuArchitecture,
    cache: Option<ChecksummedFolder>,
}

impl Compiler {
    /// A compiler for a generation that caches device code in `cache`, or nowhere.
    pub fn new(architecture: GpuArchitecture, cache: Option<ChecksummedFolder>) -> Self {
        Compiler { architecture, cache }
    }

    /// Device code of `unit`.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn cubin(&self, unit: &TranslationUnit) -> Result<Cubin, CompileError> {
        let compiler = libraries::nvrtc().map_err(CompileError::Unavailable)?;
        let parts = [&compiler.version, &self.architecture.option(), &OPTIONS.join(" "), &unit.source];
        let name = sha256(parts.map(|part| format!("{}\n{part}", part.len())).concat().as_bytes());
        if let Some(bytes) = self.cache.as_ref().and_then(|cache| cache.read(&name)) {
            return Ok(Cubin { bytes });
        }
        let (cubin, _) = compile(unit, self.architecture)?;
        // A cache is a convenience: code that cannot be cached is used anyway.
        let _ = self.cache.as_ref().map(|cache| cache.write(&name, &cubin.bytes));
        Ok(cubin)
    }
}

/// No fast-math: the study is about rounding, and fast-math flushes subnormals and approximates divisions. Line numbers
/// make the output of compute-sanitizer readable and cost nothing.
const OPTIONS: [&str; 4] = ["--std=c++17", "--ptxas-options=-v", "--fmad=true", "--generate-line-info"];

/// Device code of `unit` for a generation, and what its kernels need of a multiprocessor.
///
/// # Errors
/// [`CompileError`].
pub(super) fn compile(
    unit: &TranslationUnit,
    architecture: GpuArchitecture,
) -> Result<(Cubin, Vec<KernelResources>), CompileError> {
    libraries::nvrtc().map_err(CompileError::Unavailable)?;
    let refused = |log: String| CompileError::Refused { unit: unit.name.to_owned(), log };
    let text = |text: &str| CString::new(text).map_err(|error| refused(error.to_string()));
    let (source, name) = (text(&unit.source)?, text(&format!("{}.cu", unit.name))?);
    let options = OPTIONS.map(str::to_owned).into_iter().chain([architecture.option()]);
    let options = options.map(|option| text(&option)).collect::<Result<Vec<_>, _>>()?;
    let program = NvrtcProgram::new(&source, &name).map_err(|error| refused(error.to_string()))?;
    let compiled = program.compile(&options);
    let log = program.log();
    compiled.map_err(|error| refused(format!("{error}\n{log}")))?;
    let bytes = program.cubin().map_err(|error| refused(error.to_string()))?;
    Ok((Cubin { bytes }, resources(&log)))
}

/// NVRTC's handle of a program. The source and the name outlive it.
struct NvrtcProgram<'a> {
    program: sys::nvrtcProgram,
    _source: PhantomData<&'a CStr>,
}

impl<'a> NvrtcProgram<'a> {
    fn new(source: &'a CStr, name: &'a CStr) -> Result<Self, NvrtcError> {
        let program = result::create_program(source, Some(name))?;
        Ok(NvrtcProgram { program, _source: PhantomData })
    }

    fn compile(&self, options: &[CString]) -> Result<(), NvrtcError> {
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the program is live, and the options are strings that outlive the call.
        unsafe { sys::nvrtcCompileProgram(self.program, options.len() as i32, options.as_ptr()) }.result()
    }

    /// Messages of the compiler and the assembler.
    fn log(&self) -> String {
        // SAFETY: the program is live.
        let log = unsafe { result::get_program_log(self.program) }.unwrap_or_default();
        let bytes: Vec<u8> = log.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn cubin(&self) -> Result<Vec<u8>, NvrtcError> {
        let mut size = 0;
        // SAFETY: the program is live and has been compiled; the size goes to a live integer.
        unsafe { sys::nvrtcGetCUBINSize(self.program, &raw mut size) }.result()?;
        let mut bytes = vec![0u8; size];
        // SAFETY: the buffer has the size that the compiler has just named.
        unsafe { sys::nvrtcGetCUBIN(self.program, bytes.as_mut_ptr().cast()) }.result()?;
        Ok(bytes)
    }
}

impl Drop for NvrtcProgram<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new` and destroyed only here.
        let _ = unsafe { result::destroy_program(self.program) };
    }
}

/// Reads the assembler's report (`ptxas info`), a few lines per kernel.
fn resources(log: &str) -> Vec<KernelResources> {
    let mut kernels: Vec<KernelResources> = Vec::new();
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.push(KernelResources { kernel, registers: 0, spilled_bytes: 0 });
        }
        let Some(kernel) = kernels.last_mut() else { continue };
        if let Some(stores) = number_before(line, " bytes spill stores") {
            kernel.spilled_bytes = stores + number_before(line, " bytes spill loads").unwrap_or(0);
        }
        if let Some(registers) = number_before(line, " registers") {
            kernel.registers = registers;
        }
    }
    kernels
}

fn number_before(line: &str, words: &str) -> Option<u32> {
    line.split(words).next().filter(|before| before.len() < line.len())?.rsplit([' ', ',']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assemblers_report_is_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'one' for 'sm_80'\n\
            ptxas info    : Function properties for one\n\
            \x20   0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n\
            ptxas info    : Used 40 registers, used 1 barriers, 396 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'two' for 'sm_80'\n\
            \x20   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 12 registers, 396 bytes cmem[0]\n";
        let kernel = |kernel: &str, registers, spilled_bytes| KernelResources {
            kernel: kernel.to_owned(),
            registers,
            spilled_bytes,
        };
        assert_eq!(resources(log), [kernel("one", 40, 12), kernel("two", 12, 0)]);
    }

    #[test]
    fn wrong_source_is_refused_with_the_compilers_words() {
        let unit = TranslationUnit { name: "wrong", source: "__global__ void f() { undeclared; }".to_owned() };
        match compile(&unit, GpuArchitecture::OLDEST) {
            Err(CompileError::Refused { unit, log }) => {
                assert_eq!(unit, "wrong");
                assert!(log.contains("wrong.cu(1)") && log.contains("undeclared"), "{log}");
            }
            Err(CompileError::Unavailable(reason)) => crate::skip::skip(reason),
            Ok(_) => panic!("that compiled"),
        }
    }
}
