// qkv_cluster.cu: the packed QKV projection of one head and its attention in one kernel, for few sequences of up to 128 tokens and
// heads of 64. A cluster of eight blocks shares a unit: one head of up to 64 or 128 rows. So eight times as many multiprocessors
// work as in qkv_attention.cu. Compiled for sm_90a only, after prelude.cu, hopper.cu and attention_rows.cu.
//
//   ROWS   blocks of a cluster              a block computes
//   64     8 parts of the columns           64 rows x 24 columns: 8 of Q, K and V each
//   128    2 halves of the rows x 4 parts   64 rows x 48 columns: 16 of each
//
// The rows are slots of KEYS rows, one for each sequence, so that sixteen rows of a warp are of one sequence and see the keys of
// its slot only. A slot of 128 rows takes both halves.
//
//   product    Q, K, V = round(X W^T + bias)   by wgmma over the whole depth, all of which fits into shared memory. Two warpgroups take
//                                              every other tile of it. X is requested once for a half, by multicast; W by each
//                                              block, before the wait
//   exchange   Q, K and V                      by asynchronous stores to distributed shared memory, whose bytes a barrier of the reader
//                                              counts: Q to the blocks of the half, K to all that have queries of the slot, V to the
//                                              block of the other half with the same columns if KEYS is 128
//   attention  softmax(Q K^T) V                by mma.sync. A warp has 16 rows and all their keys. Each block repeats the scores of
//                                              its half and multiplies the probabilities with its own columns of V
//
// Rounding points are those of the two kernels. The depth is summed in two parts.
//
// No block leaves while another may write to its shared memory: it waits for every byte that is sent to it. No block writes before
// all blocks have their barriers. Programmatic dependent launch: as in gemm_wgmma.cu.

struct QkvClusterArguments {
  const u16* w;        // [3 * heads * 64, depth], 16-byte aligned
  const float* bias;   // [3 * heads * 64] FP32, 16-byte aligned
  u16* context;        // [batch * sequence, heads * 64]
  const int* lengths;  // [batch], each in 1..=sequence
  int batch;
  int sequence;        // 1..=KEYS, above 64 where KEYS is 128
  int heads;
  float scale_log2;    // as in AttentionArguments
};

template <int ROWS_, int KEYS_, int STAGE_COUNT> struct QkvClusterTile {
  static constexpr int ROWS = ROWS_, KEYS = KEYS_, STAGES = STAGE_COUNT, BLOCKS = 8, HALF = 64;
  static constexpr int HALVES = ROWS / HALF, PARTS = BLOCKS / HALVES, HEAD = 64 / PARTS;   // HEAD: own columns of the head
  static constexpr int CHUNKS = HEAD / 8, N = 3 * HEAD, ROW_TILES = 1;                     // as in attention_rows.cu
  static constexpr bool WHOLE = KEYS > HALF;                                               // a slot takes both halves
  static constexpr int SLOT_ROWS = WHOLE ? HALF : KEYS, SLOTS = HALF / SLOT_ROWS;          // of a half
  static constexpr int KEY_ROWS = WHOLE ? KEYS : HALF;                                     // of K and V in a block
  static constexpr int X_BYTES = HALF * 128, STAGE_BYTES = X_BYTES + N * 128, CONSUMERS = 256, THREADS = 288;
  // Behind the stages. Tiles of Q, K and V lie by chunks of 16 bytes: eight rows of a chunk are 128 bytes in a row.
  static constexpr int QUERIES_AT = STAGES * STAGE_BYTES, KEYS_AT = QUERIES_AT + 8 * HALF * 16, VALUES_AT = KEYS_AT + 8 * KEY_ROWS * 16;
  static constexpr int SUMS_AT = VALUES_AT + CHUNKS * KEY_ROWS * 16, BIAS_AT = SUMS_AT + HALF * N * 4, BARRIERS_AT = BIAS_AT + N * 4;
  static constexpr int EXCHANGE_AT = BARRIERS_AT + STAGES * 8, SHARED_BYTES = 1024 + EXCHANGE_AT + 8;
  static_assert((ROWS == 64 || ROWS == 128) && (KEYS == 32 || KEYS == 64 || KEYS == 128) && KEYS <= ROWS, "slots");
};

// ---------------------------------------------------------------- clusters

DEVICE int rank_in_cluster() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return (int)rank;
}

// Every thread of the cluster arrives and waits, whole warps at a time. Of what was before, only initialised mbarriers are made
// visible, by barrier_init_fence.
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

