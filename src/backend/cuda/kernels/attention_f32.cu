// attention_f32.cu: fused attention of FP32 tensors, context = softmax(scale * Q K^T + mask) V, for any GPU from sm_80 on. Products
// are those of the policy: FP32 (TF32 false), or of operands rounded to TF32 by the tensor cores (TF32 true). Sums, softmax and
// tensors are FP32.
//
// The walk over the keys, the key groups and the online softmax are those of attention.cu; scores and output lie in the same
// fragments, so attention_rows.cu serves both. A thread of lane l holds the rows l / 4 and l / 4 + 8 of a row tile, of the scores
// the keys 8 j + 2 (l % 4) and the next, and of the output the columns 32 m + 8 (l % 4) to 32 m + 8 (l % 4) + 7:
//
//   output[4 m + i][half * 2 + e]   row l / 4 + 8 half, column 32 m + 8 (l % 4) + 4 e + i
//
// Of heads of 80 elements the last 16 of these columns are computed from what lies behind the values, and not stored.
//
// These columns are a permutation of those of mma.m16n8k8, in which each lane loads its values as vectors of four. The order of
// the depth is permuted likewise: an exchange of summands, the same in both operands.
//
// What the host has to know (mirrored in Rust):
//   arguments  one AttentionF32Arguments by value
//   grid       (ceil(sequence / QUERIES), heads, batch), QUERIES = 16 * ROW_TILES * ROW_WARPS
//   block      32 * ROW_WARPS * KEY_GROUPS threads
//   shared     F32Shape::SHARED_BYTES
//   alignment  qkv and context 16 bytes
//
// Compiled after prelude.cu and attention_rows.cu.

struct AttentionF32Arguments {
  const float* qkv;    // [batch * sequence, 3 * heads * SIZE]: Q, K, V side by side, bias already added
  float* context;      // [batch * sequence, heads * SIZE]
  const int* lengths;  // [batch]
  int sequence;
  int heads;
  float scale_log2;  // log2(e) times the scale: scores are exponents of 2
};

template <int SIZE_, int ROW_TILES_, int ROW_WARPS_, int KEY_GROUPS_, int KEYS_, bool TF32_> struct F32Shape {
  static constexpr int SIZE = SIZE_;                     // elements of a head
  static constexpr int HEAD = (SIZE + 31) / 32 * 32;     // columns of the output, of which SIZE are stored
  static constexpr int ROW_TILES = ROW_TILES_, ROW_WARPS = ROW_WARPS_, KEY_GROUPS = KEY_GROUPS_, KEYS = KEYS_;
  static constexpr bool TF32 = TF32_;
  static constexpr int WARP_ROWS = 16 * ROW_TILES, QUERIES = WARP_ROWS * ROW_WARPS;
  static constexpr int GROUP_THREADS = 32 * ROW_WARPS, THREADS = GROUP_THREADS * KEY_GROUPS;

  // Floats from one row to the next. Eight lanes that load vectors of four together meet 32 different banks: with TF32 they load
  // four neighbouring vectors of two neighbouring keys, else one vector of every second key.
  static constexpr int KEY_PITCH = SIZE + (TF32 ? (SIZE + 16) % 32 : 4), VALUE_PITCH = HEAD + 4, PROBABILITY_PITCH = KEYS + 4;

  // Shared memory: the query tile, for each key group two stages of { K tile, V tile }, and without TF32 the probabilities of
  // each warp.
  static constexpr int QUERY_BYTES = QUERIES * KEY_PITCH * 4, KEY_BYTES = KEYS * KEY_PITCH * 4, VALUE_BYTES = KEYS * VALUE_PITCH * 4;
  static constexpr int STAGE_BYTES = KEY_BYTES + VALUE_BYTES, GROUP_BYTES = 2 * STAGE_BYTES;
  static constexpr int MERGE_QUADS = ROW_TILES * (HEAD / 8 + 1), MERGE_BYTES = (KEY_GROUPS - 1) * MERGE_QUADS * GROUP_THREADS * 16;
  static constexpr int TILE_BYTES = KEY_GROUPS * GROUP_BYTES, WORK_BYTES = MERGE_BYTES > TILE_BYTES ? MERGE_BYTES : TILE_BYTES;
  static constexpr int WARP_PROBABILITIES = WARP_ROWS * PROBABILITY_PITCH * 4;
  static constexpr int SHARED_BYTES = QUERY_BYTES + WORK_BYTES + (TF32 ? 0 : ROW_WARPS * KEY_GROUPS * WARP_PROBABILITIES);

  // Blocks that a multiprocessor holds, which caps the registers at 255 a thread.
  static constexpr int CTAS_PER_SM = THREADS <= 256 ? 256 / THREADS : 1;

  static_assert(SIZE % 16 == 0, "head size");
  static_assert(KEYS % 16 == 0, "tiles are whole blocks of keys");
  static_assert(!TF32 || ROW_TILES == 1, "the queries are in registers");
};

