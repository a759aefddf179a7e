//! A fake engine.
use super::{Backend, BackendError, BackendKind, BuildRequest, Engine};

/// Stub.
#[derive(Debug)]
pub struct MockBackend;
impl Backend for MockBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Mock
    }
    fn availability(&self) -> Result<String, BackendError> {
        Ok("always".to_owned())
    }
    fn build(&self, _request: &BuildRequest) -> Result<Box<dyn Engine>, BackendError> {
        unimplemented!()
    }
}