DEVICE u32 address_in_block(u32 address, int rank) {
  u32 there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

// Stores at the same place in the shared memory of another block. The bytes complete the barrier at `barrier` there.
DEVICE void store_in_block(u32 address, u32 barrier, int rank, const uint4& value) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];"
               ::"r"(address_in_block(address, rank)), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(address_in_block(barrier, rank)) : "memory");
}

// As barrier_wait, for what other blocks of the cluster have stored.
DEVICE void barrier_wait_for_cluster(u32 barrier) {
  u32 complete;
  do {
    asm volatile("{ .reg .pred done;\n mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%1], 0;\n selp.u32 %0, 1, 0, done; }"
                 : "=r"(complete) : "r"(barrier) : "memory");
  } while (!complete);
}

// As copy_tile, to the same place in every block of `blocks`, whose barriers at that place it completes.
DEVICE void copy_tile_to_blocks(u32 destination, const TensorMap* map, u32 barrier, int depth, int row, u16 blocks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;"
               ::"r"(destination), "l"(map), "r"(depth), "r"(row), "r"(barrier), "h"(blocks) : "memory");
}

// ---------------------------------------------------------------- a block

// Where a block stands.
struct QkvClusterPlace {
  int rank, half, part, head;
  int first_sequence;   // of the half
  int slots;            // of the half that have a sequence
  template <class Tile> static DEVICE QkvClusterPlace of(const QkvClusterArguments& arguments) {
    const int rank = rank_in_cluster(), half = rank / Tile::PARTS;
    const int first = Tile::WHOLE ? (int)blockIdx.z : ((int)blockIdx.z * Tile::HALVES + half) * Tile::SLOTS, rest = arguments.batch - first;
    return {rank, half, rank % Tile::PARTS, (int)blockIdx.y, first, rest < 0 ? 0 : rest < Tile::SLOTS ? rest : Tile::SLOTS};
  }
};

// The sequence of a warp's 16 rows.
struct QkvClusterRows {
  int sequence;
  int first_key;   // row of the sequence's first key in the tiles of K and V
  int position;    // of the first row in its sequence
  int length;      // 0 where the slot is empty
  template <class Tile> static DEVICE QkvClusterRows of(const QkvClusterArguments& arguments, const QkvClusterPlace& place) {
    const int row = threadIdx.x % 128 / 32 * 16, slot = row / Tile::SLOT_ROWS, sequence = place.first_sequence + slot;
    const int position = Tile::WHOLE ? place.half * Tile::HALF + row : row % Tile::SLOT_ROWS;
    return {sequence, slot * Tile::SLOT_ROWS, position, slot < place.slots ? arguments.lengths[sequence] : 0};
  }
};

// What the barriers of this block wait for. Run by one thread.
template <class Tile> DEVICE void expect(const QkvClusterPlace& place, u32 shared) {
  const int rows = place.slots * Tile::SLOT_ROWS, part_bytes = Tile::CHUNKS * rows * 16;   // of one of Q, K and V of a block
#pragma unroll 1
  for (int tile = 0; tile < Tile::STAGES; tile++) barrier_expect_bytes(shared + Tile::BARRIERS_AT + tile * 8, rows * 128);
  // Q and K of the other blocks of the half. If a slot takes both halves, K of the blocks of the other half, and V of one.
  barrier_expect_bytes(shared + Tile::EXCHANGE_AT, (2 * (Tile::PARTS - 1) + (Tile::WHOLE ? Tile::PARTS + 1 : 0)) * part_bytes);
}

// Requests the block's rows of W and its bias.
template <class Tile> DEVICE void request_weights(const QkvClusterArguments& arguments, const QkvClusterPlace& place, u32 shared) {
  constexpr int ROW_CHUNKS = Tile::STAGES * 8;
  auto row_of_w = [&](int column) { return (column / Tile::HEAD * arguments.heads + place.head) * 64 + place.part * Tile::HEAD + column % Tile::HEAD; };
#pragma unroll
  for (int i = threadIdx.x; i < Tile::N * ROW_CHUNKS; i += Tile::CONSUMERS) {
    const int column = i / ROW_CHUNKS, chunk = i % ROW_CHUNKS;
    copy_async_16(shared + chunk / 8 * Tile::STAGE_BYTES + Tile::X_BYTES + swizzled_offset(column, chunk % 8),
                  arguments.w + (u64)row_of_w(column) * (Tile::STAGES * 64) + chunk * 8, true);
  }
  if (threadIdx.x < Tile::N / 4) copy_async_16(shared + Tile::BIAS_AT + threadIdx.x * 16, arguments.bias + row_of_w(threadIdx.x * 4), true);
  copy_async_commit();
}

