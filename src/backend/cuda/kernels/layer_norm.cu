// layer_norm.cu: layer norm with its surroundings in a transformer layer. It adds the residual stream, a bias and the
// split-K partial sums of the projection before it, normalises the sum, and stores the outputs that the next kernels read.
//
//   sum        = residual (+ bias + partial 0 + partial 1 + ..., in this order; bitwise reproducible)
//                or, ROUNDED, round(residual + round((partial 0 + partial 1 + ...) + bias)), as single operations in 16 bits
//   normalised = (sum - mean) / sqrt(variance + epsilon) * gain + shift
//
// A row is read once, stays in registers, and is written once. Arithmetic is FP32. The variance is the mean of squared
// deviations from the computed mean (two passes over registers), since E[x^2] - mean^2 loses all digits when the mean is
// large. rsqrtf is within 2 ulp. With a 16-bit residual the sum is first rounded to 16 bits, because that is the tensor of the
// graph.
//
// What the host has to know (mirrored in Rust):
//   arguments  one LayerNormArguments by value
//   block      32 * WARPS * ROWS threads: WARPS warps share a row, ROWS rows a CTA
//   grid       ceil(rows / ROWS), or less: a CTA then walks over several blocks of rows, from the last to the first. A
//              projection writes its rows from first to last, so the last ones are still in L2 when this kernel
//              starts (measured at 16384 x 768: 27 us instead of 32)
//   shared     static only
//   aliasing   stream may be residual (in place) if the types agree; so may normalised, if stream is null. Rows are
//              independent, and one thread reads and writes each element.
//   alignment  16 bytes for every pointer; WIDTH a multiple of 4
//
// Compiled after prelude.cu; ELEMENT_BF16 selects bfloat16. embedding.cu uses the row functions of this file.

struct LayerNormArguments {
  const void* residual;   // [rows, WIDTH], Residual
  const float* partials;  // [PARTIALS, rows, WIDTH], unused if PARTIALS is 0
  const float* bias;      // [WIDTH], of the projection whose partial sums these are; unused if PARTIALS is 0
  const float* gain;      // [WIDTH]
  const float* shift;     // [WIDTH]
  void* stream;           // [rows, WIDTH], Stream, or null: not stored (a sum that nobody reads or that did not change)
  void* normalised;       // [rows, WIDTH], Output, or null: not stored
  int rows;
  float epsilon;
};

// The new residual stream. POST: the normalised row, in post-norm models (BERT), also where the policy stores it apart from the
// residual, in another type. PRE: the sum, in pre-norm models (GPT-2).
// KEEP, only in embedding.cu: the sum, without a layer norm.
enum class Norm { KEEP, PRE, POST };

// ---------------------------------------------------------------- a row in registers

// The lanes of a row's warps hold it as float4: vector s * LANES + lane is in values[s]. STEPS * LANES may exceed VECTORS;
// the vectors beyond the end are zero and do not count.
template <int WIDTH_, int WARPS_, int ROWS_>
struct RowShape {
  static constexpr int WIDTH = WIDTH_;
  static constexpr int WARPS = WARPS_;
  static constexpr int ROWS = ROWS_;
  static constexpr int LANES = 32 * WARPS;
  static constexpr int VECTORS = WIDTH / 4;
  static constexpr int STEPS = (VECTORS + LANES - 1) / LANES;
  static_assert(WIDTH % 4 == 0, "a row is whole vectors");
  static_assert(LANES * ROWS <= 1024, "threads of a CTA");

  // Whether vector `step` of this lane lies inside the row. A constant if the row divides evenly.
  static DEVICE bool inside(int step, int lane) {
    return VECTORS % LANES == 0 || step + 1 < STEPS || step * LANES + lane < VECTORS;
  }
};

// One float per warp of each row: sums[0] for the mean, sums[1] for the variance. With two arrays, one barrier for each is
// enough: a thread that writes one of them again has passed the other's barrier, which comes after the last read.
template <class Shape>
struct RowScratch {
  float sums[2][Shape::ROWS][Shape::WARPS];
};

