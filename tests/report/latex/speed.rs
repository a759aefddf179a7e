//! Times, throughput and ratios of times.

use super::{laptop, two_gpus};

/// Emulated columns are muted and marked, a failed cell has its reason.
#[test]
fn latency() {
    insta::assert_snapshot!(laptop("latency-1-bert-base-random-reference.tex"), @r"
    \begin{tabular}{rrr@{\,}lr@{\,}lr@{\,}l}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{6}{c}{reference} \\
    \cmidrule(lr){3-8}
    Batch & Sequence & \multicolumn{2}{c}{fp32} & \multicolumn{2}{c}{fp16\tnote{a}} & \multicolumn{2}{c}{hybrid\tnote{a}} \\
    \midrule
    1 & 16 & 21.67 & \interval{{[}21.57, 21.77{]}, n = 15} & \muted{45.76} & \muted{\interval{{[}45.56, 45.98{]}, n = 15}} & \muted{45.76} & \muted{\interval{{[}45.56, 45.98{]}, n = 15}} \\
    1 & 32 & 39.52 & \interval{{[}39.35, 39.71{]}, n = 15} & \muted{87.97} & \muted{\interval{{[}87.59, 88.38{]}, n = 15}} & \muted{87.97} & \muted{\interval{{[}87.59, 88.38{]}, n = 15}} \\
    1 & 64 & 75.80 & \interval{{[}75.47, 76.16{]}, n = 15} & \muted{173.7} & \muted{\interval{{[}173.0, 174.5{]}, n = 15}}\textsuperscript{\textdagger{}} & \muted{173.7} & \muted{\interval{{[}173.0, 174.5{]}, n = 15}} \\
    \addlinespace[2pt]
    2 & 16 & 39.34 & \interval{{[}39.17, 39.52{]}, n = 15} & \muted{\textendash{}}\tnote{b} &  & \muted{87.53} & \muted{\interval{{[}87.15, 87.94{]}, n = 15}} \\
    2 & 32 & 75.05 & \interval{{[}74.73, 75.40{]}, n = 15} & \muted{172.0} & \muted{\interval{{[}171.2, 172.8{]}, n = 15}} & \muted{172.0} & \muted{\interval{{[}171.2, 172.8{]}, n = 15}} \\
    2 & 64 & 147.6 & \interval{{[}147.0, 148.3{]}, n = 15} & \muted{343.5} & \muted{\interval{{[}342.0, 345.1{]}, n = 15}}\textsuperscript{\textdagger{}} & \muted{343.5} & \muted{\interval{{[}342.0, 345.1{]}, n = 15}} \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[a] Formats are emulated by rounding on the CPU. The numerics are those of the format. The time says nothing about hardware with that format, so no speed{-}up includes it.
    \item[b] Failed: the worker died of signal 11 (SIGSEGV) \& left \textless{}no\textgreater{} message\_
    \item[] No 90th percentile is given: it needs 64 samples, and no row has that many.
    \item[\textdagger{}] Outputs fail: in at least one forward pass there is NaN or infinity, or an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1). Times and sizes are those of a computation that fails.
    \item[] Pins: all 17 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn latency_p90() {
    insta::assert_snapshot!(two_gpus("latency-p90-1-bert-base-random-cuda.tex"), @r"
    \begin{tabular}{rrrrr}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{3}{c}{cuda} \\
    \cmidrule(lr){3-5}
    Batch & Sequence & fp32 & fp16 & hybrid \\
    \midrule
    1 & 64 & 1.652 & 1.312 & 1.312 \\
    1 & 512 & 7.646 & 4.527 & 4.527 \\
    \addlinespace[2pt]
    32 & 64 & 24.40 & 13.51 & 13.51 \\
    32 & 512 & 216.2 & 116.4 & 116.4 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Pins: all 24 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn throughput() {
    insta::assert_snapshot!(two_gpus("throughput-1-bert-base-random-cuda-onnxruntime.tex"), @r"
    \begin{tabular}{rrrrrr}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{3}{c}{cuda} & \multicolumn{1}{c}{onnxruntime} \\
    \cmidrule(lr){3-5}\cmidrule(lr){6-6}
    Batch & Sequence & fp32 & fp16 & hybrid & fp32 \\
    \midrule
    1 & 64 & 39.53 & 49.78 & 49.78 & 3.150 \\
    1 & 512 & 68.33 & 115.4 & 115.4 & 3.332 \\
    \addlinespace[2pt]
    32 & 64 & 85.67 & 154.7 & 154.7 & 3.892 \\
    32 & 512 & 77.33 & 143.7 & 143.7 & 3.418 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Pins: 24 rows match; 8 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}

#[test]
fn speedup_over_the_cpu() {
    insta::assert_snapshot!(two_gpus("machine-1-speedup-1-bert-base-random-cuda.tex"), @r"
    \begin{tabular}{rrr@{\,}lr@{\,}lr@{\,}l}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{6}{c}{cuda} \\
    \cmidrule(lr){3-8}
    Batch & Sequence & \multicolumn{2}{c}{fp32} & \multicolumn{2}{c}{fp16} & \multicolumn{2}{c}{hybrid} \\
    \midrule
    1 & 64 & 12.5\ensuremath{\times} & \interval{{[}12.5, 12.6{]}} & 15.8\ensuremath{\times} & \interval{{[}15.7, 15.9{]}} & 15.8\ensuremath{\times} & \interval{{[}15.7, 15.9{]}} \\
    1 & 512 & 20.5\ensuremath{\times} & \interval{{[}20.4, 20.6{]}} & 34.6\ensuremath{\times} & \interval{{[}34.5, 34.8{]}} & 34.6\ensuremath{\times} & \interval{{[}34.5, 34.8{]}} \\
    \addlinespace[2pt]
    32 & 64 & 22.0\ensuremath{\times} & \interval{{[}21.9, 22.1{]}} & 39.7\ensuremath{\times} & \interval{{[}39.5, 40.0{]}} & 39.7\ensuremath{\times} & \interval{{[}39.5, 40.0{]}} \\
    32 & 512 & 22.6\ensuremath{\times} & \interval{{[}22.5, 22.7{]}} & 42.0\ensuremath{\times} & \interval{{[}41.8, 42.3{]}} & 42.0\ensuremath{\times} & \interval{{[}41.8, 42.3{]}} \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Baseline: onnxruntime 0.1.0, fp32, on all 2 CPUs of the machine (CPU).
    \item[] Noise floor: cuda 0.2\,\%, onnxruntime 1.0\,\%. Two engines of one configuration can appear this far apart. A ratio is as uncertain as the noise floor of the noisier of its two backends; a ratio nearer to 1 than that must not be called a difference.
    \item[] Pins: all 12 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn speedup_over_fp32() {
    insta::assert_snapshot!(two_gpus("machine-1-precision-speedup-1-bert-base-random-cuda.tex"), @r"
    \begin{tabular}{rrr@{\,}lr@{\,}l}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{4}{c}{cuda} \\
    \cmidrule(lr){3-6}
    Batch & Sequence & \multicolumn{2}{c}{fp16} & \multicolumn{2}{c}{hybrid} \\
    \midrule
    1 & 64 & 1.26\ensuremath{\times} & \interval{{[}1.26, 1.26{]}} & 1.26\ensuremath{\times} & \interval{{[}1.26, 1.26{]}} \\
    1 & 512 & 1.69\ensuremath{\times} & \interval{{[}1.69, 1.69{]}} & 1.69\ensuremath{\times} & \interval{{[}1.69, 1.69{]}} \\
    \addlinespace[2pt]
    32 & 64 & 1.81\ensuremath{\times} & \interval{{[}1.80, 1.81{]}} & 1.81\ensuremath{\times} & \interval{{[}1.80, 1.81{]}} \\
    32 & 512 & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Noise floor: cuda 0.2\,\%. Two engines of one configuration can appear this far apart. A ratio is as uncertain as the noise floor of the noisier of its two backends; a ratio nearer to 1 than that must not be called a difference.
    \item[] Pins: all 8 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn speedup_by_gpu() {
    insta::assert_snapshot!(two_gpus("cross-gpu.tex"), @r"
    \begin{tabular}{lllrr@{\,}lr@{\,}lr@{\,}l}
    \toprule
    GPU & Model & Series & Shapes & \multicolumn{2}{c}{Lowest} & \multicolumn{2}{c}{Median} & \multicolumn{2}{c}{Highest} \\
    \midrule
    NVIDIA A100{-}SXM4{-}80GB, driver 580.65.06 & bert{-}base, random input & cuda fp16 & 4 & 1.26\ensuremath{\times} & \interval{{[}1.26, 1.26{]}} & 1.69\ensuremath{\times} & \interval{{[}1.69, 1.69{]}} & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} \\
    NVIDIA A100{-}SXM4{-}80GB, driver 580.65.06 & bert{-}base, random input & cuda hybrid & 4 & 1.26\ensuremath{\times} & \interval{{[}1.26, 1.26{]}} & 1.69\ensuremath{\times} & \interval{{[}1.69, 1.69{]}} & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} \\
    \addlinespace[2pt]
    NVIDIA H200, driver 580.65.06 & bert{-}base, random input & cuda fp16 & 4 & 1.39\ensuremath{\times} & \interval{{[}1.38, 1.39{]}} & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} & 2.04\ensuremath{\times} & \interval{{[}2.04, 2.05{]}} \\
    NVIDIA H200, driver 580.65.06 & bert{-}base, random input & cuda hybrid & 4 & 1.39\ensuremath{\times} & \interval{{[}1.38, 1.39{]}} & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} & 2.04\ensuremath{\times} & \interval{{[}2.04, 2.05{]}} \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Both rows of a ratio come from one environment. An interval divides the ends of both medians\textquotesingle{} 95\,\% intervals crosswise and covers with at least 90\,\%. The median of an even number of ratios is the lower of the two middle ones, a measured ratio with an interval.
    \item[] NVIDIA A100{-}SXM4{-}80GB: Noise floor: cuda 0.2\,\%. Two engines of one configuration can appear this far apart. A ratio is as uncertain as the noise floor of the noisier of its two backends; a ratio nearer to 1 than that must not be called a difference.
    \item[] NVIDIA H200: Noise floor: cuda 0.2\,\%. Two engines of one configuration can appear this far apart. A ratio is as uncertain as the noise floor of the noisier of its two backends; a ratio nearer to 1 than that must not be called a difference.
    \item[] Pins: 24 rows match; 8 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}

#[test]
fn noise_floor() {
    insta::assert_snapshot!(two_gpus("noise-floor.tex"), @r"
    \begin{tabular}{lrrrrrr>{\raggedright\arraybackslash}p{5cm}}
    \toprule
    \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{1}{c}{} & \multicolumn{2}{c}{Ratio} & \multicolumn{2}{c}{Noise: distance from 1} & \multicolumn{1}{c}{} \\
    \cmidrule(lr){4-5}\cmidrule(lr){6-7}
    Backend & Tests & Rounds & lowest & highest & typical & noise floor & at \\
    \midrule
    cuda & 3 & 20 & 0.9995 & 0.9995 & \ensuremath{\pm}0.2\,\% & \ensuremath{\pm}0.2\,\% & cuda fp32, bert{-}base 1\ensuremath{\times}64 random \\
    onnxruntime & 1 & 20 & 0.9980 & 0.9980 & \ensuremath{\pm}1.0\,\% & \ensuremath{\pm}1.0\,\% & onnxruntime fp32, bert{-}base 1\ensuremath{\times}64 random \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] A round is four blocks of passes, two of each engine, in an order that cancels a steady drift; the ratio is the median over rounds.
    \item[] Noise is the largest distance from 1 within a test\textquotesingle{}s bootstrap 95\,\% interval over rounds; typical is the median over tests, and the noise floor is the largest. This is noise within one process; noise between runs is larger.
    \item[] Pins: 6 rows match; 2 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}
