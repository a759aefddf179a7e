// attention_halves_wgmma.cu: attention_halves.cu on Hopper's warpgroup matrix instructions, for heads of 64 elements and many
// query rows. Compiled for sm_90a only, after prelude.cu, hopper.cu, halves.cu, attention_rows.cu and attention_halves_rows.cu.
//
// One warpgroup (4 warps) owns 64 query rows, 16 per warp with their strip, in the fragments of mma.m16n8k16. The tensor cores
// read tiles of 64 keys or values straight from shared memory, SLOTS of them in a ring: first all tiles of keys, then all tiles of
// values. A multiprocessor holds several such blocks, so one's softmax overlaps with another's products: the more the less memory a
// block takes. So the queries begin in the ring's last slot, and the scores of the last tile of keys stay in registers. The
// instruction sums over 16 elements as mma.m16n8k16 does; the tests compare the bits.
//
// What the host has to know (mirrored in Rust):
//   arguments  one HalvesArguments by value, as for attention_halves.cu
//   grid       (ceil(sequence / 64), heads, batch); block 128 threads
//   shared     SHARED_BYTES + (ceil(sequence / 64) - 1) * TILE_SHARED_BYTES

template <int SLOTS_> struct WgmmaHalvesShape {
  static constexpr int HEAD = 64, KEYS = 64, SLOTS = SLOTS_, CHUNKS = KEYS / 16;
  static constexpr int ROW_TILES = 1, WARP_ROWS = 16, QUERIES = 64, THREADS = 128;
  static constexpr int TILE_BYTES = KEYS * 2 * HEAD, SHARED_BYTES = SLOTS * TILE_BYTES, TILE_SHARED_BYTES = QUERIES * KEYS * 2;
  static_assert(SLOTS >= 2, "the next tile loads while this one is computed");
};

