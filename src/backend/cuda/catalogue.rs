//! The sources of the kernels, and the translation units of their instances.

use std::sync::LazyLock;

use super::compile::TranslationUnit;
use super::element::ElementType;
use crate::digest::sha256;

/// The source of a family of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum KernelSource {
    /// One kernel per operation, which rounds every step.
    Stepwise,
    /// Tallies of tensors, which no timed forward has.
    Tally,
    /// Matrix products by `mma.sync`, for a 16-bit element.
    ProductMma(ElementType),
    /// Matrix products by `wgmma`, for a 16-bit element.
    ProductWgmma(ElementType),
    /// Attention by `mma.sync`, for a 16-bit element.
    Attention(ElementType),
    /// Attention by `wgmma`, for a 16-bit element.
    AttentionWgmma(ElementType),
    /// A packed QKV projection and its attention by `wgmma`, for a 16-bit element.
    QkvAttention(ElementType),
    /// The same by clusters of blocks, for few sequences.
    QkvCluster(ElementType),
    /// Attention over FP32 tensors.
    AttentionF32,
    /// Embedding and layer norm, for a 16-bit element.
    Norm(ElementType),
    /// Layer norm that rounds every step to FP16.
    NormHalves,
    /// Attention that rounds every step to FP16, by `mma.sync`.
    AttentionHalves,
    /// The same by `wgmma`.
    AttentionHalvesWgmma,
    /// Products of attention heads in the order of the two above, which no timed forward has.
    HeadProduct,
}

impl KernelSource {
    fn name(self) -> &'static str {
        match self {
            KernelSource::Stepwise => "stepwise",
            KernelSource::Tally => "tally",
            KernelSource::ProductMma(_) => "gemm_mma",
            KernelSource::ProductWgmma(_) => "gemm_wgmma",
            KernelSource::Attention(_) => "attention",
            KernelSource::AttentionWgmma(_) => "attention_wgmma",
            KernelSource::QkvAttention(_) => "qkv_attention",
            KernelSource::QkvCluster(_) => "qkv_cluster",
            KernelSource::AttentionF32 => "attention_f32",
            KernelSource::Norm(_) => "layer_norm",
            KernelSource::NormHalves => "layer_norm_halves",
            KernelSource::AttentionHalves => "attention_halves",
            KernelSource::AttentionHalvesWgmma => "attention_halves_wgmma",
            KernelSource::HeadProduct => "head_product",
        }
    }

    /// The source without instances: the files in the order in which they build on each other.
    fn text(self) -> String {
        const PRELUDE: &str = include_str!("kernels/prelude.cu");
        const FORMATS: &str = include_str!("kernels/formats.cu");
        const ACTIVATION: &str = include_str!("kernels/activation.cu");
        const HALVES: &str = include_str!("kernels/halves.cu");
        const HOPPER: &str = include_str!("kernels/hopper.cu");
        const EPILOGUE: &str = include_str!("kernels/gemm_epilogue.cu");
        const MMA: &str = include_str!("kernels/gemm_mma.cu");
        const WGMMA: &str = include_str!("kernels/gemm_wgmma.cu");
        const ATTENTION_ROWS: &str = include_str!("kernels/attention_rows.cu");
        const ATTENTION: &str = include_str!("kernels/attention.cu");
        const ATTENTION_WGMMA: &str = include_str!("kernels/attention_wgmma.cu");
        const QKV_ATTENTION: &str =
            concat!(include_str!("kernels/attention_wgmma.cu"), include_str!("kernels/qkv_attention.cu"));
        const QKV_CLUSTER: &str = include_str!("kernels/qkv_cluster.cu");
        const LAYER_NORM: &str = include_str!("kernels/layer_norm.cu");
        const EMBEDDING: &str = include_str!("kernels/embedding.cu");
        const ATTENTION_F32: &str = include_str!("kernels/attention_f32.cu");
        const HALVES_ROWS: &str = include_str!("kernels/attention_halves_rows.cu");
        const ATTENTION_HALVES: &str = include_str!("kernels/attention_halves.cu");
        const ATTENTION_HALVES_WGMMA: &str = include_str!("kernels/attention_halves_wgmma.cu");
        const NORM_HALVES: &str = include_str!("kernels/layer_norm_halves.cu");
        const HEAD_PRODUCT: &str = include_str!("kernels/head_product.cu");
        const STEPWISE: &str = include_str!("kernels/stepwise.cu");
        const TALLY: &str = include_str!("kernels/tally.cu");
        let (element, parts): (ElementType, &[&str]) = match self {
            KernelSource::Stepwise => return [FORMATS, ACTIVATION, STEPWISE].concat(),
            KernelSource::Tally => return [FORMATS, ACTIVATION, STEPWISE, TALLY].concat(),
            KernelSource::ProductMma(element) => (element, &[PRELUDE, HALVES, FORMATS, ACTIVATION, EPILOGUE, MMA]),
            KernelSource::ProductWgmma(element) => {
                (element, &[PRELUDE, HOPPER, HALVES, FORMATS, ACTIVATION, EPILOGUE, WGMMA])
            }
            KernelSource::Attention(element) => (element, &[PRELUDE, ATTENTION_ROWS, ATTENTION]),
            KernelSource::AttentionWgmma(element) => (element, &[PRELUDE, HOPPER, ATTENTION_ROWS, ATTENTION_WGMMA]),
            KernelSource::QkvAttention(element) => (
                element,
                &[PRELUDE, HOPPER, HALVES, FORMATS, ACTIVATION, EPILOGUE, WGMMA, ATTENTION_ROWS, QKV_ATTENTION],
            ),
            KernelSource::QkvCluster(element) => (element, &[PRELUDE, HOPPER, ATTENTION_ROWS, QKV_CLUSTER]),
            KernelSource::AttentionF32 => (ElementType::F16, &[PRELUDE, ATTENTION_ROWS, ATTENTION_F32]),
            KernelSource::Norm(element) => (element, &[PRELUDE, LAYER_NORM, EMBEDDING]),
            KernelSource::NormHalves => (ElementType::F16, &[PRELUDE, HALVES, NORM_HALVES]),
            KernelSource::AttentionHalves => {
                (ElementType::F16, &[PRELUDE, HALVES, ATTENTION_ROWS, HALVES_ROWS, ATTENTION_HALVES])
            }
            KernelSource::AttentionHalvesWgmma => {
                (ElementType::F16, &[PRELUDE, HOPPER, HALVES, ATTENTION_ROWS, HALVES_ROWS, ATTENTION_HALVES_WGMMA])
            }
            KernelSource::HeadProduct => (ElementType::F16, &[PRELUDE, HEAD_PRODUCT]),
        };
        let define = if element == ElementType::Bf16 { "#define ELEMENT_BF16\n" } else { "" };
        format!("{define}{}", parts.concat())
    }
}

