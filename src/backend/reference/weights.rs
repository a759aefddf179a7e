//! Parameters rounded to the formats a policy reads them in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::kernels::Kernels;
use super::product::{Layout, panels};
use super::rounding::round_to;
use crate::engine::BackendError;
use crate::graph::cost::param_formats;
use crate::graph::{Format, ParamId, PrecisionPolicy};
use crate::model::Model;

/// A parameter in a format: the same tensor may be wanted in two.
type Key = (usize, Format);

/// Parameters rounded to the formats a policy reads them in, shared by the programs of all shapes.
#[derive(Debug, Default)]
pub(super) struct Weights<T> {
    tensors: BTreeMap<Key, Stored<T>>,
}

/// A parameter as it lies in memory.
#[derive(Debug)]
struct Stored<T> {
    values: Vec<T>,
    layout: Layout,
}

impl<T: Kernels> Weights<T> {
    /// Reads the model tensor by tensor, so that no more than one tensor is held beside the result.
    pub fn load(model: &Model, policy: &PrecisionPolicy) -> Result<Self, BackendError> {
        let mut tensors = BTreeMap::new();
        for (op, rounding) in model.graph.ops.iter().zip(model.graph.roundings(policy)?) {
            for (id, format) in param_formats(op, rounding) {
                if let Entry::Vacant(entry) = tensors.entry((id.0, format)) {
                    let mut values = T::carry(model.param(id)?);
                    round_to(format, &mut values);
                    let layout = if model.graph.is_product_weight(id) { Layout::Panels } else { Layout::Rows };
                    if layout == Layout::Panels {
                        values = panels(&values, model.graph.param(id).dims[1]);
                    }
                    entry.insert(Stored { values, layout });
                }
            }
        }
        Ok(Weights { tensors })
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| std::mem::size_of_val(tensor.values.as_slice()) as u64).sum()
    }

    /// A parameter that `load` has prepared.
    pub fn get(&self, id: ParamId, format: Format) -> &[T] {
        // `load` walked the same ops with the same policy.
        self.tensors.get(&(id.0, format)).map_or(&[], |tensor| tensor.values.as_slice())
    }

    /// How the values of [`Weights::get`] lie in memory.
    pub fn layout(&self, id: ParamId, format: Format) -> Layout {
        self.tensors.get(&(id.0, format)).map_or(Layout::Rows, |tensor| tensor.layout)
    }
}
