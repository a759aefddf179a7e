// qkv_cluster.cu: the packed QKV projection of one head and its attention in one kernel, for few sequences of up to 128 tokens and
// heads of 64. A cluster of eight blocks shares the head of one sequence, so that 8 x batch x heads multiprocessors work where
// qkv_attention.cu has batch x heads. Compiled for sm_90a only, after prelude.cu, hopper.cu and attention_rows.cu.
//
//   KEYS   blocks of a cluster              a block computes
//   32, 64 8 parts of the columns           64 rows x 24 columns: 8 of Q, K and V each
//   128    2 halves of the rows x 4 parts   64 rows x 48 columns: 16 of each
//
//   product    Q, K, V = round(X W^T + bias)   by wgmma over the whole depth, all of which fits into shared memory. Each tile of X is
//                                              requested once a cluster, by multicast, W by each block before the wait
//   exchange   Q to the blocks of the same rows, K to all, V to the other half of the rows: distributed shared memory
//   attention  softmax(Q K^T) V                by mma.sync. A warp has 16 rows and all keys; each block repeats the scores of its
//                                              rows and multiplies them with its own columns of V
//
// Rounding points are those of the two kernels. Q, K and V have the bits of a wgmma product that does not split the depth.
//
// No block leaves while another may write to its shared memory: every write is before the second cluster barrier, and every
// block waits for it. Programmatic dependent launch: as in gemm_wgmma.cu.

struct QkvClusterArguments {
  const float* bias;   // [3 * heads * 64] FP32, 16-byte aligned
  u16* context;        // [batch * sequence, heads * 64]
  const int* lengths;  // [batch], each in 1..=sequence
  int sequence;        // 1..=KEYS, above 64 where KEYS is 128
  int heads;
  float scale_log2;    // as in AttentionArguments
};

template <int KEYS_, int STAGE_COUNT> struct QkvClusterTile {
  static constexpr int KEYS = KEYS_, STAGES = STAGE_COUNT, ROWS = 64, BLOCKS = 8;
  static constexpr int HALVES = KEYS > ROWS ? 2 : 1, PARTS = BLOCKS / HALVES, HEAD = 64 / PARTS;   // HEAD: own columns of the head
  static constexpr int CHUNKS = HEAD / 8, N = 3 * HEAD, ROW_TILES = 1;                             // as in attention_rows.cu
  static constexpr int EXCHANGED_ROWS = KEYS < ROWS ? KEYS : ROWS;
  static constexpr int X_BYTES = ROWS * 128, STAGE_BYTES = X_BYTES + N * 128, THREADS = 160;
  // Behind the stages. Tiles of Q, K and V lie by chunks of 16 bytes: eight rows of a chunk are 128 bytes in a row.
  static constexpr int QUERIES_AT = STAGES * STAGE_BYTES, KEYS_AT = QUERIES_AT + 8 * ROWS * 16, VALUES_AT = KEYS_AT + 8 * KEYS * 16;
  static constexpr int BIAS_AT = VALUES_AT + CHUNKS * KEYS * 16, BARRIERS_AT = BIAS_AT + N * 4;
  static constexpr int SHARED_BYTES = 1024 + BARRIERS_AT + STAGES * 8;
  static_assert(KEYS == 32 || KEYS == 64 || KEYS == 128, "keys");
};

// ---------------------------------------------------------------- clusters

DEVICE int rank_in_cluster() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return (int)rank;
}

// Every thread of the cluster arrives and waits. Writes to any shared memory of the cluster before the one are visible after the
// other.
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

// The address of the same place in the shared memory of another block.
DEVICE u32 address_in_block(u32 address, int rank) {
  u32 there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

DEVICE void store_in_cluster(u32 address, const uint4& value) {
  asm volatile("st.shared::cluster.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w) : "memory");
}

// As copy_tile, to the same place in every block of `blocks`, whose barriers at that place it completes.
DEVICE void copy_tile_to_blocks(u32 destination, const TensorMap* map, u32 barrier, int depth, int row, u16 blocks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;"
               ::"r"(destination), "l"(map), "r"(depth), "r"(row), "r"(barrier), "h"(blocks) : "memory");
}

// ---------------------------------------------------------------- a block

// Where a block stands.
struct QkvClusterPlace {
  int rank, half, part, head, sequence;
  template <class Tile> static DEVICE QkvClusterPlace of() {
    const int rank = rank_in_cluster();
    return {rank, rank / Tile::PARTS, rank % Tile::PARTS, (int)blockIdx.y, (int)blockIdx.z};
  }
};

// Requests all tiles of W, then this block's share of those of X. Run by one thread.
template <class Tile>
DEVICE void produce_for_cluster(const TensorMap* x_map, const TensorMap* w_map, const QkvClusterArguments& arguments, const QkvClusterPlace& place, u32 shared) {
#pragma unroll 1
  for (int tile = 0; tile < Tile::STAGES; tile++) {
    const u32 stage = shared + tile * Tile::STAGE_BYTES, full = shared + Tile::BARRIERS_AT + tile * 8;
    barrier_expect_bytes(full, Tile::STAGE_BYTES);
#pragma unroll
    for (int kind = 0; kind < 3; kind++)
      copy_tile(stage + Tile::X_BYTES + kind * Tile::HEAD * 128, w_map, full, tile * 64, (kind * arguments.heads + place.head) * 64 + place.part * Tile::HEAD);
  }
  cluster_wait();   // the barriers of all blocks are initialised
  wait_for_dependencies();
  const u16 blocks = (u16)(((1 << Tile::PARTS) - 1) << (place.half * Tile::PARTS));
#pragma unroll 1
  for (int tile = place.part; tile < Tile::STAGES; tile += Tile::PARTS)
    copy_tile_to_blocks(shared + tile * Tile::STAGE_BYTES, x_map, shared + Tile::BARRIERS_AT + tile * 8, tile * 64,
                        place.sequence * arguments.sequence + place.half * Tile::ROWS, blocks);
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
      if (row < rows) *(u32*)(tile + (chunk * rows + row) * 16 + quad_lane * 4) = row < valid ? packed : 0;
    }
  }
}

