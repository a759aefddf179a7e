// attention.cu: fused attention by mma.sync, context = softmax(scale * Q K^T + mask) V, for any GPU from sm_80 on.
//
// One CTA owns QUERIES consecutive query rows of one head of one batch row. It walks over the keys in tiles of KEYS, with
// the online softmax of FlashAttention-2 (Dao, arXiv 2307.08691). Scores, softmax and accumulation are FP32. Probabilities
// are rounded to the 16-bit element type for the second product; their sum is taken before that rounding.
//
// Warps of a CTA: ROW_WARPS x KEY_GROUPS. A warp owns ROW_TILES * 16 query rows. The ROW_WARPS warps of a key group
// share the K and V tiles in shared memory. With several key groups, each walks over every KEY_GROUPS-th tile, and the
// groups are merged at the end, in fixed order. Few rows and many groups give low latency at batch 1. Many rows and one
// group give throughput, since each K and V fragment read from shared memory then feeds ROW_TILES products.
//
// What the host has to know (mirrored in Rust):
//   arguments  one AttentionArguments by value
//   grid       (ceil(sequence / QUERIES), heads, batch), QUERIES = 16 * ROW_TILES * ROW_WARPS
//   block      32 * ROW_WARPS * KEY_GROUPS threads
//   shared     AttentionShape::SHARED_BYTES = 2 * HEAD * QUERIES + max(8 * HEAD * KEY_GROUPS * KEYS,
//              512 * (KEY_GROUPS - 1) * ROW_WARPS * ROW_TILES * (HEAD / 8 + 1))
//   lengths    written before the forward pass starts, and by none of its kernels: they are read before the wait for
//              the previous kernel. Each is in 1..=sequence. Keys at or beyond a row's length are not read. Queries
//              beyond it are computed, as the graph defines: the mask is over keys only.
//   alignment  qkv and context 16 bytes; HEAD is 32, 64, 80, 96 or 128
//   registers  no spills from sm_80 to sm_120 at ROW_TILES 1 with KEYS up to 64, and at ROW_TILES 2 with KEYS up to 32 and
//              HEAD up to 96
//
// Compiled after prelude.cu and attention_rows.cu; ELEMENT_BF16 selects bfloat16.

template <int HEAD_, int ROW_TILES_, int ROW_WARPS_, int KEY_GROUPS_, int KEYS_>
struct AttentionShape {
  static constexpr int HEAD = HEAD_;
  static constexpr int ROW_TILES = ROW_TILES_;
  static constexpr int ROW_WARPS = ROW_WARPS_;
  static constexpr int KEY_GROUPS = KEY_GROUPS_;
  static constexpr int KEYS = KEYS_;

  static constexpr int WARP_ROWS = 16 * ROW_TILES;
  static constexpr int QUERIES = WARP_ROWS * ROW_WARPS;
  static constexpr int GROUP_THREADS = 32 * ROW_WARPS;
  static constexpr int THREADS = GROUP_THREADS * KEY_GROUPS;

  // Shared memory: the query tile, then for each key group two stages of { K tile, V tile }.
  static constexpr int ROW_BYTES = 2 * HEAD;
  static constexpr int QUERY_BYTES = QUERIES * ROW_BYTES;
  static constexpr int KEY_BYTES = KEYS * ROW_BYTES;
  static constexpr int STAGE_BYTES = 2 * KEY_BYTES;
  static constexpr int GROUP_BYTES = 2 * STAGE_BYTES;
  // The merge reuses the K and V area: every thread of groups 1.. stores its accumulators there.
  static constexpr int MERGE_QUADS = ROW_TILES * (HEAD / 8 + 1);
  static constexpr int MERGE_BYTES = (KEY_GROUPS - 1) * MERGE_QUADS * GROUP_THREADS * 16;
  static constexpr int TILE_BYTES = KEY_GROUPS * GROUP_BYTES;
  static constexpr int SHARED_BYTES = QUERY_BYTES + (MERGE_BYTES > TILE_BYTES ? MERGE_BYTES : TILE_BYTES);

  // CTAs that a multiprocessor holds. This caps the registers at 128, 168 or 255 per thread, which each size needs to
  // avoid spills on sm_80 to sm_120.
  static constexpr bool MANY_REGISTERS = ROW_TILES > 1 || HEAD > 64 && KEYS == 64 || HEAD == 128 && KEYS == 32;
  static constexpr int WARPS_PER_SM = MANY_REGISTERS ? 8 : HEAD > 64 || KEYS == 64 ? 12 : 16;
  static constexpr int CTAS_PER_SM = 32 * WARPS_PER_SM >= THREADS ? 32 * WARPS_PER_SM / THREADS : 1;

