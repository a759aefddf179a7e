//! `mixprec` re-measures a mixed-precision transformer inference paper (arXiv 2603.28708) on the reader's hardware.
//!
//! # The pipeline
//!
//! ```text
//! manifest -> plan -> model, input -> backend: engine -> measure, numerics -> record -> store   (mixprec run)
//!                                                                                       |
//!                    report <- claims <- analysis <- results  <-------------------------+       (mixprec report)
//! ```
//!
//! A [`manifest`] is one YAML file: models, backends, precision policies, shapes and inputs. Its product is the [`plan`], a
//! list of configurations, each with a stable id. The [`runner`] gives every configuration to a worker process. There a
//! [`backend`] builds an [`engine`] from the [`model`]'s [`graph`] and the policy; [`measure`] times it with one clock, and
//! [`numerics`] compares its outputs with an FP32 reference. What is left is a [`record`], a line of the journal; the
//! [`store`] derives the tables from it. [`results`] reads a run, an artifact or a merge back and checks it; [`analysis`] pairs
//! rows and computes ratios and noise; [`claims`] judges the paper's sentences; [`report`] renders tables, figures and words.
//!
//! # The vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | configuration | one cell of a manifest's product: backend, model, policy, batch size, sequence length, input, target |
//! | family | models of one graph and one naming of tensors, as BERT or GPT-2: one file of [`model`] ([`model::Family`]) |
//! | head | what follows a model's trunk, and so what comes out: classes, tokens, spans, hidden states ([`model::Head`]) |
//! | precision policy | the formats in which each class of operations computes, accumulates and stores ([`graph::PrecisionPolicy`]) |
//! | engine | an executable for one graph, policy and shape ([`engine::Engine`]) |
//! | forward | one forward pass of a batch |
//! | row | what is known of one configuration in one environment ([`store::schema::ResultRow`]) |
//! | environment | the machine, the build and the settings that a row was measured under ([`provenance::Environment`]) |
//! | materials | what a row was made from besides its configuration, by digest: files, settings, arithmetic ([`store::materials`]) |
//! | pair | two rows that agree in everything but the axis compared ([`analysis::pairs`]) |
//! | disturbed | measured while others used the device, or while the clock ran wrong ([`analysis::disturbances`]) |
//! | noise floor | how far from 1 the ratio of two equal engines can be ([`analysis::noise`]) |
//! | candidate | an operation that a policy does not compute in FP32, and that a [`search`] may |
//! | silent failure | a layer norm whose variance overflowed, so that it returned its bias without a NaN |
//! | artifact | a run that is published as a folder with digests ([`artifact`]) |
//!
//! # The floors
//!
//! A module uses the modules to its right and those of the floors below, and no other; `tests/layers.rs` fails on an arrow that
//! points up.
//!
//! | modules | what they do |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`artifact`] [`budget`] [`explain`] [`merge`] [`rerun`] [`splice`] [`appendix`] [`selftest`] [`search`] [`infer`] [`timing`] | what a command does beyond one stage |
//! | [`report`] | rendering: tables, figures, sentences |
//! | [`claims`] | the paper's sentences as expressions, and their verdicts |
//! | [`analysis`] | pairs, ratios, noise, disturbances, agreement of two runs |
//! | [`results`] | a run, an artifact or a merge, read back and checked |
//! | [`runner`] [`measure`] [`numerics`] | executing a plan: workers, clock, comparison with the reference |
//! | [`store`] | the journal, and the tables derived from it |
//! | [`record`] | what a measurement is |
//! | [`doctor`] [`fetch`] [`plan`] [`manifest`] | what to run, and what is there to run it |
//! | [`backend`] | the registry, and reference, ONNX Runtime, CUDA, TensorRT and mock behind it |
//! | [`cache`] [`provenance`] | kept engines; the build, the machine, drift from the pins |
//! | [`libraries`] | shared libraries: where they are, what is pinned |
//! | [`engine`] | the seam: what a backend and an engine are, without any device type |
//! | [`onnx`] [`input`] [`model`] [`graph`] | what is computed, on which token ids |
//! | [`files`] [`lock`] [`signals`] [`digest`] [`json_diff`] [`numbers`] [`panics`] [`nvml`] [`processors`] [`stats`] [`text_table`] [`terminal`] | the ground |

pub mod analysis;
pub mod appendix;
pub mod artifact;
pub mod backend;
pub mod budget;
pub mod cache;
pub mod claims;
pub mod cli;
pub mod digest;
pub mod doctor;
pub mod engine;
pub mod explain;
pub mod fetch;
pub mod files;
pub mod graph;
pub mod infer;
pub mod input;
pub mod json_diff;
pub mod libraries;
pub mod lock;
pub mod manifest;
pub mod measure;
pub mod merge;
pub mod model;
pub mod numbers;
pub mod numerics;
pub mod nvml;
pub mod onnx;
pub mod panics;
pub mod plan;
pub mod processors;
pub mod provenance;
pub mod record;
pub mod report;
pub mod rerun;
pub mod results;
pub mod runner;
pub mod search;
pub mod selftest;
pub mod signals;
#[cfg(test)]
#[path = "../tests/fixtures/skip.rs"]
mod skip;
pub mod splice;
pub mod stats;
pub mod store;
pub mod terminal;
pub mod text_table;
pub mod timing;