// Requests this block's share of the tiles of X, for all blocks of the half. Run by one thread.
template <class Tile>
DEVICE void request_rows(const TensorMap* x_map, const QkvClusterArguments& arguments, const QkvClusterPlace& place, u32 shared) {
  const u16 blocks = (u16)(((1 << Tile::PARTS) - 1) << (place.half * Tile::PARTS));
#pragma unroll 1
  for (int tile = place.part; tile < Tile::STAGES; tile += Tile::PARTS) {
#pragma unroll
    for (int slot = 0; slot < Tile::SLOTS; slot++) {
      const int row = (place.first_sequence + slot) * arguments.sequence + (Tile::WHOLE ? place.half * Tile::HALF : 0);
      if (slot < place.slots)
        copy_tile_to_blocks(shared + tile * Tile::STAGE_BYTES + slot * Tile::SLOT_ROWS * 128, x_map, shared + Tile::BARRIERS_AT + tile * 8, tile * 64, row, blocks);
    }
  }
}

// Stores one of Q, K and V of a thread's two rows, rounded, at `tile`, whose chunks have `rows` rows: zeros from row `valid` on.
template <class Tile>
DEVICE void store_part(unsigned char* tile, int rows, int first_row, int valid, const float* sums, const float* bias, int quad_lane) {
#pragma unroll
  for (int chunk = 0; chunk < Tile::CHUNKS; chunk++) {
    const float2 shift = *(const float2*)(bias + chunk * 8);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = first_row + half * 8;
      const u32 packed = pack_elements(sums[chunk * 4 + half * 2] + shift.x, sums[chunk * 4 + half * 2 + 1] + shift.y);
      *(u32*)(tile + (chunk * rows + row) * 16 + quad_lane * 4) = row < valid ? packed : 0;
    }
  }
}

// Copies CHUNKS chunks of the rows of the half that have a sequence to the same place in other blocks of the cluster: BLOCKS
// neighbours from `first` on, but not to this one.
template <class Tile, int BLOCKS> DEVICE void send(u32 shared, u32 at, int chunk_bytes, int first, const QkvClusterPlace& place) {
  constexpr int TOGETHER = Tile::CONSUMERS / Tile::HALF;   // blocks that are sent to at a time
  const int row = threadIdx.x % Tile::HALF, turn = threadIdx.x / Tile::HALF;
  if (row >= place.slots * Tile::SLOT_ROWS) return;
#pragma unroll
  for (int chunk = 0; chunk < Tile::CHUNKS; chunk++) {
    const u32 address = shared + at + chunk * chunk_bytes + row * 16;
    uint4 value;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w) : "r"(address) : "memory");
#pragma unroll
    for (int i = 0; i < (BLOCKS + TOGETHER - 1) / TOGETHER; i++) {
      const int block = i * TOGETHER + turn;
      if (block < BLOCKS && first + block != place.rank) store_in_block(address, shared + Tile::EXCHANGE_AT, first + block, value);
    }
  }
}