// Calls `visit(address, row, chunk)` for each of this thread's chunks of four floats of ROWS rows.
template <int SIZE, int ROWS, int PITCH, int THREADS, class Visit> DEVICE void each_chunk(u32 tile, int thread, Visit visit) {
  constexpr int ROW_CHUNKS = SIZE / 4, CHUNKS = ROWS * ROW_CHUNKS;
#pragma unroll
  for (int first = 0; first < CHUNKS; first += THREADS) {
    const int index = first + thread, row = index / ROW_CHUNKS, chunk = index % ROW_CHUNKS;
    if (CHUNKS % THREADS == 0 || index < CHUNKS) visit(tile + (row * PITCH + chunk * 4) * 4, row, chunk);
  }
}

// Starts the copy of ROWS rows (`pitch` floats apart). Rows from `valid` on are filled with zeros and not read.
template <int SIZE, int ROWS, int PITCH, int THREADS> DEVICE void load_rows(u32 tile, const float* source, int pitch, int valid, int thread) {
  each_chunk<SIZE, ROWS, PITCH, THREADS>(tile, thread, [&](u32 address, int row, int chunk) {
    copy_async_16(address, source + (u64)(row < valid ? row : 0) * pitch + chunk * 4, row < valid);
  });
}

// Rounds the chunks that this thread has copied to TF32, in place.
template <int SIZE, int ROWS, int PITCH, int THREADS> DEVICE void round_rows(unsigned char* shared, u32 tile, int thread) {
  const u32 base = shared_address(shared);
  each_chunk<SIZE, ROWS, PITCH, THREADS>(tile, thread, [&](u32 address, int, int) {
    float4* const chunk = (float4*)(shared + (address - base));
    const float4 x = *chunk;
    *chunk = make_float4(round_to_tf32(x.x), round_to_tf32(x.y), round_to_tf32(x.z), round_to_tf32(x.w));
  });
}

// ---------------------------------------------------------------- products by tensor cores

// The queries of a warp: .x and .y of both rows are the A fragment of one step of eight elements of the head, .z and .w that of
// the next.
template <class Shape> struct QueryFragments { float4 rows[Shape::SIZE / 16][2]; };

template <class Shape> DEVICE void load_fragments(QueryFragments<Shape>& queries, const float* tile, int lane) {
#pragma unroll
  for (int step = 0; step < Shape::SIZE / 16; step++) {
#pragma unroll
    for (int half = 0; half < 2; half++)
      queries.rows[step][half] = *(const float4*)(tile + ((lane >> 2) + half * 8) * Shape::KEY_PITCH + step * 16 + (lane & 3) * 4);
  }
}

template <class Shape> DEVICE void score_tile_tf32(float (&scores)[Shape::KEYS / 8][4], const QueryFragments<Shape>& queries, const float* keys, int lane) {
#pragma unroll
  for (int step = 0; step < Shape::SIZE / 16; step++) {
    const float4 upper = queries.rows[step][0], lower = queries.rows[step][1];
#pragma unroll
    for (int j = 0; j < Shape::KEYS / 8; j++) {
      const float4 key = *(const float4*)(keys + (j * 8 + (lane >> 2)) * Shape::KEY_PITCH + step * 16 + (lane & 3) * 4);
      multiply_accumulate_tf32(scores[j], {upper.x, lower.x, upper.y, lower.y}, key.x, key.y);
      multiply_accumulate_tf32(scores[j], {upper.z, lower.z, upper.w, lower.w}, key.z, key.w);
    }
  }
}

