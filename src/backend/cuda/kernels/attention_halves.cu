// attention_halves.cu: fused attention by mma.sync under policies that round inside it (`fp16`), for any GPU from sm_80 on. It
// has the bits of split_heads, head_product, softmax, head_product and merge_heads one after the other.
//
// One block owns QUERIES consecutive query rows of one head of one batch row, 16 rows for each of ROW_WARPS row warps.
// KEY_GROUPS warps share 16 rows: in the first pass each takes every KEY_GROUPS-th tile of KEYS keys, in the second each takes
// its share of the context's columns over all keys. So every score and every element of the context is summed by one warp, in
// the order of the keys.
//
//   K tiles -> scores -> strip | largest -> exponentials and their tree sum -> probabilities | V tiles -> context
//
// A value that overflowed makes NaN of every row, also of those that a causal mask keeps from its key: 0 times infinity. So the
// second pass walks over the keys of the whole sequence.
//
// What the host has to know (mirrored in Rust):
//   arguments  one HalvesArguments by value
//   grid       (ceil(sequence / QUERIES), heads, batch), QUERIES = 16 * ROW_WARPS
//   block      32 * ROW_WARPS * KEY_GROUPS threads
//   shared     SHARED_BYTES + ceil(sequence / KEYS) * TILE_SHARED_BYTES
//   sequence   less than 2^LEVELS tiles of KEYS keys
//   alignment  qkv and context 16 bytes
//
// Compiled after prelude.cu, halves.cu, attention_rows.cu and attention_halves_rows.cu.

template <int HEAD_, int ROW_WARPS_, int KEY_GROUPS_, int KEYS_> struct HalvesShape {
  static constexpr int HEAD = HEAD_, ROW_WARPS = ROW_WARPS_, KEY_GROUPS = KEY_GROUPS_, KEYS = KEYS_;
  static constexpr int ROW_TILES = 1, WARP_ROWS = 16, QUERIES = 16 * ROW_WARPS, CHUNKS = KEYS / 16;
  static constexpr int GROUP_THREADS = 32 * ROW_WARPS, THREADS = GROUP_THREADS * KEY_GROUPS;
  static constexpr int BLOCKS = HEAD / 8 / KEY_GROUPS;   // of 8 columns of the context, for one warp
  // Tiles of a key group in shared memory. In small blocks, rounds are so short that a second one has to be on its way; large
  // ones need the memory, so that a multiprocessor holds two.
  static constexpr int SLOTS = ROW_WARPS <= 2 && KEY_GROUPS * KEYS <= 128 ? 3 : 2;

  // Shared memory: the query tile, a ring of tiles of keys and then of values for each key group, the maxima of each warp, the sum
  // of exponentials of each tile, and the strips.
  static constexpr int QUERY_BYTES = QUERIES * 2 * HEAD, KEY_BYTES = KEYS * 2 * HEAD, MAXIMA_BYTES = ROW_WARPS * KEY_GROUPS * 32;
  static constexpr int SHARED_BYTES = QUERY_BYTES + SLOTS * KEY_GROUPS * KEY_BYTES + MAXIMA_BYTES;
  static constexpr int TILE_SHARED_BYTES = ROW_WARPS * (32 + KEYS * STRIP_KEY_BYTES);

  // Blocks that a multiprocessor holds, which caps the registers at 168 or 255 a thread: enough from sm_80 to sm_120.
  static constexpr int CTAS_PER_SM = THREADS <= 384 ? 384 / THREADS : 1;

  static_assert(KEYS == 16 || KEYS == 32 || KEYS == 64, "a tile is a power of two of chunks");
  static_assert(BLOCKS % 2 == 0, "one ldmatrix loads the values of two blocks");
};

// scores = Q K^T of one tile, unscaled.
template <class Shape>
DEVICE void score_tile(float (&scores)[Shape::KEYS / 8][4], const u32 (&queries)[1][Shape::HEAD / 16][4], u32 keys, int lane) {
#pragma unroll
  for (int j = 0; j < Shape::KEYS / 8; j++) scores[j][0] = scores[j][1] = scores[j][2] = scores[j][3] = 0.0f;
  const int key = (lane & 7) + ((lane >> 4) << 3);
#pragma unroll
  for (int k = 0; k < Shape::HEAD / 16; k++) {
#pragma unroll
    for (int j = 0; j < Shape::KEYS / 8; j += 2) {
      u32 b[4];
      load_matrices(b, keys + tile_offset<Shape::HEAD>(j * 8 + key, k * 2 + ((lane >> 3) & 1), Shape::KEYS));
      multiply_accumulate(scores[j], queries[0][k], b[0], b[1]);
      multiply_accumulate(scores[j + 1], queries[0][k], b[2], b[3]);
    }
  }
}

