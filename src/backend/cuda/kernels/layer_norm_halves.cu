// layer_norm_halves.cu: the layer norm of policies that compute it in FP16, with the residual sum and the partial sums of the
// projection before it. It has the bits of `layer_norm` in stepwise.cu, which rounds after every step.
//
//   sum        = residual                                                      without partial sums
//   sum        = round(residual + round((partial 0 + partial 1 + ...) + bias))  with them
//   normalised = layer norm of sum, every step rounded to FP16, sums over the row by a tree of neighbours
//
// If the variance overflows, the reciprocal deviation is 0 and the row silently becomes `shift`; this is what the policy says.
//
// A row is read once, stays in registers, and is written once. Lane l holds vectors of eight neighbours, whose sums meet in a
// butterfly from the nearest lane to the farthest: the tree of the policy. Sums of 256 neighbours are the leaves of its top.
//
// What the host has to know (mirrored in Rust):
//   arguments  one LayerNormArguments by value
//   block      32 * WARPS * ROWS threads: WARPS warps share a row, ROWS rows a block
//   grid       ceil(rows / ROWS); rows are taken from the last to the first, as in layer_norm.cu
//   aliasing   stream and normalised may be residual (in place), but not both of them
//   alignment  16 bytes for every pointer; WIDTH a multiple of 4, with partial sums of 8
//
// Compiled after prelude.cu and halves.cu.

struct LayerNormArguments {
  const u16* residual;    // [rows, WIDTH]
  const float* partials;  // [PARTIALS, rows, WIDTH], unused if PARTIALS is 0
  const float* bias;      // [WIDTH], of the projection whose partial sums these are; unused if PARTIALS is 0
  const u16* gain;        // [WIDTH]
  const u16* shift;       // [WIDTH]
  u16* stream;            // [rows, WIDTH]: receives the sum; or null
  u16* normalised;        // [rows, WIDTH]
  int rows;
  float epsilon;
};

// Vector s * LANES + lane of a row is in step s of the lane.
template <int WIDTH_, int WARPS_, int ROWS_> struct HalfRow {
  static constexpr int WIDTH = WIDTH_, WARPS = WARPS_, ROWS = ROWS_;
  static constexpr int LANES = 32 * WARPS, VECTORS = (WIDTH + 7) / 8;
  static constexpr int STEPS = (VECTORS + LANES - 1) / LANES, PAIRS = (STEPS + 1) / 2;
  static constexpr int LEAVES = (VECTORS + 31) / 32;   // of 256 neighbours
  static_assert(WIDTH % 4 == 0, "a row is whole vectors, or ends with half a one");
  static_assert(LANES * ROWS <= 1024, "threads of a block");
  static DEVICE bool inside(int step, int lane) {
    return VECTORS % LANES == 0 || step + 1 < STEPS || step * LANES + lane < VECTORS;
  }
  // Whether the second half of the vector does too.
  static DEVICE bool whole(int step, int lane) { return WIDTH % 8 == 0 || (step * LANES + lane) * 8 + 4 < WIDTH; }
};

// One leaf per step and warp of each row: leaves[0] for the mean, leaves[1] for the variance. With two arrays, one barrier for
// each is enough, as in layer_norm.cu.
template <class Row> struct HalfRowScratch {
  u32 leaves[2][Row::ROWS][Row::STEPS * Row::WARPS];
};

// The sum of a row by the policy's tree, in both halves of every lane. Vectors beyond the row hold minus zeros.
template <class Row>
DEVICE u32 row_sum(const u32 (&values)[Row::STEPS][4], u32 (&scratch)[Row::ROWS][Row::STEPS * Row::WARPS], int row_of_block, int lane) {
  u32 vectors[2 * Row::PAIRS];   // the sums of a vector's first and second four
#pragma unroll
  for (int s = 0; s < 2 * Row::PAIRS; s++)
    vectors[s] = s < Row::STEPS ? add_neighbours(add_neighbours(values[s][0], values[s][1]), add_neighbours(values[s][2], values[s][3])) : MINUS_ZEROS;
  u32 leaves[2 * Row::PAIRS];
#pragma unroll
  for (int p = 0; p < Row::PAIRS; p++) {
    u32 pair = add_neighbours(vectors[2 * p], vectors[2 * p + 1]);   // of two steps at once
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) pair = add_halves(pair, __shfl_xor_sync(~0u, pair, offset));
    leaves[2 * p] = pair;
    leaves[2 * p + 1] = pair >> 16;
  }
  u32 row_leaves[Row::LEAVES];
