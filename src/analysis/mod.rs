//! What rows say: pairs and ratios, noise, disturbances, headroom, agreement of two runs. Facts, no sentences.

pub mod agreement;
pub mod disturbances;
pub mod facts;
pub mod headroom;
pub mod noise;
pub mod pairs;