template <class Shape> DEVICE void add_values_tf32(float (&output)[Shape::HEAD / 8][4], const float (&probabilities)[Shape::KEYS / 8][4], const float* values, int lane) {
#pragma unroll
  for (int j = 0; j < Shape::KEYS / 8; j++) {
    const float (&p)[4] = probabilities[j];
    const float4 a = make_float4(round_to_tf32(p[0]), round_to_tf32(p[2]), round_to_tf32(p[1]), round_to_tf32(p[3]));
    const float* const first = values + (j * 8 + (lane & 3) * 2) * Shape::VALUE_PITCH + (lane >> 2) * 4;
#pragma unroll
    for (int m = 0; m < Shape::HEAD / 32; m++) {
      const float4 even = *(const float4*)(first + m * 32), odd = *(const float4*)(first + Shape::VALUE_PITCH + m * 32);
      multiply_accumulate_tf32(output[4 * m], a, even.x, odd.x);
      multiply_accumulate_tf32(output[4 * m + 1], a, even.y, odd.y);
      multiply_accumulate_tf32(output[4 * m + 2], a, even.z, odd.z);
      multiply_accumulate_tf32(output[4 * m + 3], a, even.w, odd.w);
    }
  }
}

// ---------------------------------------------------------------- products in FP32

// sum + a . b
DEVICE float dot(float4 a, float4 b, float sum) { return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum)))); }

// `queries` are the warp's first row in shared memory.
template <class Shape> DEVICE void score_tile_f32(float (&scores)[Shape::ROW_TILES][Shape::KEYS / 8][4], const float* queries, const float* keys, int lane) {
#pragma unroll 2
  for (int d = 0; d < Shape::SIZE; d += 4) {
    float4 query[Shape::ROW_TILES][2];
#pragma unroll
    for (int r = 0; r < Shape::ROW_TILES * 2; r++) query[r / 2][r % 2] = *(const float4*)(queries + (r * 8 + (lane >> 2)) * Shape::KEY_PITCH + d);
#pragma unroll
    for (int j = 0; j < Shape::KEYS / 8; j++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const float4 key = *(const float4*)(keys + (j * 8 + (lane & 3) * 2 + e) * Shape::KEY_PITCH + d);
#pragma unroll
        for (int r = 0; r < Shape::ROW_TILES * 2; r++) scores[r / 2][j][r % 2 * 2 + e] = dot(query[r / 2][r % 2], key, scores[r / 2][j][r % 2 * 2 + e]);
      }
    }
  }
}

// The probabilities pass through the warp's own part of shared memory, where each lane finds those of all keys for its rows.
template <class Shape>
DEVICE void add_values_f32(float (&output)[Shape::ROW_TILES][Shape::HEAD / 8][4], const float (&probabilities)[Shape::ROW_TILES][Shape::KEYS / 8][4],
                           float* exchange, const float* values, int lane) {
  __syncwarp();   // every lane has read the last tile's
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES * 2; r++) {
#pragma unroll
    for (int j = 0; j < Shape::KEYS / 8; j++) {
      const float* p = &probabilities[r / 2][j][r % 2 * 2];
      *(float2*)(exchange + (r * 8 + (lane >> 2)) * Shape::PROBABILITY_PITCH + j * 8 + (lane & 3) * 2) = make_float2(p[0], p[1]);
    }
  }
  __syncwarp();
#pragma unroll 2
  for (int key = 0; key < Shape::KEYS; key += 4) {
    float p[Shape::ROW_TILES * 2][4];
#pragma unroll
    for (int r = 0; r < Shape::ROW_TILES * 2; r++) {
      const float4 four = *(const float4*)(exchange + (r * 8 + (lane >> 2)) * Shape::PROBABILITY_PITCH + key);
      p[r][0] = four.x; p[r][1] = four.y; p[r][2] = four.z; p[r][3] = four.w;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
#pragma unroll
      for (int part = 0; part < Shape::HEAD / 16; part++) {   // four columns: 32 m + 8 (lane % 4) + 4 e
        const int m = part / 2, e = part % 2;
        const float4 value = *(const float4*)(values + (key + k) * Shape::VALUE_PITCH + m * 32 + (lane & 3) * 8 + e * 4);
#pragma unroll
        for (int r = 0; r < Shape::ROW_TILES * 2; r++) {
          float (*const o)[4] = &output[r / 2][4 * m];
          const int at = r % 2 * 2 + e;
          o[0][at] = fmaf(p[r][k], value.x, o[0][at]);
          o[1][at] = fmaf(p[r][k], value.y, o[1][at]);
          o[2][at] = fmaf(p[r][k], value.z, o[2][at]);
          o[3][at] = fmaf(p[r][k], value.w, o[3][at]);
        }
      }
    }
  }
}