#pragma unroll
  for (int leaf = 0; leaf < Row::LEAVES; leaf++) row_leaves[leaf] = leaves[leaf / Row::WARPS];
  if constexpr (Row::WARPS > 1) {
    if (lane % 32 == 0) {
#pragma unroll
      for (int s = 0; s < Row::STEPS; s++) scratch[row_of_block][s * Row::WARPS + lane / 32] = leaves[s];
    }
    __syncthreads();
#pragma unroll
    for (int leaf = 0; leaf < Row::LEAVES; leaf++) row_leaves[leaf] = scratch[row_of_block][leaf];
  }
  const u32 sum = tree_sum<Row::LEAVES>(row_leaves);
  return low_halves(sum, sum);
}

// The mean of a row, in both halves. The divisions are those of stepwise.cu.
template <class Row, bool DIVIDE_FIRST>
DEVICE u32 row_mean(const u32 (&values)[Row::STEPS][4], u32 (&scratch)[Row::ROWS][Row::STEPS * Row::WARPS], int row_of_block, int lane) {
  const float n = low_element(both_halves((float)Row::WIDTH));
  if constexpr (DIVIDE_FIRST) {
    u32 quotients[Row::STEPS][4];
#pragma unroll
    for (int s = 0; s < Row::STEPS; s++) {
#pragma unroll
      for (int i = 0; i < 4; i++) quotients[s][i] = pack_elements(low_element(values[s][i]) / n, high_element(values[s][i]) / n);
    }
    return row_sum<Row>(quotients, scratch, row_of_block, lane);
  } else {
    return both_halves(low_element(row_sum<Row>(values, scratch, row_of_block, lane)) / n);
  }
}

// A vector inside the row at `pointer`, minus zeros beyond the row's end.
template <class Row> DEVICE uint4 load_half_row_vector(const u16* pointer, int step, int lane) {
  if constexpr (Row::WIDTH % 8 == 0) return load_global_uint4(pointer);
  const uint2 first = load_global_uint2(pointer);
  const uint2 second = Row::whole(step, lane) ? load_global_uint2(pointer + 4) : make_uint2(MINUS_ZEROS, MINUS_ZEROS);
  return make_uint4(first.x, first.y, second.x, second.y);
}

template <class Row> DEVICE void load_vectors(u32 (&values)[Row::STEPS][4], const u16* source, int lane) {
#pragma unroll
  for (int s = 0; s < Row::STEPS; s++) {
    if (Row::inside(s, lane)) {
      const u16* const pointer = source + (s * Row::LANES + lane) * 8;
      const uint4 vector = Row::WIDTH % 8 == 0 ? *(const uint4*)pointer : load_half_row_vector<Row>(pointer, s, lane);
      values[s][0] = vector.x; values[s][1] = vector.y; values[s][2] = vector.z; values[s][3] = vector.w;
    }
  }
}
template <class Row> DEVICE void store_vectors(u16* destination, const u32 (&values)[Row::STEPS][4], int lane) {
#pragma unroll
  for (int s = 0; s < Row::STEPS; s++) {
    if (!Row::inside(s, lane)) continue;
    u16* const pointer = destination + (s * Row::LANES + lane) * 8;
    if constexpr (Row::WIDTH % 8 == 0) {
      *(uint4*)pointer = make_uint4(values[s][0], values[s][1], values[s][2], values[s][3]);
    } else {
      *(uint2*)pointer = make_uint2(values[s][0], values[s][1]);
      if (Row::whole(s, lane)) *(uint2*)(pointer + 4) = make_uint2(values[s][2], values[s][3]);
    }
  }
}

// The eight sums of a product's parts and its bias at one vector, rounded to FP16. The order is that of `sum_partials` in
// stepwise.cu.
template <int PARTIALS>
DEVICE void load_update(u32 (&update)[4], const float* partials, u64 part_elements, const float* bias) {
  float4 low[PARTIALS], high[PARTIALS];
#pragma unroll
  for (int p = 0; p < PARTIALS; p++) {
    low[p] = load_global_float4(partials + p * part_elements);
    high[p] = load_global_float4(partials + p * part_elements + 4);
  }
#pragma unroll
  for (int p = 1; p < PARTIALS; p++) {
    low[0].x += low[p].x; low[0].y += low[p].y; low[0].z += low[p].z; low[0].w += low[p].w;
    high[0].x += high[p].x; high[0].y += high[p].y; high[0].z += high[p].z; high[0].w += high[p].w;
  }
  const float4 a = *(const float4*)bias, b = *(const float4*)(bias + 4);
  update[0] = pack_elements(low[0].x + a.x, low[0].y + a.y);
  update[1] = pack_elements(low[0].z + a.z, low[0].w + a.w);
  update[2] = pack_elements(high[0].x + b.x, high[0].y + b.y);
  update[3] = pack_elements(high[0].z + b.z, high[0].w + b.w);
}

