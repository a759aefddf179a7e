//! mixprec
fn main() {}
