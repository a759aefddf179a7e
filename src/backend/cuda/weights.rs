//! Parameters in device memory: one span that holds every parameter once per element type that a stage reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cudarc::driver::CudaContext;
use half::{bf16, f16};
use rayon::prelude::*;

use super::element::ElementType;
use super::memory::DeviceMemory;
use super::stage::WeightKey;
use crate::engine::BackendError;
use crate::graph::{Format, ParamId};
use crate::model::Model;

/// Alignment of every parameter, bytes.
const ALIGNMENT: usize = 256;

/// Parameters on the device.
#[derive(Debug)]
pub(super) struct DeviceWeights {
    memory: DeviceMemory,
    addresses: BTreeMap<WeightKey, u64>,
}

impl DeviceWeights {
    /// Reads, rounds and uploads the parameters of `keys`, one after the other.
    ///
    /// # Errors
    /// [`BackendError`]: a parameter cannot be read, or the device has no room.
    pub fn load(context: &Arc<CudaContext>, model: &Model, keys: &BTreeSet<WeightKey>) -> Result<Self, BackendError> {
        let mut offsets = BTreeMap::new();
        let mut bytes = 0;
        for key in keys {
            offsets.insert(*key, bytes);
            bytes += (elements(model, *key) * key.element.bytes()).next_multiple_of(ALIGNMENT);
        }
        let memory = DeviceMemory::take(context, bytes, "the weights")?;
        // Keys are ordered by parameter, so a parameter of two element types is read once.
        let mut last: Option<(usize, Vec<f32>)> = None;
        for (key, offset) in &offsets {
            let values = match last.take() {
                Some((param, values)) if param == key.param => values,
                _ => model.param(ParamId(key.param))?,
            };
            upload(&memory, *offset, *key, &values, elements(model, *key))?;
            last = Some((key.param, values));
        }
        let addresses = offsets.into_iter().map(|(key, offset)| (key, memory.address() + offset as u64)).collect();
        Ok(DeviceWeights { memory, addresses })
    }

    /// Size of the span, bytes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Address of every parameter.
    pub fn addresses(&self) -> &BTreeMap<WeightKey, u64> {
        &self.addresses
    }

    /// The span, for tests that write their own numbers there.
    #[cfg(test)]
    pub fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// Offset of every parameter in the span, bytes.
    #[cfg(test)]
    pub fn offsets(&self) -> impl Iterator<Item = (WeightKey, usize)> {
        let base = self.memory.address();
        self.addresses.iter().map(move |(key, address)| (*key, (address - base) as usize))
    }

    /// Whether the span holds all of `keys`.
    pub fn hold(&self, keys: &BTreeSet<WeightKey>) -> bool {
        keys.iter().all(|key| self.addresses.contains_key(key))
    }
}

/// Elements of a parameter, padding rows included.
fn elements(model: &Model, key: WeightKey) -> usize {
    let param = model.graph.param(ParamId(key.param));
    let columns = if param.dims.len() > 1 { param.elements() / param.dims[0].max(1) } else { 1 };
    key.rows * columns
}

fn upload(
    memory: &DeviceMemory,
    offset: usize,
    key: WeightKey,
    values: &[f32],
    elements: usize,
) -> Result<(), BackendError> {
    let padding = elements.saturating_sub(values.len());
    match key.element {
        ElementType::F32 => {
            let round = |x: f32| match key.format {
                Format::Fp16 => f16::from_f32(x).to_f32(),
                Format::Bf16 => bf16::from_f32(x).to_f32(),
                // TF32 products round their operands themselves.
                Format::Fp64 | Format::Fp32 | Format::Tf32 => x,
            };
            let mut rounded: Vec<f32> = values.par_iter().map(|&x| round(x)).collect();
            rounded.resize(rounded.len() + padding, 0.0);
            memory.fill(offset, &rounded)
        }
        ElementType::F16 => {
            let mut narrow: Vec<f16> = values.par_iter().map(|&x| f16::from_f32(x)).collect();
            narrow.resize(narrow.len() + padding, f16::ZERO);
            memory.fill(offset, &narrow)
        }
        ElementType::Bf16 => {
            let mut narrow: Vec<bf16> = values.par_iter().map(|&x| bf16::from_f32(x)).collect();
            narrow.resize(narrow.len() + padding, bf16::ZERO);
            memory.fill(offset, &narrow)
        }
    }
}