// output += P V of one tile, for the warp's columns from block `first_block` on. `strip` has the tile's probabilities, or its
// exponentials where the warp shares its rows with no other; without a strip the probabilities are 0.
template <class Shape>
DEVICE void add_values(float (&output)[Shape::BLOCKS][4], const uint4* strip, const RowDivisors& divisors, u32 values, int first_block, int lane) {
#pragma unroll
  for (int k = 0; k < Shape::CHUNKS; k++) {
    uint4 chunk = make_uint4(0, 0, 0, 0);
    if (strip) chunk = Shape::KEY_GROUPS == 1 ? divisors.probabilities(strip[k * 32]) : strip[k * 32];
    const u32 a[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
    for (int j = 0; j < Shape::BLOCKS; j += 2) {
      u32 b[4];
      load_matrices_transposed(b, values + tile_offset<Shape::HEAD>(k * 16 + (lane & 15), first_block + j + (lane >> 4), Shape::KEYS));
      multiply_accumulate(output[j], a, b[0], b[1]);
      multiply_accumulate(output[j + 1], a, b[2], b[3]);
    }
  }
}

template <class Shape, bool CAUSAL, bool EXACT_SCALE> DEVICE void attention_halves(const HalvesArguments& arguments) {
  constexpr int HEAD = Shape::HEAD, KEYS = Shape::KEYS, GROUPS = Shape::KEY_GROUPS, SLOTS = Shape::SLOTS;
  extern __shared__ __align__(128) unsigned char shared[];

  const int lane = threadIdx.x & 31;
  const int group = GROUPS == 1 ? 0 : threadIdx.x / Shape::GROUP_THREADS;
  const int thread = threadIdx.x - group * Shape::GROUP_THREADS, row_warp = thread / 32;
  const int sequence = arguments.sequence, head = blockIdx.y;
  const int batch = gridDim.z - 1 - blockIdx.z;   // see attention()
  const int first_query = (CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * Shape::QUERIES;
  const int first_row = first_query + row_warp * 16;
  const int hidden = arguments.heads * HEAD, pitch = 3 * hidden;
  const u16* const queries_in = arguments.qkv + (u64)batch * sequence * pitch + head * HEAD;
  const int length = arguments.lengths[batch];
  const int reach = CAUSAL && first_query + Shape::QUERIES < length ? first_query + Shape::QUERIES : length;
  const int key_rounds = (reach + KEYS * GROUPS - 1) / (KEYS * GROUPS), value_rounds = (length + KEYS * GROUPS - 1) / (KEYS * GROUPS);
  const int sequence_tiles = (sequence + KEYS - 1) / KEYS;

  const u32 query_tile = shared_address(shared), tiles = query_tile + Shape::QUERY_BYTES;
  u32* const maxima = (u32*)(shared + Shape::QUERY_BYTES + SLOTS * GROUPS * Shape::KEY_BYTES) + row_warp * GROUPS * 8;
  u32* const tile_sums = (u32*)(shared + Shape::SHARED_BYTES) + row_warp * sequence_tiles * 8;
  uint4* const strip = (uint4*)(shared + Shape::SHARED_BYTES + Shape::ROW_WARPS * sequence_tiles * 32) + row_warp * sequence_tiles * Shape::CHUNKS * 32 + lane;
  auto tile_address = [&](int of_group, int step) { return tiles + (step % SLOTS * GROUPS + of_group) * Shape::KEY_BYTES; };
  // Step i loads round i of the keys (part 1), or a round of the values (part 2) after them. Rows beyond the length become zeros.
  // There is one group of copies per step.
  auto load = [&](int step) {
    const int part = step < key_rounds ? 1 : 2, first_key = ((part == 1 ? step : step - key_rounds) * GROUPS + group) * KEYS;
    if (first_key < length)
      load_tile<HEAD, KEYS, Shape::GROUP_THREADS>(tile_address(group, step), queries_in + part * hidden + first_key * pitch, pitch, length - first_key, thread);
    copy_async_commit();
  };
  // After this the tiles of a step are there for all threads, and those of the step before are free. The copy of a later step
  // into these starts.
  auto next_round = [&](int step) {
    copy_async_wait<SLOTS - 2>();
    __syncthreads();
    load(step + SLOTS - 1);
  };
  // Whether the warp's rows see keys of a tile.
  auto sees = [&](int tile) { return tile * KEYS < (CAUSAL && first_row + 16 < length ? first_row + 16 : length); };

  wait_for_dependencies();
  allow_dependents();

  load_tile<HEAD, Shape::QUERIES, Shape::THREADS>(query_tile, queries_in + first_query * pitch, pitch, sequence - first_query, threadIdx.x);
#pragma unroll
  for (int step = 0; step < SLOTS - 1; step++) load(step);
  u32 queries[1][HEAD / 16][4];
  RowMaxima maximum;
#pragma unroll 1
  for (int round = 0; round < key_rounds; round++) {
    next_round(round);
    if (round == 0) load_queries<Shape>(queries, query_tile, row_warp * 16, lane);
    const int tile = round * GROUPS + group, first_key = tile * KEYS;
    if (sees(tile)) {
      float scores[KEYS / 8][4];
      score_tile<Shape>(scores, queries, tile_address(group, round), lane);
      const bool masked = first_key + KEYS > (CAUSAL && first_row + 1 < length ? first_row + 1 : length);
#pragma unroll
      for (int i = 0; i < Shape::CHUNKS; i++) {
        uint4 chunk = scaled_scores<EXACT_SCALE>(scores[2 * i], scores[2 * i + 1], arguments.scale);
        if (masked) mask_chunk<CAUSAL>(chunk, first_key + i * 16, first_row, length, lane);
        maximum.add(chunk);
        strip[(tile * Shape::CHUNKS + i) * 32] = chunk;
      }
    }
  }

  u32 largest = maximum.of_warp();
  if constexpr (GROUPS > 1) {
    if ((lane & 3) == 0) maxima[group * 8 + (lane >> 2)] = largest;
    __syncthreads();
#pragma unroll
    for (int other = 0; other < GROUPS; other++) largest = max_halves(largest, maxima[other * 8 + (lane >> 2)]);
  }

  ArrivingSum sum;
#pragma unroll 1
  for (int tile = group; sees(tile); tile += GROUPS) {
    const u32 tile_sum = exponential_tile<Shape::CHUNKS>(strip + tile * Shape::CHUNKS * 32, largest, lane);
    if (GROUPS == 1) sum.add(tile_sum);
    else if ((lane & 3) == 0) tile_sums[tile * 8 + (lane >> 2)] = tile_sum;
  }
  if constexpr (GROUPS > 1) {
    __syncthreads();
    // The lanes of a quad take a power of two of neighbours each.
    const int tiles_seen = ((CAUSAL && first_row + 16 < length ? first_row + 16 : length) + KEYS - 1) / KEYS;
    int share = 1;
    while (4 * share < tiles_seen) share *= 2;
#pragma unroll 1
    for (int tile = (lane & 3) * share, end = tile + share; tile < end; tile++)
      sum.add(tile < tiles_seen ? tile_sums[tile * 8 + (lane >> 2)] : MINUS_ZEROS);
  }
  u32 total = sum.total();
  if constexpr (GROUPS > 1) {
    total = add_halves(total, __shfl_xor_sync(~0u, total, 1));
    total = add_halves(total, __shfl_xor_sync(~0u, total, 2));
  }
  const RowDivisors divisors(total);
  if constexpr (GROUPS > 1) {
#pragma unroll 1
    for (int tile = group; sees(tile); tile += GROUPS) {
#pragma unroll
      for (int i = 0; i < Shape::CHUNKS; i++) {
        uint4* const chunk = strip + (tile * Shape::CHUNKS + i) * 32;
        *chunk = divisors.probabilities(*chunk);
      }
    }
  }

  float output[Shape::BLOCKS][4] = {};
#pragma unroll 1
  for (int round = 0; round < value_rounds; round++) {
    next_round(key_rounds + round);   // the other groups' probabilities are there as well
#pragma unroll 1
    for (int other = 0; other < GROUPS; other++) {
      const int tile = round * GROUPS + other;
      if (tile * KEYS < length)
        add_values<Shape>(output, sees(tile) ? strip + tile * Shape::CHUNKS * 32 : nullptr, divisors, tile_address(other, key_rounds + round), group * Shape::BLOCKS, lane);
    }
  }
  u16* const context = arguments.context + ((u64)batch * sequence + first_row) * hidden + head * HEAD + group * Shape::BLOCKS * 8;
  store_context<Shape::BLOCKS>(context, hidden, sequence - first_row, output, lane);
}

// ATTENTION_HALVES(name, HEAD, ROW_WARPS, KEY_GROUPS, KEYS, CAUSAL, EXACT_SCALE) defines the kernel `name`.
#define ATTENTION_HALVES(NAME, HEAD, ROW_WARPS, KEY_GROUPS, KEYS, CAUSAL, EXACT_SCALE)                                 \
  extern "C" __global__ void __launch_bounds__(HalvesShape<HEAD, ROW_WARPS, KEY_GROUPS, KEYS>::THREADS,                \
                                                      HalvesShape<HEAD, ROW_WARPS, KEY_GROUPS, KEYS>::CTAS_PER_SM)           \
      NAME(const HalvesArguments arguments) {                                                                          \
    attention_halves<HalvesShape<HEAD, ROW_WARPS, KEY_GROUPS, KEYS>, CAUSAL, EXACT_SCALE>(arguments);                  \
  }
