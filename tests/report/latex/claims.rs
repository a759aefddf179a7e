//! Headline, claims and caveats; the sections that place the tables, and the macros of the paper's sentences.

use super::{laptop, two_gpus};

#[test]
fn headline() {
    insta::assert_snapshot!(two_gpus("machine-1-headline.tex"), @r"
    \begin{tabular}{l>{\raggedright\arraybackslash}p{4cm}r@{\,}lr@{\,}lr@{\,}l>{\raggedright\arraybackslash}p{2cm}l}
    \toprule
    Claim & Quantity & \multicolumn{2}{c}{Typical} & \multicolumn{2}{c}{Lowest} & \multicolumn{2}{c}{Highest} & Paper & Verdict \\
    \midrule
    C1 & Any GPU engine over the CPU baseline\tnote{a} & 26.3\ensuremath{\times} & \interval{{[}26.1, 26.4{]}} & 12.5\ensuremath{\times} & \interval{{[}12.5, 12.6{]}} & 42.0\ensuremath{\times} & \interval{{[}41.8, 42.3{]}} & up to 64.4x & FAIL \\
     & Hybrid on the GPU over the CPU baseline\tnote{b} & 30.9\ensuremath{\times} & \interval{{[}30.8, 31.1{]}} & 15.8\ensuremath{\times} & \interval{{[}15.7, 15.9{]}} & 42.0\ensuremath{\times} & \interval{{[}41.8, 42.3{]}} & \textendash{} & \textendash{} \\
    C2 & Latency of one sequence, FP16 and hybrid on the GPU\tnote{c} & 2.86 ms &  & 1.29 ms & \interval{{[}1.28, 1.29{]}} & 4.44 ms & \interval{{[}4.43, 4.44{]}} & \textless{} 10 ms & PASS \\
     & The same, from token ids to outputs in host memory\tnote{d} & \textendash{} &  & \textendash{} &  & \textendash{} &  & \textendash{} & \textendash{} \\
     & Hybrid over FP32\tnote{e} & 1.63\ensuremath{\times} & \interval{{[}1.63, 1.64{]}} & 1.26\ensuremath{\times} & \interval{{[}1.26, 1.26{]}} & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} & \textendash{} & \textendash{} \\
     & FP16 over FP32\tnote{f} & 1.63\ensuremath{\times} & \interval{{[}1.63, 1.64{]}} & 1.26\ensuremath{\times} & \interval{{[}1.26, 1.26{]}} & 1.86\ensuremath{\times} & \interval{{[}1.85, 1.86{]}} & \textendash{} & \textendash{} \\
     & Hybrid over BF16, whose engines fuse as much\tnote{g} & \textendash{} &  & \textendash{} &  & \textendash{} &  & \textendash{} & \textendash{} \\
    C3 & Memory reduction against FP32, FP16\tnote{h} & 49.6\,\% &  & 49.5\,\% &  & 49.8\,\% &  & 63\,\% & FAIL \\
    C3 & Memory reduction against FP32, hybrid\tnote{i} & 49.6\,\% &  & 49.5\,\% &  & 49.8\,\% &  & 63\,\% & FAIL \\
    C4 & Smallest cosine to FP32, hybrid\tnote{j} & 0.9999947 &  & 0.9999944 &  & 0.9999949 &  & \textgreater{}= 0.9998 & PASS \\
     & Smallest cosine to FP32, FP16\tnote{k} & 0.9999697 &  & 0.9999694 &  & 0.9999699 &  & \textendash{} & \textendash{} \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[a] A GPU engine is faster than the CPU baseline by a factor of 26.3\ensuremath{\times} {[}26.1, 26.4{]} in the geometric mean over 12 configurations, from 12.5\ensuremath{\times} {[}12.5, 12.6{]} (cuda fp32, bert{-}base 1\ensuremath{\times}64 random) to 42.0\ensuremath{\times} {[}41.8, 42.3{]} (cuda hybrid, bert{-}base 32\ensuremath{\times}512 random).
    \item[b] Hybrid on the GPU is faster than the CPU baseline by a factor of 30.9\ensuremath{\times} {[}30.8, 31.1{]} in the geometric mean over 4 configurations, from 15.8\ensuremath{\times} {[}15.7, 15.9{]} (cuda hybrid, bert{-}base 1\ensuremath{\times}64 random) to 42.0\ensuremath{\times} {[}41.8, 42.3{]} (cuda hybrid, bert{-}base 32\ensuremath{\times}512 random).
    \item[c] The latency of one sequence in FP16 and hybrid engines on the GPU is 2.86 ms in the median over 4 configurations, from 1.29 ms {[}1.28, 1.29{]} (cuda fp16, bert{-}base 1\ensuremath{\times}64 random) to 4.44 ms {[}4.43, 4.44{]} (cuda hybrid, bert{-}base 1\ensuremath{\times}512 random).
    \item[d] The same, from token ids to outputs in host memory: not in this run, because no such engine was timed end to end at batch size 1.
    \item[e] Hybrid is faster than FP32 of the same backend by a factor of 1.63\ensuremath{\times} {[}1.63, 1.64{]} in the geometric mean over 4 configurations, from 1.26\ensuremath{\times} {[}1.26, 1.26{]} (cuda hybrid, bert{-}base 1\ensuremath{\times}64 random) to 1.86\ensuremath{\times} {[}1.85, 1.86{]} (cuda hybrid, bert{-}base 32\ensuremath{\times}512 random).
    \item[f] FP16 throughout is faster than FP32 of the same backend by a factor of 1.63\ensuremath{\times} {[}1.63, 1.64{]} in the geometric mean over 4 configurations, from 1.26\ensuremath{\times} {[}1.26, 1.26{]} (cuda fp16, bert{-}base 1\ensuremath{\times}64 random) to 1.86\ensuremath{\times} {[}1.85, 1.86{]} (cuda fp16, bert{-}base 32\ensuremath{\times}512 random).
    \item[g] Hybrid over BF16, whose engines fuse as much: not in this run, because no backend timed both policies natively at one shape in one environment.
    \item[h] Compared with the FP32 engine of the same backend and shape, an FP16 engine holds less memory by 49.6\,\% in the median over 4 configurations, from 49.5\,\% (cuda fp16, bert{-}base 1\ensuremath{\times}64 random) to 49.8\,\% (cuda fp16, bert{-}base 32\ensuremath{\times}512 random).
    \item[i] Compared with the FP32 engine of the same backend and shape, a hybrid engine holds less memory by 49.6\,\% in the median over 4 configurations, from 49.5\,\% (cuda hybrid, bert{-}base 1\ensuremath{\times}64 random) to 49.8\,\% (cuda hybrid, bert{-}base 32\ensuremath{\times}512 random).
    \item[j] The smallest cosine between an output vector under hybrid and its FP32 reference is 0.9999947 in the median over 4 configurations, from 0.9999944 (cuda hybrid, bert{-}base 1\ensuremath{\times}512 random) to 0.9999949 (cuda hybrid, bert{-}base 32\ensuremath{\times}64 random).
    \item[k] The smallest cosine between an output vector under FP16 throughout and its FP32 reference is 0.9999697 in the median over 4 configurations, from 0.9999694 (cuda fp16, bert{-}base 1\ensuremath{\times}512 random) to 0.9999699 (cuda fp16, bert{-}base 32\ensuremath{\times}64 random).
    \item[] Typical is the geometric mean of ratios, with an interval from all lower and from all upper ends, and the median of other quantities. Intervals of ratios divide the ends of both medians\textquotesingle{} 95\,\% intervals crosswise.
    \item[] Noise floor: cuda 0.2\,\%, onnxruntime 1.0\,\%. Two engines of one configuration can appear this far apart. A ratio is as uncertain as the noise floor of the noisier of its two backends; a ratio nearer to 1 than that must not be called a difference.
    \item[] Pins: 12 rows match; 4 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}