// The row that enters the layer norm.
template <class Row, int PARTIALS>
DEVICE void load_sum(u32 (&values)[Row::STEPS][4], const LayerNormArguments& arguments, u64 row, int lane) {
  const u16* residual = arguments.residual + row * Row::WIDTH;
#pragma unroll
  for (int s = 0; s < Row::STEPS; s++) {
    values[s][0] = values[s][1] = values[s][2] = values[s][3] = MINUS_ZEROS;
    if (Row::inside(s, lane)) {
      const int column = (s * Row::LANES + lane) * 8;
      const uint4 vector = load_half_row_vector<Row>(residual + column, s, lane);
      values[s][0] = vector.x; values[s][1] = vector.y; values[s][2] = vector.z; values[s][3] = vector.w;
      if constexpr (PARTIALS > 0) {
        u32 update[4];
        load_update<PARTIALS>(update, arguments.partials + row * Row::WIDTH + column, (u64)arguments.rows * Row::WIDTH, arguments.bias + column);
#pragma unroll
        for (int i = 0; i < 4; i++) values[s][i] = add_halves(values[s][i], update[i]);
      }
    }
  }
}

template <class Row, int PARTIALS, bool DIVIDE_FIRST> DEVICE void layer_norm_halves(const LayerNormArguments& arguments) {
  static_assert(PARTIALS == 0 || Row::WIDTH % 8 == 0, "partial sums come in whole vectors");
  __shared__ HalfRowScratch<Row> scratch;
  const int lane = threadIdx.x % Row::LANES, row_of_block = threadIdx.x / Row::LANES;
  u32 gain[Row::STEPS][4], shift[Row::STEPS][4];
  load_vectors<Row>(gain, arguments.gain, lane);   // constants may be read before the wait
  load_vectors<Row>(shift, arguments.shift, lane);

  wait_for_dependencies();
  allow_dependents();

  // A block's spare rows repeat the last one without storing it, so that all its threads reach the barriers.
  const int own_row = ((int)gridDim.x - 1 - (int)blockIdx.x) * Row::ROWS + row_of_block;
  const bool spare = own_row >= arguments.rows;
  const u64 row = spare ? arguments.rows - 1 : own_row;
  u32 values[Row::STEPS][4], squares[Row::STEPS][4];
  load_sum<Row, PARTIALS>(values, arguments, row, lane);
  if (PARTIALS > 0 && arguments.stream && !spare) store_vectors<Row>(arguments.stream + row * Row::WIDTH, values, lane);

  const u32 mean = row_mean<Row, DIVIDE_FIRST>(values, scratch.leaves[0], row_of_block, lane);
#pragma unroll
  for (int s = 0; s < Row::STEPS; s++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      values[s][i] = subtract_halves(values[s][i], mean);
      const bool counts = Row::inside(s, lane) && (i < 2 || Row::whole(s, lane));
      squares[s][i] = counts ? multiply_halves(values[s][i], values[s][i]) : MINUS_ZEROS;
    }
  }
  const u32 variance = row_mean<Row, DIVIDE_FIRST>(squares, scratch.leaves[1], row_of_block, lane);
  const u32 stabilised = add_halves(variance, both_halves(arguments.epsilon));
  const u32 scale = both_halves(1.f / sqrtf(low_element(stabilised)));
#pragma unroll
  for (int s = 0; s < Row::STEPS; s++) {
#pragma unroll
    for (int i = 0; i < 4; i++) values[s][i] = add_halves(multiply_halves(multiply_halves(values[s][i], scale), gain[s][i]), shift[s][i]);
  }
  if (!spare) store_vectors<Row>(arguments.normalised + row * Row::WIDTH, values, lane);
}

// LAYER_NORM_HALVES(name, WIDTH, WARPS, ROWS, PARTIALS, DIVIDE_FIRST) defines the kernel `name`.
#define LAYER_NORM_HALVES(NAME, WIDTH, WARPS, ROWS, PARTIALS, DIVIDE_FIRST)                                            \
  extern "C" __global__ void __launch_bounds__(32 * (WARPS) * (ROWS), 1) NAME(const LayerNormArguments arguments) {    \
    layer_norm_halves<HalfRow<WIDTH, WARPS, ROWS>, PARTIALS, DIVIDE_FIRST>(arguments);                                 \
  }
