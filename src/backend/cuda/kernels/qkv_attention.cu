// qkv_attention.cu: the packed QKV projection of one head and its attention in one kernel, for sequences of up to 128 tokens and
// heads of 64. Q, K and V never reach global memory. Compiled for sm_90a only, after the files of gemm_wgmma.cu and
// attention_wgmma.cu, which it is made of.
//
// A unit of work is one head of ROWS rows. Producer, stages and the order of the depth are those of a cooperative tile of
// gemm_wgmma.cu, 192 columns wide: 64 of Q, K and V each. Every consumer warpgroup has 64 rows. KEYS / 64 warpgroups are a party:
// its KEYS rows hold as many whole sequences as fit, and attention stays within it.
//
//   product       Q, K, V = round(X W^T + bias)   as EPILOGUE_BIAS; Q stays in registers, as the left operand of the scores
//   exchange      K, V -> shared memory           rows that are no key of any row become zeros
//   attention     softmax(Q K^T) V                over all KEYS keys at once; each row sees the keys of its own sequence
//   store         context                         through the warp's own rows of shared memory
//
// The rounding points are those of the two kernels. So are all bits where a party has one sequence or these have a multiple of 16
// tokens: products with masked keys are zeros. Elsewhere a key may be in another lane's share of the sum of exponentials.
//
// Sequences that share a party must not see each other. Masked probabilities are zeros, but zero times an infinity or NaN in
// another sequence's V is NaN. When some V is not finite, each sequence's output is computed with the others' V as zeros.
//
// Programmatic dependent launch: as in gemm_wgmma.cu.

struct QkvAttentionArguments {
  const float* bias;   // [3 * heads * 64] FP32, 16-byte aligned
  u16* context;        // [batch * sequence, heads * 64]
  const int* lengths;  // [batch], each in 1..=sequence
  int batch;
  int sequence;        // 1..=KEYS
  int heads;
  int depth;           // a multiple of 64
  float scale_log2;    // as in AttentionArguments
};

template <int ROWS_, int KEYS_, int STAGE_COUNT> struct QkvAttentionTile : WgmmaTile<ROWS_, 192, STAGE_COUNT, ROWS_ / 64, false, EPILOGUE_BIAS> {
  using Product = WgmmaTile<ROWS_, 192, STAGE_COUNT, ROWS_ / 64, false, EPILOGUE_BIAS>;
  static constexpr int ROWS = ROWS_, KEYS = KEYS_, HEAD = 64, PARTIES = ROWS / KEYS, PARTY_THREADS = KEYS * 2;
  // In the place of the slabs: K, V, and the rows of context. All tiles begin on a multiple of 1024 bytes.
  static constexpr int TILE_BYTES = ROWS * 128, SLAB_BYTES = 3 * TILE_BYTES / (4 * Product::GROUPS), BIAS_BYTES = 1024 * Product::GROUPS;
  static constexpr int SHARED_BYTES =
      1024 + STAGE_COUNT * Product::STAGE_BYTES + BIAS_BYTES + 3 * TILE_BYTES + Product::BARRIER_BYTES;

  static constexpr int ROW_TILES = 1, WARP_ROWS = 16, QUERIES = KEYS, REST = 0, REST_BYTES = 128;   // as in WgmmaAttentionShape

  static_assert(ROWS % KEYS == 0 && KEYS % 64 == 0 && PARTIES <= 2, "a party is whole warpgroups; there are two words to flag it");
};

// The units: of neighbours, which run at the same time, as many as there are heads share their rows of X.
template <class Tile> struct QkvUnits {
  int sequences;   // of a party
  u32 units;
  int tiles;       // tiles of the depth

  DEVICE explicit QkvUnits(const QkvAttentionArguments& arguments) {
    sequences = Tile::KEYS / arguments.sequence;
    const u32 together = sequences * Tile::PARTIES;
    units = (arguments.batch + together - 1) / together * arguments.heads;
    tiles = arguments.depth / Tile::TILE_K;
  }
  DEVICE int head(const QkvAttentionArguments& arguments, u32 unit) const { return (int)(unit % (u32)arguments.heads); }
  DEVICE int first_sequence(const QkvAttentionArguments& arguments, u32 unit, int party) const {
    return ((int)(unit / (u32)arguments.heads) * Tile::PARTIES + party) * sequences;
  }
};

