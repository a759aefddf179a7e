//! What a graph's output holds.

use serde::{Deserialize, Serialize};

/// What the graph's output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// Last hidden state `[B, S, hidden]`.
    Hidden,
    /// Classifier logits `[B, labels]`.
    ClassLogits,
    /// Next-token logits `[B, S, vocabulary]`.
    TokenLogits,
    /// Next-token logits of the last token of every sequence alone, `[B, vocabulary]`.
    LastTokenLogits,
    /// Logits of what stands at each token, not after it, `[B, S, vocabulary]`: a masked language model's.
    MaskedTokenLogits,
    /// Class logits of each token, `[B, S, labels]`.
    TokenClassLogits,
    /// Logits of each token as the start and as the end of an answer, `[B, S, 2]`. Its alternatives are tokens, not the two
    /// columns.
    SpanLogits,
}

impl OutputKind {
    /// Name for readers.
    pub fn label(self) -> &'static str {
        match self {
            OutputKind::Hidden => "hidden states",
            OutputKind::ClassLogits => "class logits",
            OutputKind::TokenLogits => "next-token logits",
            OutputKind::LastTokenLogits => "next-token logits of the last token",
            OutputKind::MaskedTokenLogits => "masked-token logits",
            OutputKind::TokenClassLogits => "class logits of each token",
            OutputKind::SpanLogits => "logits of an answer's start and end",
        }
    }

    /// Whether an output row is a distribution over alternatives, so that its argmax means something.
    pub fn is_logits(self) -> bool {
        !matches!(self, OutputKind::Hidden | OutputKind::SpanLogits)
    }

    /// Whether there is one output row for each sequence, and not one for each token.
    pub fn is_by_sequence(self) -> bool {
        matches!(self, OutputKind::ClassLogits | OutputKind::LastTokenLogits)
    }
}
