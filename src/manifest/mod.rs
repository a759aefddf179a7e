//! Manifests: YAML files under experiments/, read strictly.

pub mod schema;
