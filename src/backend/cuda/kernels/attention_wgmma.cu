// attention_wgmma.cu: fused attention on Hopper's warpgroup matrix instructions, for heads of 64 elements and more and many
// query rows. The operation and its arguments are those of attention.cu. Compiled for sm_90a only, after prelude.cu, hopper.cu
// and attention_rows.cu.
//
// A warpgroup (4 warps) owns 64 query rows, 16 per warp, in the fragment layout of mma.m16n8k16, so that attention.cu shares
// all code between the two products (attention_rows.cu). The tensor cores read K and V tiles straight from shared memory: a
// row of 64 elements is 128 bytes, and the XOR swizzle of tile_offset is the hardware's 128-byte swizzle. The other columns of
// a wider head are a tile of their own, of rows of 32, 64 or 128 bytes in the swizzle of as many, and so need products of
// their own: of the scores more steps, of the output more columns.
//
// The products run asynchronously. The softmax, bound by the special function unit, takes as long as both products together
// at head size 64. So the tile loop is skewed, as in FlashAttention-3 (Shah et al., arXiv 2407.08608): the scores of tile
// t + 1 and the output of tile t are issued together, and the softmax of t + 1 overlaps with the output product.
//
//      tensor cores   S(0)       S(1) PV(0)      S(2) PV(1)      S(3) ...
//      softmax             s(0)          s(1)           s(2)
//
// K and V each have SLOTS slots. Once S(t + 1) and PV(t) are done, the slots of K(t + 1) and V(t) are free. K runs one tile
// ahead of V, and both are requested SLOTS - 1 steps before their use. cp.async fills keys beyond a row's length with zeros
// and does not read them.
//
// ROW_GROUPS warpgroups share the K and V tiles, each with its own 64 rows. A small batch has too few rows to fill the
// device. Then there are KEY_GROUPS such sets of warpgroups: each walks over every KEY_GROUPS-th tile, and they are merged
// at the end, as in attention.cu.
//
// What the host has to know (mirrored in Rust):
//   arguments  one AttentionArguments by value, as for attention.cu
//   grid       (ceil(sequence / QUERIES), heads, batch), QUERIES = 64 * ROW_GROUPS
//   block      128 * ROW_GROUPS * KEY_GROUPS threads
//   shared     WgmmaAttentionShape::SHARED_BYTES = 2 * HEAD * (QUERIES + 2 * KEY_GROUPS * SLOTS * KEYS)

template <int HEAD_, int ROW_GROUPS, int KEY_GROUPS_, int KEYS_, int SLOTS_>
struct WgmmaAttentionShape {
  static constexpr int HEAD = HEAD_;
  static constexpr int REST = HEAD - 64;  // columns beyond the first 64, in rows of REST_BYTES
  static constexpr int REST_BYTES = REST > 0 ? 2 * REST : 128;
  static constexpr int KEY_GROUPS = KEY_GROUPS_;
  static constexpr int KEYS = KEYS_;
  static constexpr int SLOTS = SLOTS_;
  static constexpr int ROW_TILES = 1;  // of 16 rows, per warp
  static constexpr int WARP_ROWS = 16;
  static constexpr int QUERIES = 64 * ROW_GROUPS;
  static constexpr int GROUP_THREADS = 128 * ROW_GROUPS;
  static constexpr int THREADS = GROUP_THREADS * KEY_GROUPS;

  // Shared memory: the query tile, then for each key group the K slots and the V slots.
  static constexpr int QUERY_BYTES = QUERIES * 2 * HEAD;
  static constexpr int TILE_BYTES = KEYS * 2 * HEAD;
  static constexpr int GROUP_BYTES = 2 * SLOTS * TILE_BYTES;
  static constexpr int SHARED_BYTES = QUERY_BYTES + KEY_GROUPS * GROUP_BYTES;
  static constexpr int MERGE_QUADS = HEAD / 8 + 1;