/// A kernel with its template arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Instance {
    pub source: KernelSource,
    /// Unique within its source, because it contains all template arguments.
    pub name: String,
    /// The line of source that defines it.
    pub line: String,
}

/// The translation unit of some instances of one source.
pub(super) fn unit<'a>(source: KernelSource, instances: impl IntoIterator<Item = &'a Instance>) -> TranslationUnit {
    let lines = instances.into_iter().map(|instance| format!("{}\n", instance.line));
    TranslationUnit { name: source.name(), source: source.text() + &lines.collect::<String>() }
}

/// The digest of all sources of timed kernels. Times of other kernels say nothing about these, so caches of times are keyed by it.
pub(super) fn sources_digest() -> &'static str {
    static DIGEST: LazyLock<String> = LazyLock::new(|| {
        let all = [ElementType::F16, ElementType::Bf16].into_iter().flat_map(|element| {
            [
                KernelSource::Stepwise,
                KernelSource::ProductMma(element),
                KernelSource::ProductWgmma(element),
                KernelSource::Attention(element),
                KernelSource::AttentionWgmma(element),
                KernelSource::QkvAttention(element),
                KernelSource::QkvCluster(element),
                KernelSource::Norm(element),
            ]
        });
        let others = [
            KernelSource::AttentionF32,
            KernelSource::NormHalves,
            KernelSource::AttentionHalves,
            KernelSource::AttentionHalvesWgmma,
        ];
        sha256(all.chain(others).map(KernelSource::text).collect::<String>().as_bytes())
    });
    &DIGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_its_source_and_the_lines_of_its_instances() {
        let instance = |name: &str, source| Instance { source, name: name.to_owned(), line: format!("MAKE({name})") };
        let two = [instance("a", KernelSource::Stepwise), instance("b", KernelSource::Stepwise)];
        assert!(unit(KernelSource::Stepwise, &two).source.ends_with("MAKE(a)\nMAKE(b)\n"));
        let brain = KernelSource::Attention(ElementType::Bf16);
        assert!(unit(brain, [&instance("c", brain)]).source.starts_with("#define ELEMENT_BF16\n"));
        assert_eq!(sources_digest().len(), 64);
    }
}
