//! Parameters, rounded to the formats in which a policy reads them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::kernels::Kernels;
use super::product::{WeightLayout, panels};
use super::rounding::round_to;
use crate::engine::BackendError;
use crate::graph::cost::param_formats;
use crate::graph::{Format, ParamId, PrecisionPolicy};
use crate::model::Model;

/// A parameter in a format. Two operations may read one parameter in two formats.
type ParamKey = (usize, Format);

/// Parameters rounded to the formats in which a policy reads them. The programs of all shapes share them.
#[derive(Debug, Clone, Default)]
pub(super) struct RoundedWeights<T> {
    tensors: BTreeMap<ParamKey, Arc<RoundedParam<T>>>,
}

/// A rounded parameter and its layout in memory.
#[derive(Debug)]
struct RoundedParam<T> {
    values: Vec<T>,
    layout: WeightLayout,
}

impl<T: Kernels> RoundedWeights<T> {
    /// Reads the model tensor by tensor, so that at most one tensor is in memory in addition to the result. Those that
    /// `known`, of the same model, has in the same format are shared with it; it keeps no others.
    pub fn load(model: &Model, policy: &PrecisionPolicy, mut known: Self) -> Result<Self, BackendError> {
        let mut wanted = BTreeMap::new();
        for (op, rounding) in model.graph.ops.iter().zip(model.graph.roundings(policy)?) {
            wanted.extend(param_formats(op, rounding).into_iter().map(|(id, format)| ((id.0, format), id)));
        }
        known.tensors.retain(|key, _| wanted.contains_key(key));
        for (key, id) in wanted {
            if let Entry::Vacant(entry) = known.tensors.entry(key) {
                let mut values = T::carry(model.param(id)?);
                round_to(key.1, &mut values);
                let layout = if model.graph.is_product_weight(id) { WeightLayout::Panels } else { WeightLayout::Rows };
                if layout == WeightLayout::Panels {
                    values = panels(&values, model.graph.param(id).dims[1]);
                }
                entry.insert(Arc::new(RoundedParam { values, layout }));
            }
        }
        Ok(known)
    }

    /// Size of all values, bytes.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| std::mem::size_of_val(tensor.values.as_slice()) as u64).sum()
    }

    /// A parameter that `load` has prepared.
    pub fn get(&self, id: ParamId, format: Format) -> &[T] {
        // `load` walked the same ops with the same policy.
        self.tensors.get(&(id.0, format)).map_or(&[], |tensor| tensor.values.as_slice())
    }

    /// The memory layout of the values of [`RoundedWeights::get`].
    pub fn layout(&self, id: ParamId, format: Format) -> WeightLayout {
        self.tensors.get(&(id.0, format)).map_or(WeightLayout::Rows, |tensor| tensor.layout)
    }
}