DEVICE float4 add(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

// Loads four neighbouring values of a tensor that another kernel wrote, past L1.
DEVICE float4 load_four(const float* source) { return load_global_float4(source); }
DEVICE float4 load_four(const u16* source) {
  u32 low, high;
  asm volatile("ld.global.cg.v2.u32 {%0, %1}, [%2];" : "=r"(low), "=r"(high) : "l"(source) : "memory");
  return make_float4(low_element(low), high_element(low), low_element(high), high_element(high));
}

DEVICE void store_four(float* destination, float4 value) { *reinterpret_cast<float4*>(destination) = value; }
DEVICE void store_four(u16* destination, float4 value) {
  *reinterpret_cast<uint2*>(destination) = make_uint2(pack_elements(value.x, value.y), pack_elements(value.z, value.w));
}

// The value after it is stored in a tensor of type T and read back.
template <class T>
DEVICE float4 round_to(float4 value);
template <>
DEVICE float4 round_to<float>(float4 value) {
  return value;
}
template <>
DEVICE float4 round_to<u16>(float4 value) {
  const float2 low = round_to_element(make_float2(value.x, value.y));
  const float2 high = round_to_element(make_float2(value.z, value.w));
  return make_float4(low.x, low.y, high.x, high.y);
}

// A parameter vector of WIDTH floats in the layout of a row.
template <class Shape>
DEVICE void load_parameters(float4 (&values)[Shape::STEPS], const float* source, int lane) {
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) {
    if (Shape::inside(s, lane)) values[s] = *reinterpret_cast<const float4*>(source + (s * Shape::LANES + lane) * 4);
  }
}

template <class Shape, class T>
DEVICE void store_row(T* destination, const float4 (&values)[Shape::STEPS], int lane) {
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) {
    if (Shape::inside(s, lane)) store_four(destination + (s * Shape::LANES + lane) * 4, values[s]);
  }
}

// The sum of `value` over the lanes of a row, the same bits in each lane. A butterfly sums over a warp, and the warps are
// then added in order.
template <class Shape>
DEVICE float row_sum(float value, float (&sums)[Shape::ROWS][Shape::WARPS], int row_of_cta, int lane) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffff, value, offset);
  if (Shape::WARPS == 1) return value;
  if (lane % 32 == 0) sums[row_of_cta][lane / 32] = value;
  __syncthreads();
  value = sums[row_of_cta][0];
#pragma unroll
  for (int warp = 1; warp < Shape::WARPS; warp++) value += sums[row_of_cta][warp];
  return value;
}

// values = (values - mean) / sqrt(variance + epsilon) * gain + shift
template <class Shape>
DEVICE void normalise_row(float4 (&values)[Shape::STEPS], const float4 (&gain)[Shape::STEPS],
                          const float4 (&shift)[Shape::STEPS], float epsilon, RowScratch<Shape>& scratch,
                          int row_of_cta, int lane) {
  float sum = 0.0f;
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) sum += (values[s].x + values[s].y) + (values[s].z + values[s].w);
  const float mean = row_sum<Shape>(sum, scratch.sums[0], row_of_cta, lane) * (1.0f / Shape::WIDTH);

  float squares = 0.0f;
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) {
    if (Shape::inside(s, lane)) {
      const float4 d = values[s] = add(values[s], make_float4(-mean, -mean, -mean, -mean));
      squares += (d.x * d.x + d.y * d.y) + (d.z * d.z + d.w * d.w);
    }
  }
  const float variance = row_sum<Shape>(squares, scratch.sums[1], row_of_cta, lane) * (1.0f / Shape::WIDTH);
  const float scale = rsqrtf(variance + epsilon);
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) {
    values[s] = make_float4(values[s].x * scale * gain[s].x + shift[s].x, values[s].y * scale * gain[s].y + shift[s].y,
                            values[s].z * scale * gain[s].z + shift[s].z, values[s].w * scale * gain[s].w + shift[s].w);
  }
}

// ---------------------------------------------------------------- the kernel