// Q, K and V of the block's rows and columns, to all blocks that read them.
template <class Tile>
DEVICE void project(const QkvClusterPlace& place, const QkvClusterRows& rows, unsigned char* memory, u32 shared) {
  const int lane = threadIdx.x & 31, group = threadIdx.x / 128, row = threadIdx.x % 128 / 32 * 16 + lane / 4, first_key = Tile::WHOLE ? place.half * Tile::HALF : 0, key = first_key + row;
  float sums[Tile::N / 2] = {};
#pragma unroll 1
  for (int tile = group; tile < Tile::STAGES; tile += 2) {
    const u32 stage = shared + tile * Tile::STAGE_BYTES;
    barrier_wait(shared + Tile::BARRIERS_AT + tile * 8, 0);
    const u64 x = matrix_descriptor(stage, 16), w = matrix_descriptor(stage + Tile::X_BYTES, 16);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) wgmma<Tile::N>(sums, x + step * (32 >> 4), w + step * (32 >> 4), tile > group || step > 0);
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  float4* const partial = (float4*)(memory + Tile::SUMS_AT) + threadIdx.x % 128;
  if (group == 1) {
#pragma unroll
    for (int i = 0; i < Tile::N / 8; i++) partial[i * 128] = make_float4(sums[i * 4], sums[i * 4 + 1], sums[i * 4 + 2], sums[i * 4 + 3]);
  }
  synchronise_group<Tile::CONSUMERS>(0);
  const int own = place.part * Tile::CHUNKS, sums_of_kind = Tile::CHUNKS * 4;
  if (group == 0) {
#pragma unroll
    for (int i = 0; i < Tile::N / 8; i++) {
      const float4 other = partial[i * 128];
      sums[i * 4] += other.x;
      sums[i * 4 + 1] += other.y;
      sums[i * 4 + 2] += other.z;
      sums[i * 4 + 3] += other.w;
    }
    const float* const bias = (const float*)(memory + Tile::BIAS_AT) + (lane & 3) * 2;
    const int valid = rows.first_key + rows.length;
    store_part<Tile>(memory + Tile::QUERIES_AT + own * Tile::HALF * 16, Tile::HALF, row, Tile::HALF, sums, bias, lane & 3);
    store_part<Tile>(memory + Tile::KEYS_AT + own * Tile::KEY_ROWS * 16, Tile::KEY_ROWS, key, valid, sums + sums_of_kind, bias + Tile::HEAD, lane & 3);
    store_part<Tile>(memory + Tile::VALUES_AT, Tile::KEY_ROWS, key, valid, sums + 2 * sums_of_kind, bias + 2 * Tile::HEAD, lane & 3);
  }
  synchronise_group<Tile::CONSUMERS>(0);

  const int neighbours = place.half * Tile::PARTS;
  const u32 own_keys = Tile::KEYS_AT + (own * Tile::KEY_ROWS + first_key) * 16;
  send<Tile, Tile::PARTS>(shared, Tile::QUERIES_AT + own * Tile::HALF * 16, Tile::HALF * 16, neighbours, place);
  if constexpr (Tile::WHOLE) {
    send<Tile, Tile::BLOCKS>(shared, own_keys, Tile::KEY_ROWS * 16, 0, place);
    send<Tile, 1>(shared, Tile::VALUES_AT + first_key * 16, Tile::KEY_ROWS * 16, (1 - place.half) * Tile::PARTS + place.part, place);
  } else {
    send<Tile, Tile::PARTS>(shared, own_keys, Tile::KEY_ROWS * 16, neighbours, place);
  }
}