  static_assert(HEAD == 64 || HEAD == 80 || HEAD == 96 || HEAD == 128, "the columns beyond 64 have a swizzle");
  static_assert(KEYS % 64 == 0, "one score product covers 64 keys");
  static_assert(SLOTS >= 2, "the next tile loads while this one is computed");
  static_assert((KEY_GROUPS - 1) * MERGE_QUADS * GROUP_THREADS * 16 <= KEY_GROUPS * GROUP_BYTES,
                "the merge reuses the slots");
};

// Issues scores = Q K^T for one tile and commits it as a group.
template <class Shape>
DEVICE void issue_scores(float (&scores)[1][Shape::KEYS / 8][4], const u32 (&queries)[1][Shape::HEAD / 16][4], u32 keys) {
#pragma unroll
  for (int block = 0; block < Shape::KEYS / 64; block++) {
    float (&sums)[8][4] = reinterpret_cast<float (&)[8][4]>(scores[0][block * 8]);
#pragma unroll
    for (int k = 0; k < 4; k++) {  // 16 elements of the head are 32 bytes of the row
      wgmma_64xNx16<false>(sums, queries[0][k], matrix_descriptor(keys + block * 64 * 128 + k * 32, 1024), k > 0);
    }
    const u32 rest = keys + Shape::KEYS * 128 + block * 64 * Shape::REST_BYTES;
#pragma unroll
    for (int k = 4; k < Shape::HEAD / 16; k++) {
      wgmma_64xNx16<false>(sums, queries[0][k], matrix_descriptor<Shape::REST_BYTES>(rest + (k - 4) * 32, 1024), true);
    }
  }
  wgmma_commit();
}

// Issues output += P V for one tile and commits it as a group. A 16-key step of V is 16 rows.
template <class Shape>
DEVICE void issue_values(float (&output)[Shape::HEAD / 8][4], const u32 (&probabilities)[Shape::KEYS / 16][4], u32 values) {
  float (&first)[8][4] = reinterpret_cast<float (&)[8][4]>(output[0]);
#pragma unroll
  for (int k = 0; k < Shape::KEYS / 16; k++) {
    wgmma_64xNx16<true>(first, probabilities[k], matrix_descriptor(values + k * 16 * 128, 1024), true);
    if constexpr (Shape::REST > 0) {
      float (&others)[Shape::REST / 8][4] = reinterpret_cast<float (&)[Shape::REST / 8][4]>(output[8]);
      const u32 rest = values + Shape::KEYS * 128 + k * 16 * Shape::REST_BYTES;
      wgmma_64xNx16<true>(others, probabilities[k], matrix_descriptor<Shape::REST_BYTES>(rest, 1024), true);
    }
  }
  wgmma_commit();
}

// Waits for all products and keeps the compiler from reading the output before.
template <class Shape>
DEVICE void wait_for_output(float (&output)[Shape::HEAD / 8][4]) {
  wgmma_wait<0>(reinterpret_cast<float (&)[8][4]>(output[0]));
#pragma unroll
  for (int j = 8; j < Shape::HEAD / 8; j++) asm volatile("" : OPERANDS_4(output[j], 0));
}

template <class Shape, int PENDING>
DEVICE void wait_for_scores(float (&scores)[1][Shape::KEYS / 8][4]) {
#pragma unroll
  for (int block = 0; block < Shape::KEYS / 64; block++) {
    wgmma_wait<PENDING>(reinterpret_cast<float (&)[8][4]>(scores[0][block * 8]));
  }
}

template <class Shape>
DEVICE void pack_tile(u32 (&probabilities)[Shape::KEYS / 16][4], const float (&scores)[1][Shape::KEYS / 8][4]) {
#pragma unroll
  for (int k = 0; k < Shape::KEYS / 16; k++) {
    pack_probabilities(probabilities[k], scores[0][2 * k], scores[0][2 * k + 1]);
  }
}

