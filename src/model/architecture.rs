//! Named architectures, which random weights can be drawn for.

use serde::{Deserialize, Serialize};

use super::config::{ModelConfig, TaskHead};
use super::family::Family;
use super::opt;
use crate::graph::{Activation, Dimensions, Gelu};

/// Architectures that random weights can be drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// 12 layers, 768 wide, 110M parameters.
    BertBase,
    /// 24 layers, 1024 wide, 335M parameters.
    BertLarge,
    /// 12 layers, 768 wide, 125M parameters.
    RobertaBase,
    /// 6 layers, 768 wide, 66M parameters.
    DistilbertBase,
    /// 12 layers, 256 wide, embeddings of 128, 14M parameters.
    ElectraSmall,
    /// 12 layers of the same weights, 768 wide, embeddings of 128, 12M parameters.
    AlbertBase,
    /// 12 layers, 768 wide, 124M parameters.
    Gpt2,
    /// 24 layers, 1024 wide, 355M parameters.
    Gpt2Medium,
    /// 36 layers, 1280 wide, 774M parameters.
    Gpt2Large,
    /// 48 layers, 1600 wide, 1.6G parameters.
    Gpt2Xl,
    /// 12 layers, 768 wide, 125M parameters.
    #[serde(rename = "opt-125m")]
    Opt125m,
    /// 2 layers, 64 wide, vocabulary 1000: for tests.
    BertTiny,
    /// 2 layers, 64 wide, vocabulary 1000: for tests.
    Gpt2Tiny,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Architecture; 13] = [
        Architecture::BertBase,
        Architecture::BertLarge,
        Architecture::RobertaBase,
        Architecture::DistilbertBase,
        Architecture::ElectraSmall,
        Architecture::AlbertBase,
        Architecture::Gpt2,
        Architecture::Gpt2Medium,
        Architecture::Gpt2Large,
        Architecture::Gpt2Xl,
        Architecture::Opt125m,
        Architecture::BertTiny,
        Architecture::Gpt2Tiny,
    ];

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::BertBase => "bert-base",
            Architecture::BertLarge => "bert-large",
            Architecture::RobertaBase => "roberta-base",
            Architecture::DistilbertBase => "distilbert-base",
            Architecture::ElectraSmall => "electra-small",
            Architecture::AlbertBase => "albert-base",
            Architecture::Gpt2 => "gpt2",
            Architecture::Gpt2Medium => "gpt2-medium",
            Architecture::Gpt2Large => "gpt2-large",
            Architecture::Gpt2Xl => "gpt2-xl",
            Architecture::Opt125m => "opt-125m",
            Architecture::BertTiny => "bert-tiny",
            Architecture::Gpt2Tiny => "gpt2-tiny",
        }
    }

    /// Longest sequence the architecture has position embeddings for.
    pub fn positions(self) -> usize {
        self.sizes().1.positions
    }

    /// Family and sizes, as the published config.json has them.
    pub fn sizes(self) -> (Family, Dimensions) {
        use Family::{Albert, Bert, DistilBert, Electra, Gpt2, Opt, Roberta};
        let (family, layers, hidden, heads, vocabulary, positions) = match self {
            Architecture::BertBase => (Bert, 12, 768, 12, 30522, 512),
            Architecture::BertLarge => (Bert, 24, 1024, 16, 30522, 512),
            Architecture::RobertaBase => (Roberta, 12, 768, 12, 50265, 512),
            Architecture::DistilbertBase => (DistilBert, 6, 768, 12, 30522, 512),
            Architecture::ElectraSmall => (Electra, 12, 256, 4, 30522, 512),
            Architecture::AlbertBase => (Albert, 12, 768, 12, 30000, 512),
            Architecture::Gpt2 => (Gpt2, 12, 768, 12, 50257, 1024),
            Architecture::Gpt2Medium => (Gpt2, 24, 1024, 16, 50257, 1024),
            Architecture::Gpt2Large => (Gpt2, 36, 1280, 20, 50257, 1024),
            Architecture::Gpt2Xl => (Gpt2, 48, 1600, 25, 50257, 1024),
            Architecture::Opt125m => (Opt, 12, 768, 12, 50272, 2048),
            Architecture::BertTiny => (Bert, 2, 64, 2, 1000, 128),
            Architecture::Gpt2Tiny => (Gpt2, 2, 64, 2, 1000, 128),
        };
        (family, Dimensions { layers, hidden, heads, inner: 4 * hidden, vocabulary, positions })
    }
}

impl ModelConfig {
    /// The configuration of a named architecture: the trunk of an encoder, a decoder with its language-model head.
    pub fn of(architecture: Architecture) -> Self {
        let (family, dimensions) = architecture.sizes();
        let base = ModelConfig::base(family, dimensions);
        let decoder = ModelConfig {
            epsilon: 1e-5,
            is_causal: true,
            head: TaskHead::LanguageModel { last_token: false },
            ..base.clone()
        };
        match family {
            Family::Bert => ModelConfig { token_types: 2, ..base },
            Family::Roberta => {
                let (first_position, skipped_id) = (2, Some(1));
                ModelConfig { token_types: 1, epsilon: 1e-5, first_position, pad_id: 1, skipped_id, ..base }
            }
            Family::DistilBert => base,
            Family::Electra => ModelConfig { token_types: 2, narrow_embedding: NARROW, ..base },
            Family::Albert => {
                let activation = Activation::Gelu(Gelu::Tanh);
                ModelConfig { token_types: 2, narrow_embedding: NARROW, activation, ..base }
            }
            Family::Gpt2 => ModelConfig { activation: Activation::Gelu(Gelu::Tanh), ..decoder },
            Family::Opt => {
                let (activation, first_position) = (Activation::Relu, opt::FIRST_POSITION);
                ModelConfig { activation, first_position, pad_id: 1, ..decoder }
            }
        }
    }
}

/// Width of the embeddings of ELECTRA small and of every published ALBERT.
const NARROW: Option<usize> = Some(128);