#[test]
fn claims() {
    insta::assert_snapshot!(laptop("claims.tex"), @r"
    \begin{tabular}{@{}l>{\raggedright\arraybackslash}p{5.1cm}>{\raggedright\arraybackslash}p{2.2cm}>{\raggedright\arraybackslash}p{4.6cm}l@{}}
    \toprule
     & The paper says & its value & measured here & verdict \\
    \midrule
    C1 & The system achieves up to 64.4x speedup over CPU baselines & up to 64.4x & \textendash{} & \verdictopen{N/A{-}HARDWARE} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No environment of this run lists a GPU; the claim needs an NVIDIA GPU and the ONNX Runtime CPU baseline of the same host.}} \\
    \addlinespace[2pt]
    C2 & sub{-}10 ms latency for single{-}sample inference & \textless{} 10 ms & \textendash{} & \verdictopen{N/A{-}HARDWARE} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No environment of this run lists a GPU; the claim needs an NVIDIA GPU.}} \\
    \addlinespace[2pt]
    C3 & a 63 percent reduction in memory usage & 63\,\% & \textendash{} & \verdictopen{N/A{-}HARDWARE} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No environment of this run lists a GPU; the claim needs an NVIDIA GPU.}} \\
    \addlinespace[2pt]
    C4 & This approach maintains high numerical fidelity (cosine similarity \textgreater{}= 0.9998 relative to baseline outputs) & \textgreater{}= 0.9998 & 0.9999949, emulated on the CPU, random weights & \verdictpass{PASS} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{Smallest of 6 configurations: reference hybrid, bert{-}base 1\ensuremath{\times}64 random: 0.9999949, which meets \ensuremath{\geq} 0.9998000. (bert{-}base; input random; rows: 6)}} \\
    \addlinespace[2pt]
    C5 & eliminates NaN instability & no NaN & 0 of 264 passes {[}0\,\%, 1.4\,\%{]}, emulated on the CPU, random weights & \verdictpass{PASS} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No NaN or infinity among 417\,792 output elements of 11 configurations, nor in any of 264 forward passes. Of the same configurations under fp16, 3 of 10 have NaN or infinity. (bert{-}base, a\_b\&c\textless{}script\textgreater{}; input random; rows: 11)}} \\
    C5{*} & the same, counting any failure: NaN, infinity, or an output row far from FP32\textquotesingle{}s & & 0 of 264 passes {[}0\,\%, 1.4\,\%{]}, emulated on the CPU, random weights & \verdictpass{PASS} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No NaN, infinity or broken output rows among 417\,792 output elements of 11 configurations, nor in any of 264 forward passes. Of the same configurations under fp16, 5 of 10 have NaN, infinity or broken output rows. (bert{-}base, a\_b\&c\textless{}script\textgreater{}; input random; rows: 11)}} \\
    \addlinespace[2pt]
    C6 & Cross{-}GPU validation on an NVIDIA A100 shows consistent FP16 speedup ratios between 1.84x and 2.00x & 1.84x to 2.00x & \textendash{} & \verdictopen{N/A{-}HARDWARE} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No environment of this run lists a GPU named like \textasciigrave{}A100\textasciigrave{}; the claim needs an NVIDIA A100.}} \\
    \addlinespace[2pt]
    C7 & Downstream evaluation on SST{-}2 demonstrates no accuracy degradation under hybrid precision & no degradation & \textendash{} & \verdictopen{NOT RUN} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No row of these results can answer the claim; rows of the experiment \textasciigrave{}downstream\textasciigrave{} can.}} \\
    \addlinespace[2pt]
    C8 & Validation on WikiText{-}2 shows that random inputs underestimate NaN instability by up to 6x for full FP16 & up to 6x & \textendash{} & \verdictopen{NOT RUN} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{1 matching row failed: the worker died of signal 11 (SIGSEGV) \& left \textless{}no\textgreater{} message\_.}} \\
    C8{*} & the same, counting any failure: NaN, infinity, or an output row far from FP32\textquotesingle{}s & & \textendash{} & \verdictopen{NOT RUN} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No row of these results can answer the claim; rows of the experiment \textasciigrave{}numerics\textasciigrave{} can.}} \\
    \addlinespace[2pt]
    C9 & confirming the robustness of the hybrid approach (0.0 percent NaN, cosine similarity \textgreater{}= 0.9998) & 0.0\,\% NaN, \textgreater{}= 0.9998 & \textendash{} & \verdictopen{NOT RUN} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No row of these results can answer the claim; rows of the experiment \textasciigrave{}numerics\textasciigrave{} can.}} \\
    C9{*} & the same, counting any failure: NaN, infinity, or an output row far from FP32\textquotesingle{}s & & \textendash{} & \verdictopen{NOT RUN} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No row of these results can answer the claim; rows of the experiment \textasciigrave{}numerics\textasciigrave{} can.}} \\
    \addlinespace[2pt]
    C10 & reproducible benchmarking across more than 360 configurations & \textgreater{} 360 & \textendash{} & \verdictopen{N/A{-}HARDWARE} \\*
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{No environment of this run lists a GPU; the claim needs an NVIDIA GPU and the ONNX Runtime CPU baseline of the same host.}} \\
    \bottomrule
     & \multicolumn{4}{>{\raggedright\arraybackslash}p{\MixprecWhyWidth}@{}}{\interval{Pins: all 34 rows match.}} \\
    \end{tabular}
    ");
}

