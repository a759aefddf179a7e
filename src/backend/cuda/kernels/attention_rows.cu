// attention_rows.cu: what attention.cu and attention_wgmma.cu do with their query rows: load tiles, mask scores, take the
// online softmax, merge key groups and store the context. Both leave scores and output in the same fragments. Compiled
// after prelude.cu and before one of them.
//
// `Shape` is the shape of the kernel: AttentionShape or WgmmaAttentionShape.

struct AttentionArguments {
  const u16* qkv;      // [batch * sequence, 3 * heads * HEAD]: Q, K, V side by side, bias already added
  u16* context;        // [batch * sequence, heads * HEAD]
  const int* lengths;  // [batch], or null when every row has `sequence` keys
  int sequence;
  int heads;
  float scale_log2;  // log2(e) / sqrt(HEAD): scores are exponents of 2
};

DEVICE float minus_infinity() { return __int_as_float(0xff800000); }

// A thread's part of its warp's rows, in the accumulator layout of mma.m16n8k16. Of each 16 x 8 block, lane l holds the
// columns 2 * (l % 4) and the next: of row l / 4 in elements 0 and 1 ("half 0"), and of row l / 4 + 8 in elements 2 and 3
// ("half 1").
template <int HEAD, int ROW_TILES>
struct RowState {
  float output[ROW_TILES][HEAD / 8][4];  // not yet divided by sum
  float max[ROW_TILES][2];               // greatest raw score so far
  float sum[ROW_TILES][2];               // this lane's share of the sum of exponentials

  DEVICE void clear() {
#pragma unroll
    for (int r = 0; r < ROW_TILES; r++) {
      max[r][0] = max[r][1] = minus_infinity();
      sum[r][0] = sum[r][1] = 0.0f;
#pragma unroll
      for (int j = 0; j < HEAD / 8; j++) output[r][j][0] = output[r][j][1] = output[r][j][2] = output[r][j][3] = 0.0f;
    }
  }
};

// Byte offset of the 16-byte chunk `chunk` of row `row` in a tile of `rows` rows of HEAD elements. One ldmatrix phase reads the
// same chunk of eight rows, and the XOR puts these into different banks: a row of 64 elements spans all 32 banks, a row of 32
// elements half of them, a row of 16 a quarter. They are the hardware's swizzles of 128, 64 and 32 bytes. Of wider rows the
// first 64 columns are a tile of their own, and the others a second one behind it.
template <int HEAD>
DEVICE u32 tile_offset(int row, int chunk, int rows) {
  static_assert(HEAD == 16 || HEAD == 32 || HEAD == 64 || HEAD == 80 || HEAD == 96 || HEAD == 128, "head size");
  if constexpr (HEAD > 64) return chunk < 8 ? swizzled_offset(row, chunk) : rows * 128 + tile_offset<HEAD - 64>(row, chunk - 8, rows);
  if (HEAD == 64) return swizzled_offset(row, chunk);
  if (HEAD == 16) return row * 32 + ((chunk ^ ((row >> 2) & 1)) << 4);
  return row * 64 + ((chunk ^ ((row >> 1) & 3)) << 4);
}

// Starts the copy of ROWS rows of HEAD elements (`pitch` elements apart) to a swizzled tile. Neighbouring threads copy
// neighbouring chunks of 16 bytes. Rows from `valid` on are filled with zeros and not read.
template <int HEAD, int ROWS, int THREADS>
DEVICE void load_tile(u32 tile, const u16* source, int pitch, int valid, int thread) {
  if constexpr (HEAD > 64) {
    load_tile<64, ROWS, THREADS>(tile, source, pitch, valid, thread);
    load_tile<HEAD - 64, ROWS, THREADS>(tile + ROWS * 128, source + 64, pitch, valid, thread);
  } else {
    constexpr int ROW_CHUNKS = HEAD / 8;
    constexpr int PASS_ROWS = THREADS / ROW_CHUNKS;
    const int first = static_cast<unsigned>(thread) / ROW_CHUNKS;
    const int chunk = static_cast<unsigned>(thread) % ROW_CHUNKS;
    const u32 to = tile + tile_offset<HEAD>(first, chunk, ROWS);
#pragma unroll
    for (int pass = 0; pass < ROWS; pass += PASS_ROWS) {
      const int row = first + pass;
      if (ROWS % PASS_ROWS == 0 || row < ROWS) {
        // Passes of a multiple of eight rows all have the same swizzle.
        copy_async_16(PASS_ROWS % 8 == 0 ? to + pass * 2 * HEAD : tile + tile_offset<HEAD>(row, chunk, ROWS),
                      source + row * pitch + chunk * 8, row < valid);
      }
    }
  }
}