// Keeps the stages filled, as `produce` does. Run by one thread. The head's rows of W are in three places.
template <class Tile>
DEVICE void produce_qkv(const TensorMap* x_map, const TensorMap* w_map, const QkvAttentionArguments& arguments, const Layout<Tile>& layout,
                        const QkvUnits<Tile>& units) {
  auto row_of_w = [&](int part, int head) { return (part * arguments.heads + head) * Tile::HEAD; };
  auto request_w = [&](int slot, int head, int tile) {
    barrier_expect_bytes(layout.full(slot), Tile::STAGE_BYTES);
#pragma unroll
    for (int part = 0; part < 3; part++)
      copy_tile(layout.w(slot) + part * Tile::HEAD * 128, w_map, layout.full(slot), tile * Tile::TILE_K, row_of_w(part, head));
  };
  const int first_head = units.head(arguments, blockIdx.x);
  const int early = units.tiles < Tile::STAGES ? units.tiles : Tile::STAGES;
#pragma unroll 1
  for (int i = 0; i < early; i++) request_w(i, first_head, i);
  if (blockIdx.x < (u32)arguments.heads) {   // the units of a head share W
#pragma unroll 1
    for (int i = early; i < units.tiles; i++) {
#pragma unroll
      for (int part = 0; part < 3; part++) prefetch_tile(w_map, i * Tile::TILE_K, row_of_w(part, first_head));
    }
  }
  wait_for_dependencies();

  PipelineState<Tile::STAGES> state;
  int produced = 0;
#pragma unroll 1
  for (u32 unit = blockIdx.x; unit < units.units; unit += gridDim.x) {
    const int head = units.head(arguments, unit);
#pragma unroll 1
    for (int tile = 0; tile < units.tiles; tile++, produced++) {
      if (produced >= early) {
        barrier_wait(layout.empty(state.slot), state.phase ^ 1);
        request_w(state.slot, head, tile);
      }
#pragma unroll
      for (int party = 0; party < Tile::PARTIES; party++) {
        const int first = units.first_sequence(arguments, unit, party);
        const int row = first < arguments.batch ? first * arguments.sequence : 0;   // a party without sequences gets some rows
        copy_tile(layout.x(state.slot) + party * Tile::KEYS * 128, x_map, layout.full(state.slot), tile * Tile::TILE_K, row);
      }
      state.advance();
    }
  }
}

// Starts the copy of the bias of a head's Q, K and V to this warpgroup's own buffer. `finish_bias` makes it visible.
template <class Tile> DEVICE void request_qkv_bias(float* buffer, const QkvAttentionArguments& arguments, int head) {
  const int thread = threadIdx.x % 128, part = thread / 16, column = thread % 16 * 4;
  if (part < 3)
    copy_async_16(shared_address(buffer + part * Tile::HEAD + column), arguments.bias + (part * arguments.heads + head) * Tile::HEAD + column, true);
  copy_async_commit();
}

// Two neighbouring blocks of eight columns of the linear layer, rounded, as a left operand of 16 columns.
DEVICE void pack_queries(u32 (&queries)[4], const float* sums, const float* bias) {
  const float2 left = *(const float2*)bias, right = *(const float2*)(bias + 8);
  queries[0] = pack_elements(sums[0] + left.x, sums[1] + left.y);
  queries[1] = pack_elements(sums[2] + left.x, sums[3] + left.y);
  queries[2] = pack_elements(sums[4] + right.x, sums[5] + right.y);
  queries[3] = pack_elements(sums[6] + right.x, sums[7] + right.y);
}

// Not zero if one of the two elements is infinite or NaN: only then does adding one to the exponent carry out of it.
DEVICE u32 not_finite(u32 packed) {
#ifdef ELEMENT_BF16
  return ((packed & 0x7f807f80u) + 0x00800080u) & 0x80008000u;
#else
  return ((packed & 0x7c007c00u) + 0x04000400u) & 0x80008000u;
#endif
}

// Stores the K or V of a thread's two rows, rounded, to a swizzled tile: zeros where the row is no key. Returns whether some
// element is not finite.
DEVICE u32 exchange(unsigned char* tile, int row, const float* sums, const float* bias, const bool (&key)[2], int quad_lane) {
  u32 found = 0;
#pragma unroll
  for (int block = 0; block < 8; block++) {
    const float2 shift = *(const float2*)(bias + block * 8);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const u32 packed = pack_elements(sums[block * 4 + half * 2] + shift.x, sums[block * 4 + half * 2 + 1] + shift.y);
      const u32 stored = key[half] ? packed : 0;
      found |= not_finite(stored);
      *(u32*)(tile + swizzled_offset(row + half * 8, block) + quad_lane * 4) = stored;
    }
  }
  return found;
}

// A thread's two query rows. Each sees the keys from `begin` to before `end`.
struct QkvRows {
  int sequence[2], begin[2], end[2];
  bool key[2];   // whether the row is a key of its sequence
};

