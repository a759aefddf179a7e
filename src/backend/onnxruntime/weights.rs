//! A model's weights as ONNX Runtime's tensors in the formats of one policy. They are read once and shared by the sessions of
//! all shapes.

use std::sync::Arc;

use bytemuck::pod_collect_to_vec;
use half::{bf16, f16};
use ort::session::builder::SessionBuilder;
use ort::value::{DynValue, Tensor};

use super::export_failure;
use super::runtime::failure;
use crate::engine::BackendError;
use crate::onnx::{DataType, Export, Initializer};

/// Initializers by name. Sessions refer to them and do not copy them.
#[derive(Debug)]
pub(super) struct SessionWeights {
    tensors: Vec<(String, Arc<DynValue>)>,
    bytes: u64,
}

impl SessionWeights {
    /// Reads every initializer of the export; they do not depend on its shape.
    ///
    /// # Errors
    /// [`BackendError::Model`] when the checkpoint cannot be read, others when the library refuses a tensor.
    pub fn load(export: &Export<'_>) -> Result<Self, BackendError> {
        let mut weights = SessionWeights { tensors: Vec::new(), bytes: 0 };
        for initializer in export.initializers() {
            let bytes = initializer.bytes().map_err(export_failure)?;
            weights.bytes += bytes.len() as u64;
            let tensor = tensor(initializer, &bytes).map_err(failure)?;
            weights.tensors.push((initializer.name().to_owned(), Arc::new(tensor)));
        }
        Ok(weights)
    }

    /// Bytes of all weights.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the weights to a session that is being built.
    pub fn give(&self, mut session: SessionBuilder) -> Result<SessionBuilder, BackendError> {
        for (name, tensor) in &self.tensors {
            let given = session.with_external_initializer(name, Arc::clone(tensor));
            session = given.map_err(|error| failure(error.into()))?;
        }
        Ok(session)
    }
}

/// A tensor that owns its elements, in host order.
fn tensor(initializer: &Initializer<'_>, bytes: &[u8]) -> ort::Result<DynValue> {
    let dims = initializer.dims();
    Ok(match initializer.element() {
        DataType::Fp64 => Tensor::from_array((dims, pod_collect_to_vec::<u8, f64>(bytes)))?.into_dyn(),
        DataType::Fp32 => Tensor::from_array((dims, pod_collect_to_vec::<u8, f32>(bytes)))?.into_dyn(),
        DataType::Bf16 => Tensor::from_array((dims, pod_collect_to_vec::<u8, bf16>(bytes)))?.into_dyn(),
        DataType::Fp16 => Tensor::from_array((dims, pod_collect_to_vec::<u8, f16>(bytes)))?.into_dyn(),
        DataType::Int64 => Tensor::from_array((dims, pod_collect_to_vec::<u8, i64>(bytes)))?.into_dyn(),
        DataType::Int32 => Tensor::from_array((dims, pod_collect_to_vec::<u8, i32>(bytes)))?.into_dyn(),
        DataType::Bool => {
            Tensor::from_array((dims, bytes.iter().map(|&byte| byte != 0).collect::<Vec<_>>()))?.into_dyn()
        }
    })
}
