//! Own CUDA kernels and cuBLASLt.
#![allow(dead_code, reason = "the engine that uses the libraries comes next")]

mod libraries;