// The context of a warp's 16 rows in the block's columns.
template <class Tile, bool CAUSAL>
DEVICE void attend(const QkvClusterArguments& arguments, const QkvClusterPlace& place, const QkvClusterRows& rows, u32 shared) {
  if (rows.length == 0 || rows.position >= arguments.sequence) return;
  const int lane = threadIdx.x & 31, tile_row = threadIdx.x / 32 * 16, matrix = lane / 8, line = lane % 8;
  float scores[1][Tile::KEYS / 8][4] = {};
#pragma unroll
  for (int k = 0; k < 4; k++) {
    u32 queries[4];   // 16 rows of two chunks
    load_matrices(queries, shared + Tile::QUERIES_AT + ((k * 2 + matrix / 2) * Tile::HALF + tile_row + matrix % 2 * 8 + line) * 16);
#pragma unroll
    for (int j = 0; j < Tile::KEYS / 16; j++) {
      u32 keys[4];   // two chunks of eight keys, then of the next eight
      load_matrices(keys, shared + Tile::KEYS_AT + ((k * 2 + matrix % 2) * Tile::KEY_ROWS + rows.first_key + j * 16 + matrix / 2 * 8 + line) * 16);
      multiply_accumulate(scores[0][j * 2], queries, keys[0], keys[1]);
      multiply_accumulate(scores[0][j * 2 + 1], queries, keys[2], keys[3]);
    }
  }
  mask_tile<Tile, CAUSAL>(scores, 0, rows.position, rows.length, lane);
  RowState<Tile::HEAD, 1> state;
  state.clear();
  float rescale[1][2];
  softmax_step<Tile>(state, scores, rescale, arguments.scale_log2);
#pragma unroll
  for (int j = 0; j < Tile::KEYS / 32; j++) {
    u32 left[4], right[4];
    pack_probabilities(left, scores[0][j * 4], scores[0][j * 4 + 1]);
    pack_probabilities(right, scores[0][j * 4 + 2], scores[0][j * 4 + 3]);
#pragma unroll
    for (int chunk = 0; chunk < Tile::CHUNKS; chunk++) {
      u32 values[4];   // 32 keys of a chunk
      load_matrices_transposed(values, shared + Tile::VALUES_AT + (chunk * Tile::KEY_ROWS + rows.first_key + j * 32 + lane) * 16);
      multiply_accumulate(state.output[0][chunk], left, values[0], values[1]);
      multiply_accumulate(state.output[0][chunk], right, values[2], values[3]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float sum = state.sum[0][half];
    sum += __shfl_xor_sync(0xffffffff, sum, 1);
    sum += __shfl_xor_sync(0xffffffff, sum, 2);
    const float inverse = __fdividef(1.0f, sum);   // 2 ulp: the sum is between 1 and the sequence length
    const int row = rows.position + lane / 4 + half * 8;
    if (row >= arguments.sequence) continue;
    u16* const context = arguments.context + ((u64)(rows.sequence * arguments.sequence + row) * arguments.heads + place.head) * 64 + place.part * Tile::HEAD + (lane & 3) * 2;
#pragma unroll
    for (int chunk = 0; chunk < Tile::CHUNKS; chunk++)
      *(u32*)(context + chunk * 8) = pack_elements(state.output[0][chunk][half * 2] * inverse, state.output[0][chunk][half * 2 + 1] * inverse);
  }
}

template <class Tile, bool CAUSAL>
DEVICE void qkv_cluster(const TensorMap* x_map, const QkvClusterArguments& arguments) {
  extern __shared__ unsigned char unaligned[];
  // Blocks of a cluster have their shared memory at equal addresses, so the padding is the same in each.
  const u32 address = shared_address(unaligned), padding = (1024 - address % 1024) % 1024, shared = address + padding;
  unsigned char* const memory = unaligned + padding;
  const QkvClusterPlace place = QkvClusterPlace::of<Tile>(arguments);
  const bool producer = threadIdx.x == Tile::CONSUMERS;
  if (producer) {
#pragma unroll 1
    for (int i = 0; i <= Tile::STAGES; i++) barrier_init(shared + Tile::BARRIERS_AT + i * 8, 1);   // the last is that of the exchange
    barrier_init_fence();
    prefetch_tensor_map(x_map);
  } else if (threadIdx.x < Tile::CONSUMERS) {
    request_weights<Tile>(arguments, place, shared);
  }
  __syncthreads();
  cluster_arrive();   // the barriers of this block are initialised
  if (threadIdx.x >= Tile::CONSUMERS) {
    if (producer) expect<Tile>(place, shared);
    __syncwarp();
    cluster_wait();
    wait_for_dependencies();
    if (producer) request_rows<Tile>(x_map, arguments, place, shared);
    return;
  }
  cluster_wait();
  wait_for_dependencies();
  allow_dependents();
  const QkvClusterRows rows = QkvClusterRows::of<Tile>(arguments, place);
  copy_async_wait<0>();
  async_proxy_fence();
  synchronise_group<Tile::CONSUMERS>(0);   // W and the bias are there
  project<Tile>(place, rows, memory, shared);
  barrier_wait_for_cluster(shared + Tile::EXCHANGE_AT);
  if (threadIdx.x < 128) attend<Tile, CAUSAL>(arguments, place, rows, shared);
}

// Defines the kernel `NAME`. What the host has to know (mirrored in Rust):
// - threads: 288; clusters of 8 blocks; STAGES = depth / 64;
// - grid: (8, heads, ceil(batch / (ROWS / KEYS)));
// - dynamic shared memory: with HEAD = ROWS / 8 and KEY_ROWS = max(KEYS, 64),
//   1032 + STAGES (128 (64 + 3 HEAD) + 8) + 8192 + KEY_ROWS (128 + 2 HEAD) + 780 HEAD bytes;
// - tensor maps as for gemm_wgmma: X with box {64, min(KEYS, 64)}.
#define QKV_CLUSTER(NAME, ROWS, KEYS, STAGES, CAUSAL)                                                                        \
  extern "C" __global__ void __cluster_dims__(8, 1, 1) __launch_bounds__(QkvClusterTile<ROWS, KEYS, STAGES>::THREADS, 1)     \
      NAME(const __grid_constant__ TensorMap x_map, const __grid_constant__ QkvClusterArguments arguments) {                 \
    qkv_cluster<QkvClusterTile<ROWS, KEYS, STAGES>, CAUSAL>(&x_map, arguments);                                              \
  }