#[test]
fn claims_by_machine() {
    insta::assert_snapshot!(two_gpus("claims-machines.tex"), @r"
    \begin{tabular}{ll>{\raggedright\arraybackslash}p{4cm}>{\raggedright\arraybackslash}p{4cm}}
    \toprule
    Claim & Paper & NVIDIA A100{-}SXM4{-}80GB & NVIDIA H200 \\
    \midrule
    C1 & up to 64.4x & FAIL, 42.0\ensuremath{\times} {[}41.8\ensuremath{\times}, 42.3\ensuremath{\times}{]} & PASS, 185\ensuremath{\times} {[}184\ensuremath{\times}, 186\ensuremath{\times}{]} \\
    C2 & \textless{} 10 ms & PASS, 4.436 ms {[}4.432 ms, 4.440 ms{]} & PASS, 1.008 ms {[}1.007 ms, 1.009 ms{]} \\
    C3 & 63\,\% & FAIL, 49.8\,\% & FAIL, 49.8\,\% \\
    C4 & \textgreater{}= 0.9998 & PASS, 0.9999944 & PASS, 0.9999944 \\
    C5 & no NaN & UNDECIDED, 0 of 96 passes {[}0\,\%, 3.8\,\%{]} & UNDECIDED, 0 of 96 passes {[}0\,\%, 3.8\,\%{]} \\
    C5{*} & no NaN & UNDECIDED, 0 of 96 passes {[}0\,\%, 3.8\,\%{]} & UNDECIDED, 0 of 96 passes {[}0\,\%, 3.8\,\%{]} \\
    C6 & 1.84x to 2.00x & FAIL, 1.26\ensuremath{\times} to 1.86\ensuremath{\times} {[}1.26\ensuremath{\times}, 1.86\ensuremath{\times}{]} & N/A{-}HARDWARE \\
    C7 & no degradation & NOT RUN & NOT RUN \\
    C8 & up to 6x & NOT RUN & NOT RUN \\
    C8{*} & up to 6x & NOT RUN & NOT RUN \\
    C9 & 0.0\,\% NaN, \textgreater{}= 0.9998 & NOT RUN & NOT RUN \\
    C9{*} & 0.0\,\% NaN, \textgreater{}= 0.9998 & NOT RUN & NOT RUN \\
    C10 & \textgreater{} 360 & FAIL, 16 & FAIL, 16 \\
    F1 & \textendash{} & NOT RUN & NOT RUN \\
    F2 & \textendash{} & NOT RUN & NOT RUN \\
    F3 & \textendash{} & NOT RUN & NOT RUN \\
    F4 & \textendash{} & NOT RUN & NOT RUN \\
    F5 & \textendash{} & NOT RUN & NOT RUN \\
    F6 & \textendash{} & NOT RUN & NOT RUN \\
    \bottomrule
    \end{tabular}
    \begin{tablenotes}[flushleft]\footnotesize
    \item[] Pins: 24 rows match; 8 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, sha256 6c1585d1bbf4.
    \end{tablenotes}
    ");
}

#[test]
fn caveats() {
    insta::assert_snapshot!(laptop("caveats.tex"), @r"
    \begin{itemize}
    \item Outputs fail in 6 of 34 rows (6 of reference fp16): in at least one forward pass there is NaN or infinity, or an output row is broken (finite, but its cosine to FP32 is below 0.99 or its relative L2 error above 0.1). Tables mark these rows \textdagger{}.
    \item Not run yet: 1 of 36 configurations. Tables are incomplete.
    \item 1 configuration failed; tables show a dash and the reason.
    \item 22 of 34 measured rows emulate their formats on the CPU. Their numerics are those of the format. Their time and memory say nothing about hardware with that format, and answer no claim about time or memory.
    \item Models with random weights have the architecture\textquotesingle{}s cost, but not a trained model\textquotesingle{}s activations: their cosines and NaN rates may differ from those of the published checkpoints.
    \item No ONNX Runtime row: the CPU baseline is the reference backend, so speed{-}ups are not over a tuned runtime.
    \item The clock was compared with the kernel\textquotesingle{}s for 0 of 34 timed rows. The others took less than a second, or the kernel\textquotesingle{}s time could not be read.
    \item No GPU: claims about GPUs are not judged.
    \end{itemize}
    ");
}

#[test]
fn section_with_figures() {
    insta::assert_snapshot!(two_gpus("section-precision.tex"), @r"
    \MixprecFigure{machine-1-figure-speedup}{Speed{-}up over FP32 of the same backend against batch size; bars are intervals. Emulated rows are left out. Input: random. Machine 1: NVIDIA A100{-}SXM4{-}80GB.}
    \MixprecFigure{machine-2-figure-speedup}{Speed{-}up over FP32 of the same backend against batch size; bars are intervals. Emulated rows are left out. Input: random. Machine 2: NVIDIA H200.}
    \MixprecTable{machine-1-precision-speedup-1-bert-base-random-cuda}{Speed{-}up over FP32 of the same backend, with interval: bert{-}base, random input. Machine 1: NVIDIA A100{-}SXM4{-}80GB.}
    \MixprecTable{machine-2-precision-speedup-1-bert-base-random-cuda}{Speed{-}up over FP32 of the same backend, with interval: bert{-}base, random input. Machine 2: NVIDIA H200.}
    ");
}

#[test]
fn section_with_an_empty_table() {
    insta::assert_snapshot!(two_gpus("appendix-repeatability.tex"), @r"
    \MixprecTable{noise-floor}{Noise floor: the ratio of the times of two engines of one configuration, timed interleaved.}
    \MixprecNothing{Repeat: medians of the second run over those of this run, and how many of them differ by at most 3.0\,\%.}{No second run was given (\textasciigrave{}mixprec report {-}{-}repeat\textasciigrave{}).}
    ");
}

#[test]
fn section_of_the_appendix() {
    insta::assert_snapshot!(laptop("appendix-numerics.tex"), @r"
    \MixprecTable{cosine-1-bert-base-random-reference}{Distance from the FP32 reference, 1 \ensuremath{-} smallest cosine (or the share of NaN in the output): bert{-}base, random input.}
    \MixprecTable{cosine-2-a-b-c-script-random-reference}{Distance from the FP32 reference, 1 \ensuremath{-} smallest cosine (or the share of NaN in the output): a\_b\&c\textless{}script\textgreater{}, random input.}
    \MixprecTable{headroom-1-bert-base}{Largest magnitude in FP32 runs per class of operation, the layer that has it, and the headroom of FP16 above it, log\ensuremath{_{2}}(65504 / magnitude), in bits. Where the headroom is negative, FP16 overflows. Model bert{-}base.}
    \MixprecTable{headroom-2-a-b-c-script}{Largest magnitude in FP32 runs per class of operation, the layer that has it, and the headroom of FP16 above it, log\ensuremath{_{2}}(65504 / magnitude), in bits. Where the headroom is negative, FP16 overflows. Model a\_b\&c\textless{}script\textgreater{}.}
    ");
}

#[test]
fn macros_of_the_papers_sentences() {
    const SHOWN: [&str; 8] = [
        "PlanName",
        "GpuTime",
        "HybridOverFpTypical",
        "NoiseSentence",
        "RepeatSentence",
        "ClaimCOneVerdict",
        "ClaimCOnePaper",
        "ClaimCOneWhy",
    ];
    let macros = two_gpus("macros.tex");
    let is_shown = |line: &&str| SHOWN.iter().any(|name| line.starts_with(&format!(r"\newcommand{{\mp{name}}}")));
    insta::assert_snapshot!(macros.lines().filter(is_shown).collect::<Vec<_>>().join("\n"), @r"
    \newcommand{\mpPlanName}{paper\xspace}
    \newcommand{\mpGpuTime}{1.8 min\xspace}
    \newcommand{\mpHybridOverFpTypical}{1.63\ensuremath{\times}\xspace}
    \newcommand{\mpNoiseSentence}{The noise floor is cuda 0.2\,\% (6 A/A tests, half of them within 0.2\,\%), onnxruntime 1.0\,\% (2 A/A tests, half of them within 1.0\,\%).\xspace}
    \newcommand{\mpRepeatSentence}{No second run of this experiment is part of these results.\xspace}
    \newcommand{\mpClaimCOneVerdict}{PASS\xspace}
    \newcommand{\mpClaimCOnePaper}{up to 64.4x\xspace}
    \newcommand{\mpClaimCOneWhy}{On NVIDIA H200: Largest of 12 pairs: onnxruntime fp32 against cuda hybrid, bert{-}base 32\ensuremath{\times}512 random: 185\ensuremath{\times} {[}184\ensuremath{\times}, 186\ensuremath{\times}{]}, which meets \ensuremath{\geq} 64.4\ensuremath{\times} (within 2.0\,\%).\xspace}
    ");
}