  static_assert(KEYS % 16 == 0, "the second product takes 16 keys at a time");
};

// scores = Q K^T, unscaled. One ldmatrix loads the B fragments of 16 keys by 16 elements.
template <class Shape>
DEVICE void score_tile(float (&scores)[Shape::ROW_TILES][Shape::KEYS / 8][4],
                       const u32 (&queries)[Shape::ROW_TILES][Shape::HEAD / 16][4], u32 keys, int lane) {
#pragma unroll
  for (int r = 0; r < Shape::ROW_TILES; r++) {
#pragma unroll
    for (int j = 0; j < Shape::KEYS / 8; j++) {
      scores[r][j][0] = scores[r][j][1] = scores[r][j][2] = scores[r][j][3] = 0.0f;
    }
  }
  const int key = (lane & 7) + ((lane >> 4) << 3);
#pragma unroll
  for (int k = 0; k < Shape::HEAD / 16; k++) {
#pragma unroll
    for (int j = 0; j < Shape::KEYS / 8; j += 2) {
      u32 b[4];
      load_matrices(b, keys + tile_offset<Shape::HEAD>(j * 8 + key, k * 2 + ((lane >> 3) & 1), Shape::KEYS));
#pragma unroll
      for (int r = 0; r < Shape::ROW_TILES; r++) {
        multiply_accumulate(scores[r][j], queries[r][k], b[0], b[1]);
        multiply_accumulate(scores[r][j + 1], queries[r][k], b[2], b[3]);
      }
    }
  }
}

// output += P V, 16 keys at a time.
template <class Shape>
DEVICE void add_values(RowState<Shape::HEAD, Shape::ROW_TILES>& state,
                       const float (&probabilities)[Shape::ROW_TILES][Shape::KEYS / 8][4], u32 values, int lane) {
#pragma unroll
  for (int k = 0; k < Shape::KEYS / 16; k++) {
    u32 a[Shape::ROW_TILES][4];
#pragma unroll
    for (int r = 0; r < Shape::ROW_TILES; r++) {
      pack_probabilities(a[r], probabilities[r][2 * k], probabilities[r][2 * k + 1]);
    }
#pragma unroll
    for (int j = 0; j < Shape::HEAD / 8; j += 2) {
      u32 b[4];
      load_matrices_transposed(b, values + tile_offset<Shape::HEAD>(k * 16 + (lane & 15), j + (lane >> 4), Shape::KEYS));
#pragma unroll
      for (int r = 0; r < Shape::ROW_TILES; r++) {
        multiply_accumulate(state.output[r][j], a[r], b[0], b[1]);
        multiply_accumulate(state.output[r][j + 1], a[r], b[2], b[3]);
      }
    }
  }
}