// Sets the scores of keys that a row does not see to minus infinity.
template <class Tile> DEVICE void mask_scores(float (&scores)[1][Tile::KEYS / 8][4], const QkvRows& rows, int quad_lane) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int j = 0; j < Tile::KEYS / 8; j++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const int key = j * 8 + quad_lane * 2 + e;
        if (key < rows.begin[half] || key >= rows.end[half]) scores[0][j][half * 2 + e] = minus_infinity();
      }
    }
  }
}

// Waits for the threads of a party.
template <class Tile> DEVICE void synchronise_party(int party) { synchronise_group<Tile::PARTY_THREADS>(Tile::GROUPS + party); }

// Computes the output again for one sequence at a time, with the V of the others as zeros. All threads of the party take part.
template <class Tile>
DEVICE void isolate_sequences(float (&output)[8][4], u32 (&probabilities)[Tile::KEYS / 16][4], const QkvRows& rows, unsigned char* values,
                              unsigned char* copy, int sequence, int sequences, int party) {
#pragma unroll 1
  for (int one = 0; one < sequences; one++) {
    synchronise_party<Tile>(party);   // no product reads the copy any more
    for (int chunk = threadIdx.x % Tile::PARTY_THREADS; chunk < Tile::KEYS * 8; chunk += Tile::PARTY_THREADS)
      ((uint4*)copy)[chunk] = chunk / 8 / sequence == one ? ((const uint4*)values)[chunk] : make_uint4(0, 0, 0, 0);
    async_proxy_fence();
    synchronise_party<Tile>(party);
    float alone[8][4] = {};
    wgmma_fence();
    issue_values<Tile>(alone, probabilities, shared_address(copy));
    wgmma_wait<0>(alone);
    keep_operands(probabilities);
#pragma unroll
    for (int j = 0; j < 8; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (rows.sequence[i / 2] == one) output[j][i] = alone[j][i];
    }
  }
  synchronise_party<Tile>(party);   // the rows of context are in the place of the copy
}

// Computes all units of one consumer warpgroup. `mixed` is a word of shared memory for each party, 0 at first.
template <class Tile, bool CAUSAL>
DEVICE void consume_qkv(const QkvAttentionArguments& arguments, const Layout<Tile>& layout, const QkvUnits<Tile>& units, volatile u32* mixed) {
  const int group = threadIdx.x / 128, party = group / (Tile::KEYS / 64), lane = threadIdx.x & 31, quad_lane = lane & 3;
  const int warp_row = threadIdx.x % Tile::PARTY_THREADS / 32 * 16, sequence = arguments.sequence, hidden = arguments.heads * Tile::HEAD;
  float* const bias = layout.bias(group);
  unsigned char* const tiles = layout.slab(0) + party * Tile::KEYS * 128;   // the party's part of K, V and context
  const u32 keys = layout.stages + Layout<Tile>::SLABS + party * Tile::KEYS * 128, values = keys + Tile::TILE_BYTES;

  QkvRows rows;
  int position[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = warp_row + lane / 4 + half * 8;
    rows.sequence[half] = row / sequence;
    rows.begin[half] = rows.sequence[half] * sequence;
    position[half] = row - rows.begin[half];
  }
  PipelineState<Tile::STAGES> state;
  request_qkv_bias<Tile>(bias, arguments, units.head(arguments, blockIdx.x));
  wait_for_dependencies();
  allow_dependents();
  u32 turn = 1;
#pragma unroll 1
  for (u32 unit = blockIdx.x; unit < units.units; unit += gridDim.x, turn++) {
    const int head = units.head(arguments, unit), first = units.first_sequence(arguments, unit, party);
    const int rest = arguments.batch - first, sequences = rest < units.sequences ? rest : units.sequences;
    if (turn > 1) {
      synchronise_group<128>(group);   // no thread reads the old bias any more
      request_qkv_bias<Tile>(bias, arguments, head);
    }
    int shortest = sequence;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int length = rows.sequence[half] < sequences ? arguments.lengths[first + rows.sequence[half]] : 0;
      rows.key[half] = position[half] < length;
      rows.end[half] = rows.begin[half] + (CAUSAL && position[half] + 1 < length ? position[half] + 1 : length);
      shortest = length < shortest ? length : shortest;
    }

    u32 queries[1][4][4];
    {
      float sums[1][Tile::TILE_N / 2] = {};   // else the assembler takes those of the unit before for live throughout
      multiply_tiles<Tile>(sums, layout, state, units.tiles, group * 64);
      finish_bias(group);
      const float* const own_bias = bias + quad_lane * 2;
#pragma unroll
      for (int k = 0; k < 4; k++) pack_queries(queries[0][k], sums[0] + k * 8, own_bias + k * 16);
      synchronise_party<Tile>(party);   // no product of the unit before reads K and V any more
      exchange(tiles, warp_row + lane / 4, sums[0] + 32, own_bias + Tile::HEAD, rows.key, quad_lane);
      if (exchange(tiles + Tile::TILE_BYTES, warp_row + lane / 4, sums[0] + 64, own_bias + 2 * Tile::HEAD, rows.key, quad_lane)) mixed[party] = turn;
      async_proxy_fence();
      synchronise_party<Tile>(party);
    }

    float scores[1][Tile::KEYS / 8][4];
    wgmma_fence();
    issue_scores<Tile>(scores, queries, keys);
    wait_for_scores<Tile, 0>(scores);
    keep_operands(queries[0]);
    if (CAUSAL || sequence < Tile::KEYS || shortest < sequence) mask_scores<Tile>(scores, rows, quad_lane);
    RowState<Tile::HEAD, 1> rows_state;
    rows_state.clear();
    float rescale[1][2];
    softmax_step<Tile>(rows_state, scores, rescale, arguments.scale_log2);
    u32 probabilities[Tile::KEYS / 16][4];
    pack_tile<Tile>(probabilities, scores);
    wgmma_fence();
    issue_values<Tile>(rows_state.output[0], probabilities, values);
    wgmma_wait<0>(rows_state.output[0]);
    keep_operands(probabilities);
    if (sequences > 1 && mixed[party] == turn)
      isolate_sequences<Tile>(rows_state.output[0], probabilities, rows, tiles + Tile::TILE_BYTES, tiles + 2 * Tile::TILE_BYTES, sequence, sequences, party);
    u16* const context = arguments.context + ((u64)first * sequence + warp_row) * hidden + head * Tile::HEAD;
    store_rows<Tile>(rows_state, tiles + 2 * Tile::TILE_BYTES, warp_row, context, hidden, sequences * sequence - warp_row, lane);
  }
}

