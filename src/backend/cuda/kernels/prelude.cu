// prelude.cu: what the fused kernels of the CUDA backend share: types, the 16-bit element, and one thin wrapper per PTX
// instruction, named after what it does.
//
// NVRTC compiles the sources at run time, this file first, for the device at hand. They include no header: the fp16 and
// bf16 headers are not part of NVRTC 13.0, and the kernels need only a handful of conversions. Instructions are those of the
// PTX ISA 9.0 manual; its section numbers are not cited because they move.
//
// ELEMENT_BF16 selects bfloat16 as the 16-bit storage type; without it the type is IEEE binary16 (fp16).
// Programmatic dependent launch exists from sm_90 on. Before sm_90 its wrappers are empty, so that a kernel reads the same
// everywhere. There, and without the launch attribute, a kernel starts when its predecessor has ended.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define DEVICE __device__ __forceinline__

// ---------------------------------------------------------------- programmatic dependent launch

// Blocks until the kernels that this one depends on have completed and their writes are visible. Every thread calls it
// before it reads or writes a buffer that another kernel uses. Weights are constant and may be read earlier.
DEVICE void wait_for_dependencies() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Allows the next kernel of the stream to be scheduled once every block of this grid has called it (or has exited).
DEVICE void allow_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// ---------------------------------------------------------------- the 16-bit element

#ifdef ELEMENT_BF16
#define ELEMENT_PTX "bf16"
#else
#define ELEMENT_PTX "f16"
#endif

// Two floats to two elements, round to nearest even, never saturating; `low` lands in the low half, which is the
// lower address.
DEVICE u32 pack_elements(float low, float high) {
  u32 packed;
  asm("cvt.rn." ELEMENT_PTX "x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Both directions are exact: every 16-bit value is a float.
DEVICE float element_to_float(u16 element) {
#ifdef ELEMENT_BF16
  return __uint_as_float((u32)element << 16);
#else
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(element));
  return value;
#endif
}
DEVICE float low_element(u32 packed) { return element_to_float((u16)(packed & 0xffffu)); }
DEVICE float high_element(u32 packed) { return element_to_float((u16)(packed >> 16)); }

// Two values rounded to the 16-bit type and widened again.
DEVICE float2 round_to_element(float2 value) {
  const u32 packed = pack_elements(value.x, value.y);
  return make_float2(low_element(packed), high_element(packed));
}

// ---------------------------------------------------------------- asynchronous copies (sm_80)

DEVICE u32 shared_address(const void* pointer) { return (u32)__cvta_generic_to_shared(pointer); }

// Copies 16 bytes from global to shared memory past L1. Writes zeros and reads nothing when `valid` is false.
DEVICE void copy_async_16(u32 destination, const void* source, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(source), "r"(bytes) : "memory");
}
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's committed groups are still in flight.
template <int PENDING> DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

DEVICE void prefetch_l2(const void* pointer) { asm volatile("prefetch.global.L2 [%0];" ::"l"(pointer)); }

// Loads sixteen bytes past L1. L1 has nothing to offer for data that another kernel has just written.
DEVICE float4 load_global_float4(const float* pointer) {
  float4 value;
  asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w) : "l"(pointer) : "memory");
  return value;
}
DEVICE uint4 load_global_uint4(const void* pointer) {
  uint4 value;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w) : "l"(pointer) : "memory");
  return value;
}

DEVICE uint2 load_global_uint2(const void* pointer) {
  uint2 value;
  asm volatile("ld.global.cg.v2.u32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "l"(pointer) : "memory");
  return value;
}

// ---------------------------------------------------------------- tensor cores (sm_80)

// Byte offset of the 16-byte chunk `chunk` (0..7) of row `row` in a tile with rows of 128 bytes. The chunk index is XORed
// with the row, so that eight rows of one column of chunks lie in eight different bank groups. This is also the 128-byte
// swizzle of the copy engine and of wgmma, whose tiles begin on a multiple of 1024 bytes.
DEVICE u32 swizzled_offset(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

// Loads four 8x8 matrices of 16-bit elements. Lane i passes the address of row i % 8 of matrix i / 8.
DEVICE void load_matrices(u32 (&matrices)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3]) : "r"(address) : "memory");
}
DEVICE void load_matrices_transposed(u32 (&matrices)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3]) : "r"(address) : "memory");
}

