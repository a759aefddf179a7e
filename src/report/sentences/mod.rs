//! The sentences of a report that depend on what was measured: caveats, verdicts, headlines, notes under tables, and those
//! that the paper and the pages quote. Analysis and claims hand over values and enums; words are chosen here. Captions,
//! headings and fixed footnotes stand with their table or figure, the prose around them in templates.

pub mod agreement;
mod agreement_text;
pub mod caveats;
pub mod claims;
pub mod disturbances;
pub mod failures;
pub mod headline;
pub mod headroom;
pub mod machine;
pub mod noise;
pub mod peers;
pub mod pins;
pub mod quality;
pub mod searches;
pub mod speedup;
pub mod study;
pub mod tasks;