template <class Shape, bool CAUSAL>
DEVICE void attention(const AttentionArguments& arguments) {
  constexpr int HEAD = Shape::HEAD;
  extern __shared__ __align__(128) unsigned char shared[];

  const int group = Shape::KEY_GROUPS == 1 ? 0 : threadIdx.x / Shape::GROUP_THREADS;
  const int thread = threadIdx.x - group * Shape::GROUP_THREADS;
  const int lane = threadIdx.x & 31;
  const int warp_row = thread / 32 * Shape::WARP_ROWS;  // of the query tile
  const int sequence = arguments.sequence;
  const int head = blockIdx.y;
  // The projection before this kernel writes its rows from first to last, so the last ones are still in L2.
  const int batch = gridDim.z - 1 - blockIdx.z;
  // Causal rows late in the sequence see most keys. Their CTAs start first, so that no long one is left for the end.
  const int first_query = (CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * Shape::QUERIES;
  const int first_row = first_query + warp_row;
  const int hidden = arguments.heads * HEAD;
  const int pitch = 3 * hidden;
  const u16* queries_in = arguments.qkv + static_cast<u64>(batch) * sequence * pitch + head * HEAD;
  const u16* keys_in = queries_in + hidden;

  const int length = arguments.lengths ? arguments.lengths[batch] : sequence;
  // Keys that some row of this CTA sees.
  const int reach = CAUSAL && first_query + Shape::QUERIES < length ? first_query + Shape::QUERIES : length;
  const int tiles = (reach + Shape::KEYS - 1) / Shape::KEYS;

  const u32 query_tile = shared_address(shared);
  const u32 group_tiles = query_tile + Shape::QUERY_BYTES + group * Shape::GROUP_BYTES;
  auto load_keys_and_values = [&](int tile, int stage) {
    const u32 destination = group_tiles + stage * Shape::STAGE_BYTES;
    const int first_key = tile * Shape::KEYS;
    const u16* source = keys_in + first_key * pitch;
    load_tile<HEAD, Shape::KEYS, Shape::GROUP_THREADS>(destination, source, pitch, length - first_key, thread);
    load_tile<HEAD, Shape::KEYS, Shape::GROUP_THREADS>(destination + Shape::KEY_BYTES, source + hidden, pitch,
                                                       length - first_key, thread);
  };

  wait_for_dependencies();
  allow_dependents();

  load_tile<HEAD, Shape::QUERIES, Shape::THREADS>(query_tile, queries_in + first_query * pitch, pitch,
                                                  sequence - first_query, threadIdx.x);
  if (group < tiles) load_keys_and_values(group, 0);
  copy_async_commit();

  RowState<HEAD, Shape::ROW_TILES> state;
  state.clear();

  copy_async_wait<0>();
  __syncthreads();
  u32 queries[Shape::ROW_TILES][HEAD / 16][4];
  load_queries<Shape>(queries, query_tile, warp_row, lane);

  // The groups share their barriers, so a group without a tile in the last round takes part in it too.
  const int rounds = (tiles + Shape::KEY_GROUPS - 1) / Shape::KEY_GROUPS;
  int stage = 0;
#pragma unroll 1
  for (int round = 0; round < rounds; round++) {
    const int tile = round * Shape::KEY_GROUPS + group;
    if (tile + Shape::KEY_GROUPS < tiles) load_keys_and_values(tile + Shape::KEY_GROUPS, stage ^ 1);  // while computing
    copy_async_commit();

    const int first_key = tile * Shape::KEYS;
    const bool has_tile = Shape::KEY_GROUPS == 1 || tile < tiles;
    if (has_tile && (!CAUSAL || first_key < first_row + Shape::WARP_ROWS)) {
      const u32 keys = group_tiles + stage * Shape::STAGE_BYTES;
      float scores[Shape::ROW_TILES][Shape::KEYS / 8][4];
      score_tile<Shape>(scores, queries, keys, lane);
      if (first_key + Shape::KEYS > (CAUSAL && first_row + 1 < length ? first_row + 1 : length)) {
        mask_tile<Shape, CAUSAL>(scores, first_key, first_row, length, lane);
      }
      float rescale[Shape::ROW_TILES][2];
      softmax_step<Shape>(state, scores, rescale, arguments.scale_log2);
      rescale_output<Shape>(state, rescale);
      add_values<Shape>(state, scores, keys + Shape::KEY_BYTES, lane);
    }
    if (round + 1 < rounds) {
      // After this the next tile has landed, and this one may be overwritten. A group of one warp shares its tiles with no
      // other warp.
      copy_async_wait<0>();
      if (Shape::ROW_WARPS == 1) {
        __syncwarp();
      } else {
        __syncthreads();
      }
    }
    stage ^= 1;
  }

  if (Shape::KEY_GROUPS > 1) {
    __syncthreads();  // the merge overwrites the tiles
    merge_groups<Shape>(state, reinterpret_cast<float4*>(shared + Shape::QUERY_BYTES), group, thread,
                        arguments.scale_log2);
    if (group > 0) return;
  }
  u16* context = arguments.context + (static_cast<u64>(batch) * sequence + first_row) * hidden + head * HEAD;
  store_rows<Shape>(state, shared, warp_row, context, hidden, sequence - first_row, lane);
}

// ATTENTION(name, HEAD, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS, CAUSAL) defines the kernel `name`.
#define ATTENTION(NAME, HEAD, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS, CAUSAL)                                          \
  extern "C" __global__ void __launch_bounds__(                                                                        \
      AttentionShape<HEAD, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS>::THREADS,                                           \
      AttentionShape<HEAD, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS>::CTAS_PER_SM)                                       \
      NAME(const AttentionArguments arguments) {                                                                       \
    attention<AttentionShape<HEAD, ROW_TILES, ROW_WARPS, KEY_GROUPS, KEYS>, CAUSAL>(arguments);                        \
  }