// Copies CHUNKS chunks of EXCHANGED_ROWS rows from here to the same place in other blocks of the cluster: `blocks` neighbours from
// `first` on, but not to this one.
template <class Tile>
DEVICE void send(u32 source, int chunk_bytes, int first, int blocks, int own_rank) {
  constexpr int ENTRIES = Tile::CHUNKS * Tile::EXCHANGED_ROWS;
  for (int i = threadIdx.x; i < ENTRIES * blocks; i += 128) {
    const int rank = first + i / ENTRIES, entry = i % ENTRIES;
    if (rank == own_rank) continue;
    const u32 address = source + entry / Tile::EXCHANGED_ROWS * chunk_bytes + entry % Tile::EXCHANGED_ROWS * 16;
    uint4 value;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w) : "r"(address) : "memory");
    store_in_cluster(address_in_block(address, rank), value);
  }
}

// Q, K and V of the block's rows and columns, to all blocks that read them.
template <class Tile>
DEVICE void project(const QkvClusterArguments& arguments, const QkvClusterPlace& place, unsigned char* memory, u32 shared, int length) {
  const int lane = threadIdx.x & 31, row = threadIdx.x / 32 * 16 + lane / 4, key = place.half * Tile::ROWS + row;
  float sums[Tile::N / 2] = {};
#pragma unroll 1
  for (int tile = 0; tile < Tile::STAGES; tile++) {
    const u32 stage = shared + tile * Tile::STAGE_BYTES;
    barrier_wait(shared + Tile::BARRIERS_AT + tile * 8, 0);
    const u64 x = matrix_descriptor(stage, 16), w = matrix_descriptor(stage + Tile::X_BYTES, 16);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) wgmma<Tile::N>(sums, x + step * (32 >> 4), w + step * (32 >> 4), tile > 0 || step > 0);
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  copy_async_wait<0>();
  synchronise_group<128>(0);   // the bias is there

  const float* const bias = (const float*)(memory + Tile::BIAS_AT) + (lane & 3) * 2;
  const u32 own = place.part * Tile::CHUNKS, sums_of_kind = Tile::CHUNKS * 4;
  store_part<Tile>(memory + Tile::QUERIES_AT + own * Tile::ROWS * 16, Tile::ROWS, row, Tile::ROWS, sums, bias, lane & 3);
  store_part<Tile>(memory + Tile::KEYS_AT + own * Tile::KEYS * 16, Tile::KEYS, key, length, sums + sums_of_kind, bias + Tile::HEAD, lane & 3);
  store_part<Tile>(memory + Tile::VALUES_AT, Tile::KEYS, key, length, sums + 2 * sums_of_kind, bias + 2 * Tile::HEAD, lane & 3);
  synchronise_group<128>(0);

  const int neighbours = place.half * Tile::PARTS, first_key = place.half * Tile::ROWS * 16;
  send<Tile>(shared + Tile::QUERIES_AT + own * Tile::ROWS * 16, Tile::ROWS * 16, neighbours, Tile::PARTS, place.rank);
  send<Tile>(shared + Tile::KEYS_AT + own * Tile::KEYS * 16 + first_key, Tile::KEYS * 16, 0, Tile::BLOCKS, place.rank);
  if (Tile::HALVES > 1) send<Tile>(shared + Tile::VALUES_AT + first_key, Tile::KEYS * 16, (1 - place.half) * Tile::PARTS + place.part, 1, place.rank);
}