// Loads a row's addends and adds them. All loads are issued before the first addition, so that their latencies overlap.
template <class Shape, int PARTIALS, class Residual, bool ROUNDED>
DEVICE void load_sum(float4 (&values)[Shape::STEPS], const float4 (&bias)[Shape::STEPS],
                     const LayerNormArguments& arguments, u64 row, int lane) {
  float4 partials[PARTIALS > 0 ? PARTIALS : 1][Shape::STEPS];
  const Residual* residual = static_cast<const Residual*>(arguments.residual) + row * Shape::WIDTH;
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) {
    const int column = (s * Shape::LANES + lane) * 4;
    values[s] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (Shape::inside(s, lane)) {
      values[s] = load_four(residual + column);
#pragma unroll
      for (int p = 0; p < PARTIALS; p++) {
        partials[p][s] =
            load_four(arguments.partials + (p * static_cast<u64>(arguments.rows) + row) * Shape::WIDTH + column);
      }
    }
  }
  if (PARTIALS == 0) return;
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) {
    if (Shape::inside(s, lane)) {
      if (ROUNDED) {
        float4 product = partials[0][s];
#pragma unroll
        for (int p = 1; p < PARTIALS; p++) product = add(product, partials[p][s]);
        values[s] = add(values[s], round_to<Residual>(add(product, bias[s])));
      } else {
        values[s] = add(values[s], bias[s]);
#pragma unroll
        for (int p = 0; p < PARTIALS; p++) values[s] = add(values[s], partials[p][s]);
      }
      values[s] = round_to<Residual>(values[s]);
    }
  }
}

template <class Shape, int PARTIALS, class Residual, class Stream, class Output, Norm NORM, bool ROUNDED>
DEVICE void layer_norm(const LayerNormArguments& arguments) {
  __shared__ RowScratch<Shape> scratch;
  const int lane = threadIdx.x % Shape::LANES;
  const int row_of_cta = threadIdx.x / Shape::LANES;
  float4 bias[Shape::STEPS], gain[Shape::STEPS], shift[Shape::STEPS];
  if (PARTIALS > 0) load_parameters<Shape>(bias, arguments.bias, lane);  // constants may be read before the wait
  load_parameters<Shape>(gain, arguments.gain, lane);
  load_parameters<Shape>(shift, arguments.shift, lane);

  wait_for_dependencies();
  allow_dependents();

  const int blocks = (arguments.rows + Shape::ROWS - 1) / Shape::ROWS;
#pragma unroll 1
  for (int block = blocks - 1 - static_cast<int>(blockIdx.x); block >= 0; block -= gridDim.x) {
    // A CTA's spare rows repeat the last one without storing it, so that all its threads reach the barriers.
    const int own_row = block * Shape::ROWS + row_of_cta;
    const bool spare = own_row >= arguments.rows;
    const u64 row = spare ? arguments.rows - 1 : own_row;
    float4 values[Shape::STEPS];
    load_sum<Shape, PARTIALS, Residual, ROUNDED>(values, bias, arguments, row, lane);
    Stream* stream = static_cast<Stream*>(arguments.stream) + row * Shape::WIDTH;
    const bool store_stream = arguments.stream && !spare;
    if (NORM == Norm::PRE && store_stream) store_row<Shape>(stream, values, lane);
    normalise_row<Shape>(values, gain, shift, arguments.epsilon, scratch, row_of_cta, lane);
    if (NORM == Norm::POST && store_stream) store_row<Shape>(stream, values, lane);
    if (arguments.normalised && !spare) {
      store_row<Shape>(static_cast<Output*>(arguments.normalised) + row * Shape::WIDTH, values, lane);
    }
  }
}

// LAYER_NORM(name, WIDTH, WARPS, ROWS, PARTIALS, Residual, Stream, Output, NORM, ROUNDED) defines the kernel `name`. Residual,
// Stream and Output are float or u16 (the 16-bit element), NORM is PRE or POST.
#define LAYER_NORM(NAME, WIDTH, WARPS, ROWS, PARTIALS, RESIDUAL, STREAM, OUTPUT, NORM, ROUNDED)                        \
  extern "C" __global__ void __launch_bounds__(32 * (WARPS) * (ROWS), 1) NAME(const LayerNormArguments arguments) {    \
    layer_norm<RowShape<WIDTH, WARPS, ROWS>, PARTIALS, RESIDUAL, STREAM, OUTPUT, Norm::NORM, ROUNDED>(arguments);      \
  }
