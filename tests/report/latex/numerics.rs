//! What outputs are like, and what engines hold.

use super::{laptop, two_gpus};

#[test]
fn cosine() {
    insta::assert_snapshot!(laptop("cosine-1-bert-base-random-reference.tex"), @r"
    \begin{tabular}{rrrrr}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{3}{c}{reference} \\
    \cmidrule(lr){3-5}
    Batch & Sequence & fp32 & fp16 & hybrid \\
    \midrule
    1 & 16 & 0 & 3.0\ensuremath{\times}10\ensuremath{^{-5}} & 5.0\ensuremath{\times}10\ensuremath{^{-6}} \\
    1 & 32 & 0 & 3.0\ensuremath{\times}10\ensuremath{^{-5}} & 5.0\ensuremath{\times}10\ensuremath{^{-6}} \\
    1 & 64 & 0 & 0.922\tnote{\textdagger{}} & 5.1\ensuremath{\times}10\ensuremath{^{-6}} \\
    \addlinespace[2pt]
    2 & 16 & 0 & \textendash{}\tnote{a} & 5.0\ensuremath{\times}10\ensuremath{^{-6}} \\
    2 & 32 & 0 & 3.0\ensuremath{\times}10\ensuremath{^{-5}} & 5.0\ensuremath{\times}10\ensuremath{^{-6}} \\
    2 & 64 & 0 & 0.922\tnote{\textdagger{}} & 5.1\ensuremath{\times}10\ensuremath{^{-6}} \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[a] Failed: the worker died of signal 11 (SIGSEGV) \& left \textless{}no\textgreater{} message\_
    \item[\textdagger{}] Outputs fail: in at least one forward pass there is NaN or infinity, or an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1). Times and sizes are those of a computation that fails.
    \item[] Pins: all 17 rows match.
    \end{tablenotes}
    ");
}

