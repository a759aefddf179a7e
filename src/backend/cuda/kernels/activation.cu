// activation.cu: the element-wise functions between linear layers, in the order of operations of the reference backend
// (src/backend/reference/activation.rs). Each is rounded to the format C after every elementary operation; an exponential, a
// logistic function or an error function is one operation. In FP32 nothing is rounded. The kernel's template argument is the
// function, so that a kernel has the code of one.
//
// Compiled after formats.cu. tanhf, erff, expf and log1pf are NVRTC's own, good to 2 ulp.

enum Function {
    IDENTITY, RESIDUAL, GELU_ERF, GELU_TANH, CLIPPED_GELU, QUICK_GELU, RELU, SQUARED_RELU, RELU6, LEAKY_RELU, SILU, HARD_SWISH, MISH,
    SQRT_SOFTPLUS, LAPLACE, SIGMOID, TANH
};

// Selections instead of fmaxf and fminf, so that NaN stays NaN.
__device__ __forceinline__ float relu(float x) { return x < 0.f ? 0.f : x; }
__device__ __forceinline__ float clipped(float x, float least, float most) {
    x = x < least ? least : x;
    return x > most ? most : x;
}

template <class C> __device__ __forceinline__ float sigmoid(float x) { return rounded<C>(1.f / (1.f + expf(-x))); }

// ln(1 + e^x), which does not overflow for large x.
template <class C> __device__ __forceinline__ float softplus(float x) {
    return rounded<C>(relu(x) + log1pf(expf(-fabsf(x))));
}

// (x/2) (1 + erf(x/√2))
template <class C> __device__ __forceinline__ float gelu_by_erf(float x) {
    const float inner = rounded<C>(x * rounded<C>(0.70710678118654752f));
    const float factor = rounded<C>(1.f + rounded<C>(erff(inner)));
    return rounded<C>(rounded<C>(x * 0.5f) * factor);
}

// (x/2) (1 + tanh(√(2/π)(x + 0.044715 x³)))
template <class C> __device__ __forceinline__ float gelu_by_tanh(float x) {
    const float cube = rounded<C>(rounded<C>(x * x) * x);
    const float sum = rounded<C>(x + rounded<C>(rounded<C>(0.044715f) * cube));
    const float u = rounded<C>(rounded<C>(0.79788456080286536f) * sum);
    const float factor = rounded<C>(1.f + rounded<C>(tanhf(u)));
    return rounded<C>(rounded<C>(x * 0.5f) * factor);
}

// (1 + erf((x - mean) / (deviation √2))) / 2
template <class C> __device__ __forceinline__ float laplace(float x) {
    const float centred = rounded<C>(x - rounded<C>(0.707107f));
    const float inner = rounded<C>(centred * rounded<C>((float)(1.0 / (0.282095 * 1.4142135623730951))));
    return rounded<C>(rounded<C>(1.f + rounded<C>(erff(inner))) * 0.5f);
}

template <int FUNCTION, class C> __device__ __forceinline__ float activated(float x) {
    if constexpr (FUNCTION == GELU_ERF) return gelu_by_erf<C>(x);
    if constexpr (FUNCTION == GELU_TANH) return gelu_by_tanh<C>(x);
    if constexpr (FUNCTION == CLIPPED_GELU) return clipped(gelu_by_erf<C>(x), -10.f, 10.f);
    if constexpr (FUNCTION == QUICK_GELU) return rounded<C>(x * sigmoid<C>(rounded<C>(x * rounded<C>(1.702f))));
    if constexpr (FUNCTION == RELU) return relu(x);
    if constexpr (FUNCTION == SQUARED_RELU) return rounded<C>(relu(x) * relu(x));
    if constexpr (FUNCTION == RELU6) return clipped(x, 0.f, 6.f);
    if constexpr (FUNCTION == LEAKY_RELU) return relu(x) - rounded<C>(relu(-x) * rounded<C>(0.01f));
    if constexpr (FUNCTION == SILU) return rounded<C>(x * sigmoid<C>(x));
    if constexpr (FUNCTION == HARD_SWISH) {
        const float gate = clipped(rounded<C>(x + 3.f), 0.f, 6.f);
        return rounded<C>(x * rounded<C>(gate * rounded<C>((float)(1.0 / 6.0))));
    }
    if constexpr (FUNCTION == MISH) return rounded<C>(x * rounded<C>(tanhf(softplus<C>(x))));
    if constexpr (FUNCTION == SQRT_SOFTPLUS) return rounded<C>(sqrtf(softplus<C>(x)));
    if constexpr (FUNCTION == LAPLACE) return laplace<C>(x);
    if constexpr (FUNCTION == SIGMOID) return sigmoid<C>(x);
    if constexpr (FUNCTION == TANH) return rounded<C>(tanhf(x));
    return x;
}