// The context of a warp's 16 rows in the block's columns.
template <class Tile, bool CAUSAL>
DEVICE void attend(const QkvClusterArguments& arguments, const QkvClusterPlace& place, u32 shared, int length) {
  const int lane = threadIdx.x & 31, tile_row = threadIdx.x / 32 * 16, first_row = place.half * Tile::ROWS + tile_row;
  if (first_row >= arguments.sequence) return;
  const int matrix = lane / 8, line = lane % 8;
  float scores[1][Tile::KEYS / 8][4] = {};
#pragma unroll
  for (int k = 0; k < 4; k++) {
    u32 queries[4];   // 16 rows of two chunks
    load_matrices(queries, shared + Tile::QUERIES_AT + ((k * 2 + matrix / 2) * Tile::ROWS + tile_row + matrix % 2 * 8 + line) * 16);
#pragma unroll
    for (int j = 0; j < Tile::KEYS / 16; j++) {
      u32 keys[4];   // two chunks of eight keys, then of the next eight
      load_matrices(keys, shared + Tile::KEYS_AT + ((k * 2 + matrix % 2) * Tile::KEYS + j * 16 + matrix / 2 * 8 + line) * 16);
      multiply_accumulate(scores[0][j * 2], queries, keys[0], keys[1]);
      multiply_accumulate(scores[0][j * 2 + 1], queries, keys[2], keys[3]);
    }
  }
  mask_tile<Tile, CAUSAL>(scores, 0, first_row, length, lane);
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
      load_matrices_transposed(values, shared + Tile::VALUES_AT + (chunk * Tile::KEYS + j * 32 + lane) * 16);
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
    const int row = first_row + lane / 4 + half * 8;
    if (row >= arguments.sequence) continue;
    u16* const context = arguments.context + ((u64)(place.sequence * arguments.sequence + row) * arguments.heads + place.head) * 64 + place.part * Tile::HEAD + (lane & 3) * 2;
#pragma unroll
    for (int chunk = 0; chunk < Tile::CHUNKS; chunk++)
      *(u32*)(context + chunk * 8) = pack_elements(state.output[0][chunk][half * 2] * inverse, state.output[0][chunk][half * 2 + 1] * inverse);
  }
}

template <class Tile, bool CAUSAL>
DEVICE void qkv_cluster(const TensorMap* x_map, const TensorMap* w_map, const QkvClusterArguments& arguments) {
  extern __shared__ unsigned char unaligned[];
  // Blocks of a cluster have their shared memory at equal addresses, so the padding is the same in each.
  const u32 address = shared_address(unaligned), padding = (1024 - address % 1024) % 1024, shared = address + padding;
  unsigned char* const memory = unaligned + padding;
  const QkvClusterPlace place = QkvClusterPlace::of<Tile>();
  const bool producer = threadIdx.x == 128;
  if (producer) {
    prefetch_tensor_map(x_map);
    prefetch_tensor_map(w_map);
#pragma unroll 1
    for (int i = 0; i < Tile::STAGES; i++) barrier_init(shared + Tile::BARRIERS_AT + i * 8, 1);
    barrier_init_fence();
  }
  __syncthreads();
  cluster_arrive();
  if (threadIdx.x >= 128) {
    if (producer) produce_for_cluster<Tile>(x_map, w_map, arguments, place, shared);
    else cluster_wait();
    cluster_arrive();
    cluster_wait();
    return;
  }
  if (threadIdx.x < Tile::N / 4) {
    const int column = threadIdx.x * 4, kind = column / Tile::HEAD;
    copy_async_16(shared + Tile::BIAS_AT + column * 4,
                  arguments.bias + (kind * arguments.heads + place.head) * 64 + place.part * Tile::HEAD + column % Tile::HEAD, true);
  }
  copy_async_commit();
  cluster_wait();
  wait_for_dependencies();
  allow_dependents();
  const int length = arguments.lengths[place.sequence];
  project<Tile>(arguments, place, memory, shared, length);
  cluster_arrive();
  cluster_wait();
  attend<Tile, CAUSAL>(arguments, place, shared, length);
}

// Defines the kernel `NAME`. What the host has to know (mirrored in Rust):
// - threads: 160; grid: (8, heads, batch); STAGES = depth / 64;
// - dynamic shared memory: with HEAD = KEYS > 64 ? 16 : 8, 1024 + STAGES (128 (64 + 3 HEAD) + 8) + 8192 + KEYS (128 + 2 HEAD) + 12 HEAD
//   bytes;
// - tensor maps as for gemm_wgmma: X with box {64, 64}, W {depth, 192 heads} with box {64, HEAD}.
#define QKV_CLUSTER(NAME, KEYS, STAGES, CAUSAL)                                                                              \
  extern "C" __global__ void __cluster_dims__(8, 1, 1) __launch_bounds__(QkvClusterTile<KEYS, STAGES>::THREADS, 1)           \
      NAME(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,                                 \
           const __grid_constant__ QkvClusterArguments arguments) {                                                          \
    qkv_cluster<QkvClusterTile<KEYS, STAGES>, CAUSAL>(&x_map, &w_map, arguments);                                            \
  }