// sums[16x8] += a[16x16] . b[16x8], FP32 sums. With row = lane / 4 and column = lane % 4 * 2, a thread holds
// sums[row][column, +1] and sums[row + 8][column, +1].
DEVICE void multiply_accumulate(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." ELEMENT_PTX "." ELEMENT_PTX ".f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Rounds to TF32, to nearest and ties away from zero: its low 13 bits are zeros.
DEVICE float round_to_tf32(float x) {
  u32 y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return __uint_as_float(y);
}

// sums[16x8] += a[16x8] . b[8x8] of TF32 numbers. With row = lane / 4 and depth = lane % 4, a thread holds a[row][depth] in .x,
// a[row + 8][depth] in .y, the same at depth + 4 in .z and .w, b[depth][row] in b0 and b[depth + 4][row] in b1.
DEVICE void multiply_accumulate_tf32(float (&sums)[4], const float4& a, float b0, float b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(__float_as_uint(a.x)), "r"(__float_as_uint(a.y)), "r"(__float_as_uint(a.z)), "r"(__float_as_uint(a.w)),
                 "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

// ---------------------------------------------------------------- arithmetic

// 2^x by the special function unit, 2 ulp, subnormals kept (no .ftz).
DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 2^x and 1 / x that flush subnormals (.ftz: below 2^-126 is 0), because handling them costs three instructions. For terms
// that are added to something larger.
DEVICE float exp2_flushed(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float reciprocal_flushed(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// GELU as in BERT: x Phi(x), where Phi is the normal distribution function. It is computed as max(x, 0) - |x| Phi(-|x|),
// where Phi(-h) = 2^q(h). The polynomial q is a minimax fit of log2(erfc(h / sqrt 2) / 2) on [0, 6], weighted by the effect
// on the result; beyond 6, |x| Phi(-|x|) is below half the smallest fp16 (bf16 holds smaller numbers: -8 gives -5.9e-9 instead of
// -5.0e-15). max(x, 0) is (x + |x|) / 2, which is NaN for minus infinity, as the definition is: an overflow stays visible.
//
// This costs a third of the instructions of 0.5 x (1 + erff(x / sqrt 2)) and is no less exact, because it does not cancel for
// negative x. Over all finite fp16 x the error is at most 2.5e-7 (4.4e-7 with erff). Rounded to fp16, the result differs
// from the correctly rounded one for 241 of 63488 x (331 with erff).
DEVICE float gelu_erf(float x) {
  const float h = fminf(fabsf(x), 6.0f);
  float q = 3.3853452e-05f;
  q = fmaf(q, h, -7.7388e-04f);
  q = fmaf(q, h, 8.089585e-03f);
  q = fmaf(q, h, -5.3415526e-02f);
  q = fmaf(q, h, -4.58777e-01f);
  q = fmaf(q, h, -1.1511962e+00f);
  q = fmaf(q, h, -9.9999416e-01f);
  return fmaf(-h, exp2_flushed(q), fmaf(0.5f, fabsf(x), 0.5f * x));
}

// The tanh approximation that GPT-2 was trained with: 0.5 x (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3). It is
// computed as x / (1 + e^-2u), which is the same function and does not cancel for negative x.
DEVICE float gelu_tanh(float x) {
  const float exponent = x * fmaf(x * x, -0.10294324f, -2.3022082f);   // -2 u log2(e)
  return x * reciprocal_flushed(1.0f + exp2_flushed(exponent));
}
