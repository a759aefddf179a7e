//! The measurement of an engine, on a simulated device whose times and readings are known.

mod guard;
mod interleaved;
mod series;
mod simulated;
mod stop;
mod sustained;
