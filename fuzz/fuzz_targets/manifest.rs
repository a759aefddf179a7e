//! A manifest's text: read, expanded, estimated and printed. Whatever it says, the plan stays small.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixprec::manifest::LoadedManifest;
use mixprec::manifest::schema::Manifest;
use mixprec::plan::Plan;

fuzz_target!(|text: &str| {
    match Manifest::parse(text, "manifest.yaml") {
        Err(diagnostics) => assert!(!diagnostics.to_string().is_empty()),
        Ok(manifest) => {
            let expected = manifest.expect_configurations;
            let plan = Plan::expand(&LoadedManifest { manifest, sha256: String::new(), base_dir: ".".into() });
            assert_eq!(plan.configurations.len(), expected);
            assert!(plan.estimates().iter().all(|estimate| estimate.total_s.is_finite()));
            assert!(plan.to_text().contains(&plan.name));
        }
    }
});
