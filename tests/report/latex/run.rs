//! What was planned, what came of it, and where it ran.

use super::{laptop, two_gpus};

#[test]
fn configurations() {
    insta::assert_snapshot!(laptop("configurations.tex"), @r"
    \begin{tabular}{lllrrrr}
    \toprule
    Model & Backend & Precision & Planned & Measured & Failed & Pending \\
    \midrule
    bert{-}base\tnote{a} & reference & fp32 & 6 & 6 & 0 & 0 \\
    bert{-}base\tnote{a} & reference & fp16\tnote{\textdagger{}} & 6 & 5 & 1 & 0 \\
    bert{-}base\tnote{a} & reference & hybrid & 6 & 6 & 0 & 0 \\
    \addlinespace[2pt]
    a\_b\&c\textless{}script\textgreater{}\tnote{a} & reference & fp32 & 6 & 6 & 0 & 0 \\
    a\_b\&c\textless{}script\textgreater{}\tnote{a} & reference & fp16\tnote{\textdagger{}} & 6 & 6 & 0 & 0 \\
    a\_b\&c\textless{}script\textgreater{}\tnote{a} & reference & hybrid & 6 & 5 & 0 & 1 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[a] Weights: random weights, seed 1.
    \item[\textdagger{}] Outputs fail: in at least one forward pass there is NaN or infinity, or an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1). Times and sizes are those of a computation that fails.
    \item[] Pins: all 34 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn excluded() {
    insta::assert_snapshot!(laptop("excluded.tex"), @r"
    \begin{tabular}{r>{\raggedright\arraybackslash}p{5cm}>{\raggedright\arraybackslash}p{8cm}}
    \toprule
    Cells & Series & Reason \\
    \midrule
    1 & onnxruntime fp16 & onnxruntime executes fp32 only (50\,\% of the \textquotedbl{}grid\textquotedbl{}) \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Pins: all 34 rows match.
    \end{tablenotes}
    ");
}

#[test]
fn failures() {
    insta::assert_snapshot!(laptop("failures.tex"), @r"
    \begin{tabular}{>{\raggedright\arraybackslash}p{3cm}lr>{\raggedright\arraybackslash}p{3cm}>{\raggedright\arraybackslash}p{7cm}}
    \toprule
    Series & Kind & Rows & First & Reason \\
    \midrule
    reference fp16 & crash & 1 & bert{-}base 2\ensuremath{\times}16 random & the worker died of signal 11 (SIGSEGV) \& left \textless{}no\textgreater{} message\_ \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Pins: nothing was built or measured.
    \end{tablenotes}
    ");
}

/// A table without rows is a sentence.
#[test]
fn engines() {
    insta::assert_snapshot!(laptop("engines.tex"), @r"\emph{No engine was built ahead of time.}");
}

#[test]
fn environment() {
    insta::assert_snapshot!(two_gpus("machine-1-environment-aaaaaaaaaaaaaaaa.tex"), @r"
    \begin{tabular}{l>{\raggedright\arraybackslash}p{11cm}}
    \toprule
    Property & Value \\
    \midrule
    Program & mixprec 0.1.0, commit 0123456789ab \\
    Compiler & rustc 1.89.0 \\
    Engines & cuda 0.1.0; onnxruntime 0.1.0 \\
    Processor & Example CPU @ 2.0GHz (x86\_64), 2 cores, 2 threads usable \\
    Processor features & avx2 fma \\
    Frequency governor & \textendash{} \\
    Memory & 8.0 GiB \\
    GPUs & NVIDIA A100{-}SXM4{-}80GB, driver 580.65.06, compute capability 8.0, 80.0 GiB \\
    System & Example Linux 12, kernel 6.1.0, glibc 2.36 \\
    Pins & libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4 (4 rows) \\
    Libraries loaded at the start & \textendash{} \\
    Variables & OMP\_NUM\_THREADS=2 \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Pins: 12 rows match; 4 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}

#[test]
fn machines() {
    insta::assert_snapshot!(two_gpus("machines.tex"), @r"
    \begin{tabular}{r>{\raggedright\arraybackslash}p{4cm}>{\raggedright\arraybackslash}p{2cm}>{\raggedright\arraybackslash}p{5cm}rr>{\raggedright\arraybackslash}p{3cm}}
    \toprule
    Machine & GPUs & Driver & Processor & Measured & Failed & Environments \\
    \midrule
    1 & NVIDIA A100{-}SXM4{-}80GB & 580.65.06 & Example CPU @ 2.0GHz (x86\_64), 2 cores, 2 threads usable & 16 & 0 & aaaaaaaaaaaaaaaa \\
    2 & NVIDIA H200 & 580.65.06 & Example CPU @ 2.0GHz (x86\_64), 2 cores, 2 threads usable & 16 & 0 & bbbbbbbbbbbbbbbb \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Pins: 24 rows match; 8 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}
