//! A fake engine.
use super::{Backend, BackendError, BackendKind, BuildRequest, Engine};

/// Stub.
#[derive(Debug)]
pub struct ReferenceBackend;
impl Backend for ReferenceBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Reference
    }
    fn availability(&self) -> Result<String, BackendError> {
        Ok("always".to_owned())
    }
    fn build(&self, _request: &BuildRequest) -> Result<Box<dyn Engine>, BackendError> {
        unimplemented!()
    }
}