template <class Shape, bool CAUSAL, bool EXACT_SCALE> DEVICE void attention_halves_wgmma(const HalvesArguments& arguments) {
  constexpr int HEAD = Shape::HEAD, KEYS = Shape::KEYS, SLOTS = Shape::SLOTS;
  extern __shared__ __align__(1024) unsigned char wgmma_shared[];

  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
  const int sequence = arguments.sequence, head = blockIdx.y;
  const int batch = gridDim.z - 1 - blockIdx.z;   // see attention()
  const int first_query = (CAUSAL ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * Shape::QUERIES;
  const int first_row = first_query + warp * 16;
  const int hidden = arguments.heads * HEAD, pitch = 3 * hidden;
  const u16* const queries_in = arguments.qkv + (u64)batch * sequence * pitch + head * HEAD;
  const int length = arguments.lengths[batch];
  const int reach = CAUSAL && first_query + Shape::QUERIES < length ? first_query + Shape::QUERIES : length;
  const int key_tiles = (reach + KEYS - 1) / KEYS, value_tiles = (length + KEYS - 1) / KEYS;
  const int unmasked = CAUSAL && first_row + 1 < length ? first_row + 1 : length;   // keys that every row of this warp sees

  const u32 slots = shared_address(wgmma_shared), query_tile = slots + (SLOTS - 1) * Shape::TILE_BYTES;
  uint4* const strip = (uint4*)(wgmma_shared + Shape::SHARED_BYTES) + warp * ((sequence - 1) / KEYS) * Shape::CHUNKS * 32 + lane;
  auto slot = [&](int step) { return slots + (u32)step % SLOTS * Shape::TILE_BYTES; };
  // Step i loads tile i of the keys, or a tile of the values after them. There is one group of copies per step.
  auto load = [&](int step) {
    const int part = step < key_tiles ? 1 : 2, first_key = (part == 1 ? step : step - key_tiles) * KEYS;
    if (first_key < length)
      load_tile<HEAD, KEYS, Shape::THREADS>(slot(step), queries_in + part * hidden + first_key * pitch, pitch, length - first_key, threadIdx.x);
    copy_async_commit();
  };
  // After this the tile of a step is in its slot for all threads and the tensor cores, and the slot of the step before is free:
  // its products are done, since every thread has waited for them. The copy of a later tile into it starts.
  auto await_tile = [&] {
    copy_async_wait<SLOTS - 2>();
    async_proxy_fence();
    __syncthreads();
  };
  auto next_tile = [&](int step) {
    await_tile();
    load(step + SLOTS - 1);
  };

  wait_for_dependencies();
  allow_dependents();

  load_tile<HEAD, Shape::QUERIES, Shape::THREADS>(query_tile, queries_in + first_query * pitch, pitch, sequence - first_query, threadIdx.x);
#pragma unroll
  for (int step = 0; step < SLOTS - 1; step++) load(step);
  await_tile();
  u32 queries[1][4][4];
  load_queries<Shape>(queries, query_tile, warp * 16, lane);
  RowMaxima maximum;
  uint4 last[Shape::CHUNKS];   // the scores of the latest tile, then their exponentials
#pragma unroll 1
  for (int step = 0; step < key_tiles; step++) {
    if (step == 0) {
      __syncthreads();   // all warps have their queries
      load(SLOTS - 1);
    } else {
      next_tile(step);
    }
    float scores[8][4];
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) wgmma_64xNx16<false>(scores, queries[0][k], matrix_descriptor(slot(step) + k * 32, 1024), k > 0);
    wgmma_commit();
    wgmma_wait<0>(scores);
    keep_operands(queries[0]);
#pragma unroll
    for (int i = 0; i < Shape::CHUNKS; i++) {
      uint4 chunk = scaled_scores<EXACT_SCALE>(scores[2 * i], scores[2 * i + 1], arguments.scale);
      if (step * KEYS + KEYS > unmasked) mask_chunk<CAUSAL>(chunk, step * KEYS + i * 16, first_row, length, lane);
      maximum.add(chunk);
      last[i] = chunk;
      if (step + 1 < key_tiles) strip[(step * Shape::CHUNKS + i) * 32] = chunk;
    }
  }

  const u32 largest = maximum.of_warp();
  ArrivingSum sum;
#pragma unroll 1
  for (int tile = 0; tile < key_tiles - 1; tile++) sum.add(exponential_tile<Shape::CHUNKS>(strip + tile * Shape::CHUNKS * 32, largest, lane));
  sum.add(exponential_tile<Shape::CHUNKS, 1>(last, largest, lane));
  const RowDivisors divisors(sum.total());

  // Every product is waited for before the next probabilities are computed. A product in flight reads its operand from registers,
  // and no syntax keeps the compiler from computing there: with the wait after the next tile's divisions, it did.
  float output[8][4] = {};
  auto multiply = [&](int tile, u32 (&probabilities)[Shape::CHUNKS][4]) {
    next_tile(key_tiles + tile);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < Shape::CHUNKS; k++)
      wgmma_64xNx16<true>(output, probabilities[k], matrix_descriptor(slot(key_tiles + tile) + k * 16 * 128, 1024), true);
    wgmma_commit();
    wgmma_wait<0>(output);
    keep_operands(probabilities);
  };
#pragma unroll 1
  for (int tile = 0; tile < key_tiles; tile++) {
    u32 probabilities[Shape::CHUNKS][4];
#pragma unroll
    for (int i = 0; i < Shape::CHUNKS; i++) {
      const uint4 chunk = divisors.probabilities(tile + 1 < key_tiles ? strip[(tile * Shape::CHUNKS + i) * 32] : last[i]);
      probabilities[i][0] = chunk.x; probabilities[i][1] = chunk.y; probabilities[i][2] = chunk.z; probabilities[i][3] = chunk.w;
    }
    multiply(tile, probabilities);
  }
  // See attention_halves.cu for why there are more tiles of values than of keys.
#pragma unroll 1
  for (int tile = key_tiles; tile < value_tiles; tile++) {
    u32 zeros[Shape::CHUNKS][4] = {};
    multiply(tile, zeros);
  }
  u16* const context = arguments.context + ((u64)batch * sequence + first_row) * hidden + head * HEAD;
  store_context<8>(context, hidden, sequence - first_row, output, lane);
}

// ATTENTION_HALVES_WGMMA(name, SLOTS, CTAS_PER_SM, CAUSAL, EXACT_SCALE) defines the kernel `name`. CTAS_PER_SM caps the registers
// a thread may use at 65536 / (128 * CTAS_PER_SM).
#define ATTENTION_HALVES_WGMMA(NAME, SLOTS, CTAS_PER_SM, CAUSAL, EXACT_SCALE)                                          \
  extern "C" __global__ void __launch_bounds__(128, CTAS_PER_SM) NAME(const HalvesArguments arguments) {               \
    attention_halves_wgmma<WgmmaHalvesShape<SLOTS>, CAUSAL, EXACT_SCALE>(arguments);                                   \
  }
