// Layer norm with what surrounds it in a transformer layer: the sum of the residual stream, of a bias and of the
// split-K partial sums of the projection before it, then normalisation, then the outputs the next kernels read.
//
//   sum        = residual (+ bias + partial 0 + partial 1 + ..., in this order: no atomics, bitwise repeatable)
//   normalised = (sum - mean) / sqrt(variance + epsilon) * gain + shift
//
// A row stays in registers from its one read to its one write. Arithmetic is FP32; the variance is the mean of
// squared deviations from the computed mean (two passes over registers), since E[x^2] - mean^2 loses all digits when
// the mean is large; rsqrtf is within 2 ulp. With a 16-bit stream the sum is first rounded to it: that is the tensor
// the graph has.
//
// What the host has to know (mirrored in Rust):
//   arguments  one LayerNormArguments by value
//   block      32 * WARPS * ROWS threads: WARPS warps share a row, ROWS rows a CTA
//   grid       ceil(rows / ROWS), or less: a CTA then walks several blocks of rows, from the last to the first. A
//              projection writes its rows from first to last, and the last ones are still in L2 when this kernel
//              starts (measured at 16384 x 768: 27 us against 32)
//   shared     static only
//   aliasing   stream may be residual (in place); so may normalised where the types agree and stream is null. Rows are
//              independent and each element is read and written by one thread.
//   alignment  16 bytes for every pointer; WIDTH a multiple of 32
//
// Needs prelude.cu in front. Compile with -DELEMENT_BF16 for bfloat16. embedding.cu uses the row functions of this
// file.

struct LayerNormArguments {
  const void* residual;   // [rows, WIDTH], Stream
  const float* partials;  // [PARTIALS, rows, WIDTH], unused if PARTIALS is 0
  const float* bias;      // [WIDTH], of the projection whose partial sums these are; unused if PARTIALS is 0
  const float* gain;      // [WIDTH]
  const float* shift;     // [WIDTH]
  void* stream;           // [rows, WIDTH], Stream, or null: not stored (a sum nobody reads, or one that did not change)
  void* normalised;       // [rows, WIDTH], Output, or null: not stored
  int rows;
  float epsilon;
};

// What becomes of the residual stream. POST: post-norm models (BERT) go on from the normalised row. PRE: pre-norm
// models (GPT-2) go on from the sum. KEEP, in embedding.cu alone: no layer norm at all.
enum class Norm { KEEP, PRE, POST };

// ---------------------------------------------------------------- a row in registers

// Lane and warps of a row hold it as float4: vector s * LANES + lane in values[s]. STEPS * LANES may exceed VECTORS,
// the vectors beyond the end are zero and count for nothing.
template <int WIDTH_, int WARPS_, int ROWS_>
struct RowShape {
  static constexpr int WIDTH = WIDTH_;
  static constexpr int WARPS = WARPS_;
  static constexpr int ROWS = ROWS_;
  static constexpr int LANES = 32 * WARPS;
  static constexpr int VECTORS = WIDTH / 4;
  static constexpr int STEPS = (VECTORS + LANES - 1) / LANES;
  static_assert(WIDTH % 32 == 0, "width");
  static_assert(LANES * ROWS <= 1024, "threads of a CTA");

  // Whether vector `step` of this lane lies inside the row; a constant wherever the row divides evenly.
  static DEVICE bool inside(int step, int lane) {
    return VECTORS % LANES == 0 || step + 1 < STEPS || step * LANES + lane < VECTORS;
  }
};

// One float per warp of each row: sums[0] for the mean, sums[1] for the variance. Two arrays, so that one barrier for
// each is enough: whoever writes one of them again has passed the other's barrier, behind the last read.
template <class Shape>
struct RowScratch {
  float sums[2][Shape::ROWS][Shape::WARPS];
};

DEVICE float4 add(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

// Four neighbouring values of a tensor that another kernel wrote, past L1.
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

// What reading the value back from a tensor of type T gives.
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

// The sum of `value` over the lanes of a row, the same in each. A butterfly gives every lane of a warp the same bits;
// the warps are then added in order.
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

// All loads of a row are issued before the first addition: the partial sums come from as many places.
template <class Shape, int PARTIALS, class Stream>
DEVICE void load_sum(float4 (&values)[Shape::STEPS], const float4 (&bias)[Shape::STEPS],
                     const LayerNormArguments& arguments, u64 row, int lane) {
  float4 partials[PARTIALS > 0 ? PARTIALS : 1][Shape::STEPS];
  const Stream* residual = static_cast<const Stream*>(arguments.residual) + row * Shape::WIDTH;
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
      values[s] = add(values[s], bias[s]);
#pragma unroll
      for (int p = 0; p < PARTIALS; p++) values[s] = add(values[s], partials[p][s]);
      values[s] = round_to<Stream>(values[s]);
    }
  }
}

template <class Shape, int PARTIALS, class Stream, class Output, Norm NORM>
DEVICE void layer_norm(const LayerNormArguments& arguments) {
  __shared__ RowScratch<Shape> scratch;
  const int lane = threadIdx.x % Shape::LANES;
  const int row_of_cta = threadIdx.x / Shape::LANES;
  float4 bias[Shape::STEPS], gain[Shape::STEPS], shift[Shape::STEPS];
  if (PARTIALS > 0) load_parameters<Shape>(bias, arguments.bias, lane);  // constants: legal before the wait
  load_parameters<Shape>(gain, arguments.gain, lane);
  load_parameters<Shape>(shift, arguments.shift, lane);

  wait_for_dependencies();
  allow_dependents();

  const int blocks = (arguments.rows + Shape::ROWS - 1) / Shape::ROWS;
#pragma unroll 1
  for (int block = blocks - 1 - static_cast<int>(blockIdx.x); block >= 0; block -= gridDim.x) {
    // A CTA's spare rows repeat the last one, without storing it, so that all its threads meet at the barriers.
    const int own_row = block * Shape::ROWS + row_of_cta;
    const bool spare = own_row >= arguments.rows;
    const u64 row = spare ? arguments.rows - 1 : own_row;
    float4 values[Shape::STEPS];
    load_sum<Shape, PARTIALS, Stream>(values, bias, arguments, row, lane);
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

// LAYER_NORM(name, WIDTH, WARPS, ROWS, PARTIALS, Stream, Output, NORM) defines the kernel `name`. Stream and Output
// are float or u16 (the 16-bit element), NORM is PRE or POST.
#define LAYER_NORM(NAME, WIDTH, WARPS, ROWS, PARTIALS, STREAM, OUTPUT, NORM)                                           \
  extern "C" __global__ void __launch_bounds__(32 * (WARPS) * (ROWS), 1) NAME(const LayerNormArguments arguments) {    \
    layer_norm<RowShape<WIDTH, WARPS, ROWS>, PARTIALS, STREAM, OUTPUT, Norm::NORM>(arguments);                         \
  }
