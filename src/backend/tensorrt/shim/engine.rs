//! A deserialised engine of TensorRT.

use std::ffi::{CString, c_void};
use std::ptr::null_mut;

use super::super::binding::{Executable, TensorType};
use super::super::memory::Allocator;
use super::interface::{Memory, Opaque, Tensor};
use super::network::ShimBytes;
use super::{Shim, data_type};

/// An engine.
pub(super) struct ShimEngine {
    shim: &'static Shim,
    engine: *mut Opaque,
    /// Outlives the engine, which frees its memory through it.
    _allocator: Box<Allocator>,
}

impl ShimEngine {
    /// Deserialises an engine.
    ///
    /// # Errors
    /// One sentence; the library's own are in its messages.
    pub fn load(shim: &'static Shim, bytes: &[u8], allocator: Allocator) -> Result<ShimEngine, String> {
        let allocator = Box::new(allocator);
        let memory = Memory { user: (&raw const *allocator).cast_mut().cast(), allocate, release };
        // SAFETY: the library is live, the bytes outlive the call, and the shim copies `memory`, whose allocator outlives
        // the engine.
        let engine = unsafe {
            (shim.functions.load)(shim.library, bytes.as_ptr().cast(), bytes.len() as u64, &raw const memory)
        };
        match engine.is_null() {
            true => Err("TensorRT does not load the engine".to_owned()),
            false => Ok(ShimEngine { shim, engine, _allocator: allocator }),
        }
    }
}

impl Executable for ShimEngine {
    fn tensor(&self, name: &str) -> Result<TensorType, String> {
        let mut tensor = Tensor::default();
        let text = CString::new(name).map_err(|error| error.to_string())?;
        // SAFETY: the engine is live, the name ends in a zero, and `tensor` is written to.
        let found = unsafe { (self.shim.functions.tensor)(self.engine, text.as_ptr(), &raw mut tensor) };
        if found == 0 {
            return Err(format!("the engine has no input or output `{name}`"));
        }
        let dims = tensor.dims.iter().take(usize::try_from(tensor.rank).unwrap_or(0));
        Ok(TensorType { element: data_type(tensor.data_type), elements: dims.product() })
    }

    fn layers_json(&self) -> Result<String, String> {
        // SAFETY: the engine is live.
        let json = ShimBytes::own(self.shim, unsafe { (self.shim.functions.layers)(self.engine) });
        let json = json.ok_or("TensorRT does not list the engine's layers")?;
        Ok(String::from_utf8_lossy(json.as_ref()).into_owned())
    }

    fn create_context(&mut self, _code: Option<&[u8]>) -> Result<(), String> {
        // SAFETY: the engine is live.
        let created = unsafe { (self.shim.functions.create_context)(self.engine) };
        done(created, "create an execution context")
    }

    unsafe fn set_address(&mut self, name: &str, address: u64) -> Result<(), String> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        // SAFETY: the engine is live; of the address the caller knows what this function asks.
        let set = unsafe { (self.shim.functions.set_address)(self.engine, name.as_ptr(), address as *mut c_void) };
        done(set, "set an address")
    }

    unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), String> {
        // SAFETY: the engine is live; of the stream the caller knows what this function asks.
        let enqueued = unsafe { (self.shim.functions.enqueue)(self.engine, stream) };
        done(enqueued, "start a forward pass")
    }
}

impl Drop for ShimEngine {
    fn drop(&mut self) {
        // SAFETY: the engine is live and freed once, with its context.
        unsafe { (self.shim.functions.free_engine)(self.engine) }
    }
}

fn done(result: i32, what: &str) -> Result<(), String> {
    if result == 0 { Err(format!("TensorRT does not {what}")) } else { Ok(()) }
}

/// The allocator that `load` has passed, which outlives the engine.
fn allocator<'a>(user: *mut c_void) -> &'a Allocator {
    // SAFETY: the shim returns the pointer it was given, as long as the engine lives.
    unsafe { &*user.cast::<Allocator>() }
}

extern "C" fn allocate(user: *mut c_void, bytes: u64) -> *mut c_void {
    // The memory can be used at once, whatever a stream still has to do.
    allocator(user).allocate(bytes).map_or(null_mut(), |address| address as *mut c_void)
}

extern "C" fn release(user: *mut c_void, memory: *mut c_void, stream: *mut c_void) -> i32 {
    i32::from(allocator(user).free(memory as u64, stream.cast()))
}
