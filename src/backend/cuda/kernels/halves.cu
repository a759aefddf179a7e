// halves.cu: FP16 arithmetic that rounds every step, two numbers per register. The fused kernels of policies that round inside
// operations are built from it. Every function has the bits of its counterpart in stepwise.cu, which computes in FP32 and
// rounds the result to FP16: FP32 has more than twice the digits of FP16 and two more, so that a sum, difference or quotient
// rounded twice is the one rounded once (Figueroa, "When is double rounding innocuous?", 1995), and it holds a product of two
// FP16 numbers exactly. Both kinds of instruction return the canonical NaN.
//
// Compiled after prelude.cu, for fp16 only.

// Added to any x, minus zero gives x; plus zero would turn minus zero into plus zero.
constexpr u32 MINUS_ZEROS = 0x80008000u;

DEVICE u32 add_halves(u32 a, u32 b) {
  u32 c;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
  return c;
}
DEVICE u32 subtract_halves(u32 a, u32 b) {
  u32 c;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
  return c;
}
DEVICE u32 multiply_halves(u32 a, u32 b) {
  u32 c;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
  return c;
}
// The larger ones. As in fmaxf, a NaN loses against a number.
DEVICE u32 max_halves(u32 a, u32 b) {
  u32 c;
  asm("max.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
  return c;
}

DEVICE u32 low_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x5410); }
DEVICE u32 high_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x7632); }
// The FP32 number rounded to FP16, in both halves.
DEVICE u32 both_halves(float x) { return pack_elements(x, x); }

// ---------------------------------------------------------------- tree sums
// The policies define a sum as a binary tree over neighbours, in which an odd tail is carried up. The same tree over a row that
// minus zeros fill up to a power of two has the same bits, so any aligned power of two of neighbours can be summed apart.

// The sum of the two halves of a, and that of b.
DEVICE u32 add_neighbours(u32 a, u32 b) { return add_halves(low_halves(a, b), high_halves(a, b)); }

// The sum of COUNT neighbours, each in the low half of its word.
template <int COUNT> DEVICE u32 tree_sum(const u32 (&values)[COUNT]) {
  if constexpr (COUNT == 1) {
    return values[0];
  } else {
    constexpr int PARENTS = (COUNT + 1) / 2;
    u32 parents[PARENTS];
#pragma unroll
    for (int i = 0; i < COUNT / 2; i++) parents[i] = add_halves(values[2 * i], values[2 * i + 1]);
    if constexpr (COUNT % 2 == 1) parents[PARENTS - 1] = values[COUNT - 1];
    return tree_sum<PARENTS>(parents);
  }
}

// ---------------------------------------------------------------- GELU
// The steps are those of gelu_by_erf and gelu_by_tanh in activation.cu.

DEVICE u32 gelu_erf_halves(u32 x) {
  const u32 inner = multiply_halves(x, both_halves(0.70710678118654752f));
  const u32 integral = pack_elements(erff(low_element(inner)), erff(high_element(inner)));
  return multiply_halves(multiply_halves(x, both_halves(0.5f)), add_halves(both_halves(1.f), integral));
}

DEVICE u32 gelu_tanh_halves(u32 x) {
  const u32 cube = multiply_halves(multiply_halves(x, x), x);
  const u32 sum = add_halves(x, multiply_halves(both_halves(0.044715f), cube));
  const u32 u = multiply_halves(both_halves(0.79788456080286536f), sum);
  const u32 tangent = pack_elements(tanhf(low_element(u)), tanhf(high_element(u)));
  return multiply_halves(multiply_halves(x, both_halves(0.5f)), add_halves(both_halves(1.f), tangent));
}