// Waits until all but PENDING of this thread's groups of copies have landed, and makes them visible to the tensor cores. A
// barrier has to follow before other threads rely on them.
template <int PENDING>
DEVICE void wait_for_tiles() {
  copy_async_wait<PENDING>();
  async_proxy_fence();
}

// Waits for all warps of one key group, and makes their writes to shared memory visible to each other.
template <class Shape>
DEVICE void group_barrier(int group) {
  if (Shape::KEY_GROUPS == 1) {
    __syncthreads();
  } else {
    synchronise_group<Shape::GROUP_THREADS>(group);
  }
}

template <class Shape, bool CAUSAL>
DEVICE void attention_wgmma(const AttentionArguments& arguments) {
  extern __shared__ __align__(1024) unsigned char wgmma_shared[];
  constexpr int SLOTS = Shape::SLOTS;
  // Broadcast from lane 0 of the warp, so that the compiler keeps the addresses of the tiles in uniform registers, where
  // matrix descriptors have to be.
  const int group =
      Shape::KEY_GROUPS == 1 ? 0 : __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x) / Shape::GROUP_THREADS, 0);
  const int thread = threadIdx.x - group * Shape::GROUP_THREADS;
  const int lane = threadIdx.x & 31;
  const int warp_row = thread / 32 * Shape::WARP_ROWS;  // of the query tile
  const int sequence = arguments.sequence;
  const int head = blockIdx.y;
  const int batch = gridDim.z - 1 - blockIdx.z;  // see attention()
  // Causal rows late in the sequence see most keys. Their CTAs start first, so that no long one is left for the end.
  const int first_query = (CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * Shape::QUERIES;
  const int first_row = first_query + warp_row;
  const int hidden = arguments.heads * Shape::HEAD;
  const int pitch = 3 * hidden;
  const u16* queries_in = arguments.qkv + static_cast<u64>(batch) * sequence * pitch + head * Shape::HEAD;
  const u16* keys_in = queries_in + hidden;

  const int length = arguments.lengths ? arguments.lengths[batch] : sequence;
  const int reach = CAUSAL && first_query + Shape::QUERIES < length ? first_query + Shape::QUERIES : length;
  const int unmasked = CAUSAL && first_row + 1 < length ? first_row + 1 : length;  // keys that every row of this warp sees
  // First key of this group's step i, which is tile group + i * KEY_GROUPS.
  auto first_key = [&](int step) { return (group + step * Shape::KEY_GROUPS) * Shape::KEYS; };
  constexpr int STRIDE = Shape::KEYS * Shape::KEY_GROUPS;
  const int steps = (reach - first_key(0) + STRIDE - 1) / STRIDE;  // 0 or less for a group without tiles

  const u32 query_tile = shared_address(wgmma_shared);
  const u32 key_slots = query_tile + Shape::QUERY_BYTES + group * Shape::GROUP_BYTES;
  const u32 value_slots = key_slots + SLOTS * Shape::TILE_BYTES;
  auto slot = [](u32 slots, int step) { return slots + static_cast<u32>(step) % SLOTS * Shape::TILE_BYTES; };
  auto load = [&](u32 slots, const u16* source, int step) {
    if (step < steps) {
      load_tile<Shape::HEAD, Shape::KEYS, Shape::GROUP_THREADS>(slot(slots, step), source + first_key(step) * pitch,
                                                                pitch, length - first_key(step), thread);
    }
  };

  wait_for_dependencies();
  allow_dependents();

  load_tile<Shape::HEAD, Shape::QUERIES, Shape::THREADS>(query_tile, queries_in + first_query * pitch, pitch,
                                                         sequence - first_query, threadIdx.x);
  load(key_slots, keys_in, 0);
  copy_async_commit();
#pragma unroll
  for (int step = 1; step < SLOTS; step++) {
    load(key_slots, keys_in, step);
    load(value_slots, keys_in + hidden, step - 1);
    copy_async_commit();
  }

  RowState<Shape::HEAD, 1> state;
  state.clear();
  wait_for_tiles<SLOTS - 1>();
  __syncthreads();
  if (Shape::KEY_GROUPS == 1 || steps > 0) {
    u32 queries[1][Shape::HEAD / 16][4];
    float scores[1][Shape::KEYS / 8][4];
    float rescale[1][2];
    u32 probabilities[Shape::KEYS / 16][4] = {};

    load_queries<Shape>(queries, query_tile, warp_row, lane);
    wgmma_fence();
    issue_scores<Shape>(scores, queries, key_slots);
    wait_for_scores<Shape, 0>(scores);
    if (first_key(0) + Shape::KEYS > unmasked) mask_tile<Shape, CAUSAL>(scores, first_key(0), first_row, length, lane);
    softmax_step<Shape>(state, scores, rescale, arguments.scale_log2);

    // The wait for PV(step - 2) stands at the top, a branch away from the softmax that it overlaps with. Within one basic
    // block the compiler would move the wait above the softmax.
#pragma unroll 1
    for (int step = 1; step < steps; step++) {
      wait_for_output<Shape>(state.output[0]);
      keep_operands(probabilities);
      rescale_output<Shape>(state, rescale);
      pack_tile<Shape>(probabilities, scores);
      wait_for_tiles<SLOTS - 2>();
      // After this barrier K(step) and V(step - 1) have landed, and the slots of K(step - 1) and V(step - 2) are free.
      group_barrier<Shape>(group);
      load(key_slots, keys_in, step - 1 + SLOTS);
      load(value_slots, keys_in + hidden, step - 2 + SLOTS);
      copy_async_commit();

      wgmma_fence();
      issue_scores<Shape>(scores, queries, slot(key_slots, step));
      issue_values<Shape>(state.output[0], probabilities, slot(value_slots, step - 1));
      wait_for_scores<Shape, 1>(scores);
      if (first_key(step) + Shape::KEYS > unmasked) {
        mask_tile<Shape, CAUSAL>(scores, first_key(step), first_row, length, lane);
      }
      softmax_step<Shape>(state, scores, rescale, arguments.scale_log2);
    }
    wait_for_output<Shape>(state.output[0]);
    keep_operands(probabilities);
    rescale_output<Shape>(state, rescale);
    pack_tile<Shape>(probabilities, scores);
    wait_for_tiles<SLOTS - 2>();
    group_barrier<Shape>(group);
    wgmma_fence();
    issue_values<Shape>(state.output[0], probabilities, slot(value_slots, steps - 1));
    wait_for_output<Shape>(state.output[0]);
  }

  if (Shape::KEY_GROUPS > 1) {
    __syncthreads();  // the merge overwrites the slots
    merge_groups<Shape>(state, reinterpret_cast<float4*>(wgmma_shared + Shape::QUERY_BYTES), group, thread,
                        arguments.scale_log2);
    if (group > 0) return;
  }
  u16* context = arguments.context + (static_cast<u64>(batch) * sequence + first_row) * hidden + head * Shape::HEAD;
  store_rows<Shape>(state, wgmma_shared, warp_row, context, hidden, sequence - first_row, lane);
}

// ATTENTION_WGMMA(name, HEAD, ROW_GROUPS, KEY_GROUPS, KEYS, SLOTS, CTAS_PER_SM, CAUSAL) defines the kernel `name`.
// CTAS_PER_SM caps the registers a thread may use at 65536 / (CTAS_PER_SM * block).
#define ATTENTION_WGMMA(NAME, HEAD, ROW_GROUPS, KEY_GROUPS, KEYS, SLOTS, CTAS_PER_SM, CAUSAL)                          \
  extern "C" __global__ void __launch_bounds__(128 * (ROW_GROUPS) * (KEY_GROUPS), CTAS_PER_SM)                         \
      NAME(const AttentionArguments arguments) {                                                                       \
    attention_wgmma<WgmmaAttentionShape<HEAD, ROW_GROUPS, KEY_GROUPS, KEYS, SLOTS>, CAUSAL>(arguments);                \
  }
