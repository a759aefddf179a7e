//! Every sentence that a report builds from facts. Analysis and claims hand over values and enums; words are chosen here.

pub mod agreement;
mod agreement_text;
pub mod caveats;
pub mod claims;
pub mod disturbances;
pub mod failures;
pub mod headline;
pub mod headroom;
pub mod noise;
pub mod quality;
