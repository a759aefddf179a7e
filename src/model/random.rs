//! Random weights: the same seed gives the same bits on every machine, whatever the number of threads.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::graph::{Init, Param};

/// Elements drawn from one generator stream. It decides the values, so it must never change.
const STREAM_ELEMENTS: usize = 1 << 16;

/// Draws a parameter. Its generator is seeded by the checkpoint's seed and the parameter's name.
pub(crate) fn draw(seed: u64, param: &Param) -> Vec<f32> {
    match param.init {
        Init::Zeros => vec![0.0; param.elements()],
        Init::Ones => vec![1.0; param.elements()],
        Init::Normal(deviation) => {
            let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(&param.name).finalize();
            let key: [u8; 32] = digest.into();
            let mut values = vec![0f32; param.elements()];
            values.par_chunks_mut(STREAM_ELEMENTS).enumerate().for_each(|(stream, chunk)| {
                let mut generator = ChaCha8Rng::from_seed(key);
                generator.set_stream(stream as u64);
                for value in chunk {
                    let normal: f32 = StandardNormal.sample(&mut generator);
                    *value = normal * deviation as f32;
                }
            });
            values
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str) -> Param {
        Param { name: name.into(), dims: vec![300, 400], parts: Vec::new(), init: Init::Normal(0.02) }
    }

    #[test]
    fn weights_have_the_stated_moments_and_depend_on_seed_and_name() {
        let values = draw(1, &param("a"));
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let deviation = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 3e-4 && (deviation - 0.02).abs() < 2e-4, "{mean} {deviation}");
        assert_eq!(values, draw(1, &param("a")));
        assert_ne!(values, draw(2, &param("a")));
        assert_ne!(values, draw(1, &param("b")));
    }

    /// Pinned so that a dependency's update cannot change every random-weight result unnoticed.
    #[test]
    fn the_first_values_never_change() {
        let values = draw(1, &param("a"));
        assert_eq!(&values[..2], &GOLDEN, "{:?}", &values[..2]);
    }
    const GOLDEN: [f32; 2] = [0.035_853_706, -0.010_402_483];
}