// The A fragments of a warp's query rows: [row tile][16 elements of the head][4 registers].
template <class Shape>
DEVICE void load_queries(u32 (&queries)[Shape::ROW_TILES][Shape::HEAD / 16][4], u32 tile, int first_row, int lane) {
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
#pragma unroll
    for (int k = 0; k < Shape::HEAD / 16; k++) {
      load_matrices(queries[r][k],
                    tile + tile_offset<Shape::HEAD>(first_row + r * 16 + (lane & 15), k * 2 + (lane >> 4), Shape::QUERIES));
    }
  }
}

// Sets the scores of keys at or beyond `length` to minus infinity, and if CAUSAL also those of keys after the query. This is
// a selection, not an addition: an additive mask would turn a large score into a wrong one.
template <class Shape, bool CAUSAL>
DEVICE void mask_tile(float (&scores)[Shape::ROW_TILES][Shape::KEYS / 8][4], int first_key, int first_row, int length,
                      int lane) {
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = first_row + r * 16 + half * 8 + (lane >> 2);
      const int end = CAUSAL && row + 1 < length ? row + 1 : length;
#pragma unroll
      for (int j = 0; j < Shape::KEYS / 8; j++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const int key = first_key + j * 8 + (lane & 3) * 2 + e;
          if (key >= end) scores[r][j][half * 2 + e] = minus_infinity();
        }
      }
    }
  }
}

// One step of the online softmax: raises the running maximum, replaces the scores by exp2(scale * (score - max)) and adds
// them to the running sum. `rescale` is the factor for the output that was accumulated under the old maximum.
template <class Shape>
DEVICE void softmax_step(RowState<Shape::HEAD, Shape::ROW_TILES>& state,
                         float (&scores)[Shape::ROW_TILES][Shape::KEYS / 8][4], float (&rescale)[Shape::ROW_TILES][2],
                         float scale) {
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int e = half * 2;
      const float old_max = state.max[r][half];
      float max = old_max;
#pragma unroll
      for (int j = 0; j < Shape::KEYS / 8; j++) max = fmaxf(max, fmaxf(scores[r][j][e], scores[r][j][e + 1]));
      // The four lanes of a quad share a row.
      max = fmaxf(max, __shfl_xor_sync(0xffffffff, max, 1));
      max = fmaxf(max, __shfl_xor_sync(0xffffffff, max, 2));
      state.max[r][half] = max;
      // A row without a visible key so far stays zero. Without this it would compute inf - inf.
      const float scaled_max = max == minus_infinity() ? 0.0f : max * scale;
      rescale[r][half] = exp2_flushed(fmaf(old_max, scale, -scaled_max));
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < Shape::KEYS / 8; j++) {
        scores[r][j][e] = exp2_flushed(fmaf(scores[r][j][e], scale, -scaled_max));
        scores[r][j][e + 1] = exp2_flushed(fmaf(scores[r][j][e + 1], scale, -scaled_max));
        sum += scores[r][j][e] + scores[r][j][e + 1];
      }
      state.sum[r][half] = fmaf(state.sum[r][half], rescale[r][half], sum);
    }
  }
}

template <class Shape>
DEVICE void rescale_output(RowState<Shape::HEAD, Shape::ROW_TILES>& state,
                           const float (&rescale)[Shape::ROW_TILES][2]) {
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
#pragma unroll
    for (int j = 0; j < Shape::HEAD / 8; j++) {
      state.output[r][j][0] *= rescale[r][0];
      state.output[r][j][1] *= rescale[r][0];
      state.output[r][j][2] *= rescale[r][1];
      state.output[r][j][3] *= rescale[r][1];
    }
  }
}