/// Hostile names are text, an undefined value is a dash with its reason.
#[test]
fn numerics() {
    insta::assert_snapshot!(laptop("numerics.tex"), @r"
    \begin{tabular}{llllrrrrr@{\,}lrrrrl}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{2}{c}{NaN} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{2}{c}{} & \multicolumn{1}{c}{} & \multicolumn{3}{c}{First pass} & \multicolumn{1}{c}{} \\
    \cmidrule(lr){5-6}\cmidrule(lr){12-14}
    Model & Input & Backend & Precision & rows & share & Inf & Broken rows & \multicolumn{2}{c}{Failed passes} & Smallest cosine & mean cosine & max abs & rel. L2 & Tolerance \\
    \midrule
    bert{-}base & random & reference & fp32 & 0/6 & 0\,\% & 0\,\% & 0/9216 & 0\,\% & \interval{{[}0.0, 2.5{]}} & 1.0000000 & 1.0000000 & 0 & 0 & none set \\
    bert{-}base & random & reference & fp16\tnote{\textdagger{}} & 0/5 & 0\,\% & 0\,\% & 1920/7680 & 40.0\,\% & \interval{{[}31.2, 49.3{]}} & 0.0782000 & 0.6927333 & 8.40 & 0.910 & none set \\
    bert{-}base & random & reference & hybrid & 0/6 & 0\,\% & 0\,\% & 0/9216 & 0\,\% & \interval{{[}0.0, 2.5{]}} & 0.9999949 & 0.9999983 & 0.00400 & 2.0\ensuremath{\times}10\ensuremath{^{-4}} & none set \\
    \addlinespace[2pt]
    a\_b\&c\textless{}script\textgreater{} & random & reference & fp32 & 0/6 & 0\,\% & 0\,\% & 0/9216 & 0\,\% & \interval{{[}0.0, 2.5{]}} & 1.0000000 & 1.0000000 & 0 & 0 & none set \\
    a\_b\&c\textless{}script\textgreater{} & random & reference & fp16\tnote{\textdagger{}} & 4/6 & 2.1\,\% & 0\,\% & 0/9216 & 11.1\,\% & \interval{{[}6.5, 17.4{]}} & \textendash{}\tnote{a} & \textendash{}\tnote{a} & \textendash{}\tnote{a} & \textendash{}\tnote{a} & none set \\
    a\_b\&c\textless{}script\textgreater{} & random & reference & hybrid & 0/5 & 0\,\% & 0\,\% & 0/7680 & 0\,\% & \interval{{[}0.0, 3.0{]}} & 0.9999949 & 0.9999983 & 0.00400 & 2.0\ensuremath{\times}10\ensuremath{^{-4}} & none set \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[a] Undefined: an output vector holds NaN or infinity.
    \item[] A pass fails if its output holds NaN or infinity, or if an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1). Broken rows and failed passes are over all examined passes; with a Clopper\textendash{}Pearson 95\,\% interval.
    \item[\textdagger{}] Outputs fail: in at least one forward pass there is NaN or infinity, or an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1). Times and sizes are those of a computation that fails.
    \item[] Pins: all 34 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn provenance() {
    insta::assert_snapshot!(laptop("provenance.tex"), @r"
    \begin{tabular}{llllrlrlr}
    \toprule
    Model & Input & Backend & Precision & Shape & First bad operation & Layer & Kind & In \\
    \midrule
    bert{-}base & random & reference & fp16 & 1\ensuremath{\times}64\tnote{\textdagger{}} & embeddings/layer\_norm & outside & silent & 260 \\
    bert{-}base & random & reference & fp16 & 2\ensuremath{\times}64\tnote{\textdagger{}} & embeddings/layer\_norm & outside & silent & 260 \\
    \addlinespace[2pt]
    a\_b\&c\textless{}script\textgreater{} & random & reference & fp16 & 1\ensuremath{\times}32\tnote{\textdagger{}} & layer.3/mlp/fc2 & 3 & infinity & 812 \\
    a\_b\&c\textless{}script\textgreater{} & random & reference & fp16 & 2\ensuremath{\times}32\tnote{\textdagger{}} & layer.3/mlp/fc2 & 3 & infinity & 812 \\
    a\_b\&c\textless{}script\textgreater{} & random & reference & fp16 & 1\ensuremath{\times}64\tnote{\textdagger{}} & layer.3/mlp/fc2 & 3 & infinity & 812 \\
    a\_b\&c\textless{}script\textgreater{} & random & reference & fp16 & 2\ensuremath{\times}64\tnote{\textdagger{}} & layer.3/mlp/fc2 & 3 & infinity & 812 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Kinds: NaN and infinity are values that the operation stored. Silent is a layer norm in which the square of a deviation or the sum of the squares exceeds FP16\textquotesingle{}s 65504. An infinity that arises in a product need not come from its input: a bias or a weight may itself exceed FP16\textquotesingle{}s range.
    \item[\textdagger{}] Outputs fail: in at least one forward pass there is NaN or infinity, or an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1). Times and sizes are those of a computation that fails.
    \item[] Pins: all 6 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn rates() {
    insta::assert_snapshot!(two_gpus("rates-1-bert-base.tex"), @r"
    \begin{tabular}{llrlrr@{\,}lr}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{2}{c}{Share of passes with} & \multicolumn{1}{c}{} \\
    \cmidrule(lr){6-7}
    Backend & Precision & Shape & Input & Passes & \multicolumn{2}{c}{broken row} & Smallest cosine \\
    \midrule
    cuda & fp32 & 1\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    cuda & fp32 & 32\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    cuda & fp32 & 1\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    cuda & fp32 & 32\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    \addlinespace[2pt]
    cuda & fp16 & 1\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999699 \\
    cuda & fp16 & 32\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999699 \\
    cuda & fp16 & 1\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999694 \\
    cuda & fp16 & 32\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999694 \\
    \addlinespace[2pt]
    cuda & hybrid & 1\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999949 \\
    cuda & hybrid & 32\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999949 \\
    cuda & hybrid & 1\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999944 \\
    cuda & hybrid & 32\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 0.9999944 \\
    \addlinespace[2pt]
    onnxruntime & fp32 & 1\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    onnxruntime & fp32 & 32\ensuremath{\times}64 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    onnxruntime & fp32 & 1\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    onnxruntime & fp32 & 32\ensuremath{\times}512 & random & 24 & 0\,\% & \interval{{[}0.0, 14.2{]}} & 1.0000000 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Each pass reads different rows of the input, at full length without padding, so that inputs differ only in their tokens. Silent rows are a share of all layer{-}norm rows of these passes. The smallest cosine is against FP32, over the compared rows of all passes; there is none where one of these rows is not finite. A dash under silent failure means that the library does not expose its tensors.
    \item[] No pass has NaN or infinity: its broken rows are all that fails.
    \item[] A pass fails if its output holds NaN or infinity, or if an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1).
    \item[] Pins: 24 rows match; 8 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}

#[test]
fn headroom() {
    insta::assert_snapshot!(laptop("headroom-1-bert-base.tex"), @r"
    \begin{tabular}{lrrr}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{3}{c}{random} \\
    \cmidrule(lr){2-4}
    Operation & largest & layer & headroom \\
    \midrule
    embedding & 1.25 & outside & 15.7 \\
    layer\_norm & 32.0 & 1 & 11.0 \\
    sum of squares in layer\_norm & 4.0\ensuremath{\times}10\ensuremath{^{4}} & 1 & 0.7 \\
    residual & 600 & 1 & 6.8 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] The sum of squares is over a row\textquotesingle{}s deviations from its mean; a layer norm that sums before it divides must hold this sum in its own format. Layer \textquotedblleft{}outside\textquotedblright{} is before the first layer or after the last. Each value is the largest over all shapes and passes of the run.
    \item[] Pins: all 34 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn memory() {
    insta::assert_snapshot!(two_gpus("memory.tex"), @r"
    \begin{tabular}{lllrrrrrrrrrr}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{5}{c}{Engine} & \multicolumn{1}{c}{Measured growth and peak} & \multicolumn{3}{c}{Computed} \\
    \cmidrule(lr){5-9}\cmidrule(lr){10-10}\cmidrule(lr){11-13}
    Model & Backend & Precision & Shape & weights & activations & scratch & total & less than fp32 & process & weights & tensors & less than fp32 \\
    \midrule
    bert{-}base & cuda & fp32 & 1\ensuremath{\times}64 & 417.6 & 2.289 & 4.000 & 423.9 & \textendash{} & 602.0 & 417.6 & 18.31 & \textendash{} \\
    bert{-}base & cuda & fp32 & 32\ensuremath{\times}512 & 417.6 & 585.9 & 4.000 & 1008 & \textendash{} & 5271 & 417.6 & 4688 & \textendash{} \\
    bert{-}base & cuda & fp16 & 1\ensuremath{\times}64 & 208.8 & 1.144 & 4.000 & 214.0 & 49.5\,\% & 602.0 & 208.8 & 9.155 & 50.0\,\% \\
    bert{-}base & cuda & fp16 & 32\ensuremath{\times}512 & 208.8 & 293.0 & 4.000 & 505.8 & 49.8\,\% & 5271 & 208.8 & 2344 & 50.0\,\% \\
    bert{-}base & cuda & hybrid & 1\ensuremath{\times}64 & 208.8 & 1.144 & 4.000 & 214.0 & 49.5\,\% & 602.0 & 208.8 & 9.155 & 50.0\,\% \\
    bert{-}base & cuda & hybrid & 32\ensuremath{\times}512 & 208.8 & 293.0 & 4.000 & 505.8 & 49.8\,\% & 5271 & 208.8 & 2344 & 50.0\,\% \\
    \addlinespace[2pt]
    bert{-}base & onnxruntime & fp32 & 1\ensuremath{\times}64 & 417.6 & 2.289 & 4.000 & 423.9 & \textendash{} & 602.0 & 417.6 & 18.31 & \textendash{} \\
    bert{-}base & onnxruntime & fp32 & 32\ensuremath{\times}512 & 417.6 & 585.9 & 4.000 & 1008 & \textendash{} & 5271 & 417.6 & 4688 & \textendash{} \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Engine: its weights, its intermediate tensors and outputs, and the scratch of its libraries; the total is their sum. The reference engine pads its weight panels to whole blocks and holds FP32 copies of all weights under every policy.
    \item[] Device: growth of the device\textquotesingle{}s used memory from before the engine was made, by the driver\textquotesingle{}s count. Process: peak of the worker\textquotesingle{}s resident host memory while it built and measured the engine.
    \item[] Computed: the parameters and the sum of all intermediate tensors, in the policy\textquotesingle{}s storage formats. No engine needs this much at once, because buffers are reused.
    \item[] Pins: 12 rows match; 4 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}

#[test]
fn memory_reduction() {
    insta::assert_snapshot!(two_gpus("memory-reduction.tex"), @r"
    \begin{tabular}{lllrrrrrr}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{5}{c}{Reduction} \\
    \cmidrule(lr){5-9}
    Model & Backend & Precision & Shapes & median & lowest & at & highest & at \\
    \midrule
    bert{-}base & cuda & fp16 & 4 & 49.6\,\% & 49.5\,\% & 1\ensuremath{\times}64 & 49.8\,\% & 32\ensuremath{\times}512 \\
    bert{-}base & cuda & hybrid & 4 & 49.6\,\% & 49.5\,\% & 1\ensuremath{\times}64 & 49.8\,\% & 32\ensuremath{\times}512 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] This reduction leaves out the process, the driver and the library, which are the same for every precision.
    \item[] Pins: 24 rows match; 8 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}