// ---------------------------------------------------------------- the kernel

// Divides by the sums and stores a warp's rows. `context` is that of its first row.
template <class Shape> DEVICE void store_rows_f32(const RowState<Shape::HEAD, Shape::ROW_TILES>& state, float* context, int pitch, int valid, int lane) {
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = state.sum[r][half];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      const float inverse = 1.0f / sum;
      const int row = r * 16 + half * 8 + (lane >> 2);
      if (row >= valid) continue;
#pragma unroll
      for (int part = 0; part < Shape::HEAD / 16; part++) {
        const int m = part / 2, e = part % 2, at = half * 2 + e;
        const float (*const o)[4] = &state.output[r][4 * m];
        if (Shape::SIZE < Shape::HEAD && m * 32 + (lane & 3) * 8 + e * 4 >= Shape::SIZE) continue;
        *(float4*)(context + (u64)row * pitch + m * 32 + (lane & 3) * 8 + e * 4) =
            make_float4(o[0][at] * inverse, o[1][at] * inverse, o[2][at] * inverse, o[3][at] * inverse);
      }
    }
  }
}

template <class Shape, bool CAUSAL> DEVICE void attention_f32(const AttentionF32Arguments& arguments) {
  constexpr int SIZE = Shape::SIZE, KEYS = Shape::KEYS;
  extern __shared__ __align__(128) unsigned char shared[];

  const int group = Shape::KEY_GROUPS == 1 ? 0 : threadIdx.x / Shape::GROUP_THREADS;
  const int thread = threadIdx.x - group * Shape::GROUP_THREADS, lane = threadIdx.x & 31;
  const int warp_row = thread / 32 * Shape::WARP_ROWS;   // of the query tile
  const int sequence = arguments.sequence, head = blockIdx.y;
  const int batch = gridDim.z - 1 - blockIdx.z;   // see attention()
  const int first_query = (CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * Shape::QUERIES, first_row = first_query + warp_row;
  const int hidden = arguments.heads * SIZE, pitch = 3 * hidden;
  const float* const queries_in = arguments.qkv + (u64)batch * sequence * pitch + head * SIZE;
  const float* const keys_in = queries_in + hidden;
  const int length = arguments.lengths[batch];
  const int reach = CAUSAL && first_query + Shape::QUERIES < length ? first_query + Shape::QUERIES : length;
  const int tiles = (reach + KEYS - 1) / KEYS;

  const u32 query_tile = shared_address(shared), group_tiles = query_tile + Shape::QUERY_BYTES + group * Shape::GROUP_BYTES;
  float* const exchange = (float*)(shared + Shape::QUERY_BYTES + Shape::WORK_BYTES + threadIdx.x / 32 * Shape::WARP_PROBABILITIES);
  auto load_keys_and_values = [&](int tile, int stage) {
    const u32 keys = group_tiles + stage * Shape::STAGE_BYTES;
    const float* const source = keys_in + (u64)(tile * KEYS) * pitch;
    load_rows<SIZE, KEYS, Shape::KEY_PITCH, Shape::GROUP_THREADS>(keys, source, pitch, length - tile * KEYS, thread);
    load_rows<SIZE, KEYS, Shape::VALUE_PITCH, Shape::GROUP_THREADS>(keys + Shape::KEY_BYTES, source + hidden, pitch, length - tile * KEYS, thread);
  };
  // Waits for this thread's copies and rounds them where the products take TF32.
  auto finish_keys_and_values = [&](int stage) {
    copy_async_wait<0>();
    if constexpr (Shape::TF32) {
      const u32 keys = group_tiles + stage * Shape::STAGE_BYTES;
      round_rows<SIZE, KEYS, Shape::KEY_PITCH, Shape::GROUP_THREADS>(shared, keys, thread);
      round_rows<SIZE, KEYS, Shape::VALUE_PITCH, Shape::GROUP_THREADS>(shared, keys + Shape::KEY_BYTES, thread);
    }
  };

  wait_for_dependencies();
  allow_dependents();

  load_rows<SIZE, Shape::QUERIES, Shape::KEY_PITCH, Shape::THREADS>(query_tile, queries_in + (u64)first_query * pitch, pitch, sequence - first_query, threadIdx.x);
  if (group < tiles) load_keys_and_values(group, 0);
  copy_async_commit();

  RowState<Shape::HEAD, Shape::ROW_TILES> state;
  state.clear();

  copy_async_wait<0>();
  if constexpr (Shape::TF32) round_rows<SIZE, Shape::QUERIES, Shape::KEY_PITCH, Shape::THREADS>(shared, query_tile, threadIdx.x);
  if (group < tiles) finish_keys_and_values(0);
  __syncthreads();
  const float* const queries = (const float*)shared + warp_row * Shape::KEY_PITCH;
  QueryFragments<Shape> fragments;
  if constexpr (Shape::TF32) load_fragments<Shape>(fragments, queries, lane);

  // The groups share their barriers, so a group without a tile in the last round takes part in it too.
  const int rounds = (tiles + Shape::KEY_GROUPS - 1) / Shape::KEY_GROUPS;
  int stage = 0;
#pragma unroll 1
  for (int round = 0; round < rounds; round++) {
    const int tile = round * Shape::KEY_GROUPS + group;
    const bool more = tile + Shape::KEY_GROUPS < tiles;
    if (more) load_keys_and_values(tile + Shape::KEY_GROUPS, stage ^ 1);   // while computing
    copy_async_commit();

    const int first_key = tile * KEYS;
    const bool has_tile = Shape::KEY_GROUPS == 1 || tile < tiles;
    if (has_tile && (!CAUSAL || first_key < first_row + Shape::WARP_ROWS)) {
      const float* const keys = (const float*)(shared + Shape::QUERY_BYTES + group * Shape::GROUP_BYTES + stage * Shape::STAGE_BYTES);
      const float* const values = keys + Shape::KEY_BYTES / 4;
      float scores[Shape::ROW_TILES][KEYS / 8][4] = {};
      if constexpr (Shape::TF32) score_tile_tf32<Shape>(scores[0], fragments, keys, lane);
      else score_tile_f32<Shape>(scores, queries, keys, lane);
      if (first_key + KEYS > (CAUSAL && first_row + 1 < length ? first_row + 1 : length)) mask_tile<Shape, CAUSAL>(scores, first_key, first_row, length, lane);
      float rescale[Shape::ROW_TILES][2];
      softmax_step<Shape>(state, scores, rescale, arguments.scale_log2);
      rescale_output<Shape>(state, rescale);
      if constexpr (Shape::TF32) add_values_tf32<Shape>(state.output[0], scores[0], values, lane);
      else add_values_f32<Shape>(state.output, scores, exchange, values, lane);
    }
    if (round + 1 < rounds) {
      // After this the next tile has landed, and this one may be overwritten. A group of one warp shares its tiles with no
      // other warp.
      if (more) finish_keys_and_values(stage ^ 1);
      if (Shape::ROW_WARPS == 1) __syncwarp(); else __syncthreads();
    }
    stage ^= 1;
  }

  if (Shape::KEY_GROUPS > 1) {
    __syncthreads();   // the merge overwrites the tiles
    merge_groups<Shape>(state, (float4*)(shared + Shape::QUERY_BYTES), group, thread, arguments.scale_log2);
    if (group > 0) return;
  }
  float* const context = arguments.context + ((u64)batch * sequence + first_row) * hidden + head * SIZE;
  store_rows_f32<Shape>(state, context, hidden, sequence - first_row, lane);
}

// ATTENTION_F32(name, SIZE, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS, TF32, CAUSAL) defines the kernel `name`.
#define ATTENTION_F32(NAME, SIZE, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS, TF32, CAUSAL)                                \
  extern "C" __global__ void __launch_bounds__(                                                                        \
      F32Shape<SIZE, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS, TF32>::THREADS,                                           \
      F32Shape<SIZE, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS, TF32>::CTAS_PER_SM)                                       \
      NAME(const AttentionF32Arguments arguments) {                                                                    \
    attention_f32<F32Shape<SIZE, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS, TF32>, CAUSAL>(arguments);                    \
  }
