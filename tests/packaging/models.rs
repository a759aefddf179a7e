//! `make models`: checkpoints of packages, by digest. The test of its script is in Python, as the script is; it needs numpy and
//! safetensors.

#[test]
fn packages_become_checkpoints_to_the_byte_and_every_flaw_is_named() {
    crate::fixtures::python("packaging/models_test.py", &[]);
}