// Rounds and packs the accumulators of two neighbouring 8-key blocks: they are the A fragment of a 16-key step.
DEVICE void pack_probabilities(u32 (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = pack_elements(left[0], left[1]);
  a[1] = pack_elements(left[2], left[3]);
  a[2] = pack_elements(right[0], right[1]);
  a[3] = pack_elements(right[2], right[3]);
}

// Merges the key groups. Groups 1.. store their state in `area`, indexed [group - 1][quad of floats][thread] so that
// neighbouring threads access neighbouring words. Group 0 adds them to its own, in the order of the groups.
template <class Shape>
DEVICE void merge_groups(RowState<Shape::HEAD, Shape::ROW_TILES>& state, float4* area, int group, int thread,
                         float scale) {
  constexpr int BLOCKS = Shape::HEAD / 8;
  if (group > 0) {
    float4* own = area + (group - 1) * Shape::MERGE_QUADS * Shape::GROUP_THREADS + thread;
#pragma unroll
    for (int r = 0; r < Shape::ROW_TILES; r++) {
      own[(r * (BLOCKS + 1) + BLOCKS) * Shape::GROUP_THREADS] =
          make_float4(state.max[r][0], state.max[r][1], state.sum[r][0], state.sum[r][1]);
#pragma unroll
      for (int j = 0; j < BLOCKS; j++) {
        const float* o = state.output[r][j];
        own[(r * (BLOCKS + 1) + j) * Shape::GROUP_THREADS] = make_float4(o[0], o[1], o[2], o[3]);
      }
    }
  }
  __syncthreads();
  if (group > 0) return;
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
    float max[2] = {state.max[r][0], state.max[r][1]};
#pragma unroll
    for (int g = 1; g < Shape::KEY_GROUPS; g++) {
      const float4 other =
          area[((g - 1) * Shape::MERGE_QUADS + r * (BLOCKS + 1) + BLOCKS) * Shape::GROUP_THREADS + thread];
      max[0] = fmaxf(max[0], other.x);
      max[1] = fmaxf(max[1], other.y);
    }
#pragma unroll
    for (int g = 0; g < Shape::KEY_GROUPS; g++) {
      const float4* theirs = area + ((g - 1) * Shape::MERGE_QUADS + r * (BLOCKS + 1)) * Shape::GROUP_THREADS + thread;
      const float4 tail = g == 0 ? make_float4(state.max[r][0], state.max[r][1], state.sum[r][0], state.sum[r][1])
                                 : theirs[BLOCKS * Shape::GROUP_THREADS];
      const float weight0 = exp2_flushed((tail.x - max[0]) * scale);
      const float weight1 = exp2_flushed((tail.y - max[1]) * scale);
      state.sum[r][0] = (g == 0 ? 0.0f : state.sum[r][0]) + tail.z * weight0;
      state.sum[r][1] = (g == 0 ? 0.0f : state.sum[r][1]) + tail.w * weight1;
#pragma unroll
      for (int j = 0; j < BLOCKS; j++) {
        float* o = state.output[r][j];
        const float4 add = g == 0 ? make_float4(o[0], o[1], o[2], o[3]) : theirs[j * Shape::GROUP_THREADS];
        o[0] = (g == 0 ? 0.0f : o[0]) + add.x * weight0;
        o[1] = (g == 0 ? 0.0f : o[1]) + add.y * weight0;
        o[2] = (g == 0 ? 0.0f : o[2]) + add.z * weight1;
        o[3] = (g == 0 ? 0.0f : o[3]) + add.w * weight1;
      }
    }
  }
}

// Divides by the sums and stores a warp's rows. They pass through the warp's part of the query tile, which is free by now, so
// that each lane stores 16 bytes and a row's bytes are stored together.
template <class Shape>
DEVICE void store_rows(RowState<Shape::HEAD, Shape::ROW_TILES>& state, unsigned char* tile, int tile_row, u16* context,
                       int pitch, int valid, int lane) {
  constexpr int ROW_CHUNKS = Shape::HEAD / 8;
  __syncwarp();  // all lanes have read their queries
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = state.sum[r][half];
      sum += __shfl_xor_sync(0xffffffff, sum, 1);
      sum += __shfl_xor_sync(0xffffffff, sum, 2);
      const float inverse = __fdividef(1.0f, sum);  // 2 ulp: the sum is between 1 and the sequence length
      const int row = tile_row + r * 16 + half * 8 + (lane >> 2);
#pragma unroll
      for (int j = 0; j < Shape::HEAD / 8; j++) {
        *reinterpret_cast<u32*>(tile + tile_offset<Shape::HEAD>(row, j, Shape::QUERIES) + (lane & 3) * 4) =
            pack_elements(state.output[r][j][half * 2] * inverse, state.output[r][j][half * 2 + 1] * inverse);
      }
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < Shape::WARP_ROWS * ROW_CHUNKS / 32; i++) {
    const int row = (i * 32 + lane) / ROW_CHUNKS;
    const int chunk = (32 % ROW_CHUNKS == 0 ? lane : i * 32 + lane) % ROW_CHUNKS;
    if (row < valid) {
      *reinterpret_cast<uint4*>(context + row * pitch + chunk * 8) =
          *reinterpret_cast<const uint4*>(tile + tile_offset<Shape::HEAD>(tile_row + row, chunk, Shape::QUERIES));
    }
  }
}
