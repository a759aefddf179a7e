// formats.cu: the formats of elements in kernels that compute in FP32 and round after a step. NVRTC compiles it before the files
// that round by the formats of a policy: stepwise.cu, and the epilogue of the products with the activations.

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

// A format is both a way to store an element and a grid that values are rounded to.

struct F32 {
    typedef float stored;
    static __device__ __forceinline__ float widen(float x) { return x; }
    static __device__ __forceinline__ float narrow(float x) { return x; }
    static constexpr bool exact = true;
};

struct F16 {
    typedef u16 stored;
    static __device__ __forceinline__ float widen(u16 x) {
        float y;
        asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
        return y;
    }
    // Rounds to nearest, ties to even. Beyond 65519 the result is infinity; it never saturates.
    static __device__ __forceinline__ u16 narrow(float x) {
        u16 y;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
        return y;
    }
    static constexpr bool exact = false;
};

struct BF16 {
    typedef u16 stored;
    static __device__ __forceinline__ float widen(u16 x) { return __uint_as_float((u32)x << 16); }
    static __device__ __forceinline__ u16 narrow(float x) {
        u16 y;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
        return y;
    }
    static constexpr bool exact = false;
};

template <class G> __device__ __forceinline__ float rounded(float x) { return G::widen(G::narrow(x)); }