template <class Tile, bool CAUSAL>
DEVICE void qkv_attention(const TensorMap* x_map, const TensorMap* w_map, const QkvAttentionArguments& arguments) {
  extern __shared__ unsigned char shared[];
  const Layout<Tile> layout(shared);
  const QkvUnits<Tile> units(arguments);
  volatile u32* const mixed = (volatile u32*)(layout.memory + Layout<Tile>::BARRIERS + Tile::STAGES * 16);
  const bool producer = threadIdx.x == Tile::CONSUMERS;
  if (producer) {
    prefetch_tensor_map(x_map);
    prefetch_tensor_map(w_map);
#pragma unroll 1
    for (int i = 0; i < Tile::STAGES; i++) {
      barrier_init(layout.full(i), 1);
      barrier_init(layout.empty(i), Tile::GROUPS);
    }
    barrier_init_fence();
    mixed[0] = mixed[1] = 0;
  }
  __syncthreads();
  if (threadIdx.x >= Tile::CONSUMERS) {
    if constexpr (Tile::MOVE_REGISTERS) release_registers<Tile::PRODUCER_REGISTERS>();
    if (producer) produce_qkv<Tile>(x_map, w_map, arguments, layout, units);
  } else {
    if constexpr (Tile::MOVE_REGISTERS) take_registers<Tile::CONSUMER_REGISTERS>();
    consume_qkv<Tile, CAUSAL>(arguments, layout, units, mixed);
  }
}

// Defines the kernel `NAME`. What the host has to know (mirrored in Rust):
// - threads: ROWS 64: 160, ROWS 128: 384;
// - units = ceil(batch / (ROWS / KEYS floor(KEYS / sequence))) heads; grid.x = min(units, blocks resident at a time);
// - dynamic shared memory: 1040 + STAGES (128 (ROWS + 192) + 16) + 16 ROWS + 384 ROWS bytes;
// - tensor maps as for gemm_wgmma: X with box {64, KEYS}, W {depth, 192 heads} with box {64, 64}.
#define QKV_ATTENTION(NAME, ROWS, KEYS, STAGES, CAUSAL)                                                                      \
  extern "C" __global__ void __launch_bounds__(QkvAttentionTile<ROWS, KEYS, STAGES>::THREADS, 1)                             \
      NAME(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,                                 \
           const __grid_constant__ QkvAttentionArguments arguments) {                                                        \
    qkv_attention<QkvAttentionTile<ROWS, KEYS, STAGES>, CAUSAL>(&x_map, &w_map, arguments);                                  \
  }
