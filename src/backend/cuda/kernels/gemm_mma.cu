// gemm_mma.cu: matrix product of a linear layer by mma.sync, for any GPU from sm_80 on. Made for few tokens (up to about
// 128), where streaming the weights and latencies take the time, not arithmetic. Compiled after prelude.cu and
// gemm_epilogue.cu.
//
// A block computes a TILE_M x TILE_N tile of Y over one split of the depth. STAGES tiles of X and W are in flight in
// shared memory, each TILE_K deep, stored as sub-tiles of 64 elements (128 bytes) a row with swizzled chunks.
// WARPS_M x WARPS_N warps divide the tile. WARPS_K warps share each part of it and divide its depth in steps of 16. That
// hides the latency of the tensor cores when a tile is too small for many warps.
//
//        TILE_N                      one stage:   X tile  TILE_K / 64 sub-tiles of TILE_M rows x 128 bytes
//      +--------+--------+                        W tile  TILE_K / 64 sub-tiles of TILE_N rows x 128 bytes
//      | warp 0 | warp 1 |  TILE_M
//      +--------+--------+           sums of a warp: (TILE_M / WARPS_M / 16) x (TILE_N / WARPS_N / 8) blocks of 16x8
//      | warp 2 | warp 3 |
//      +--------+--------+           grid: (width / TILE_N, ceil(tokens / TILE_M), ceil(depth / depth_per_split))
//
// Programmatic dependent launch: while the predecessor still runs, the first STAGES tiles of W and the bias are requested
// and the rest of W is prefetched to L2. X is requested after the wait. Dependents are allowed right after the wait: if they
// were allowed at entry, the next grid would occupy the room of this one's late blocks.
//
// Split products store FP32 partial sums (EPILOGUE_PARTIAL), and the next kernel adds them in a fixed order. There are no
// atomics, so the result is bitwise reproducible.

template <int M, int N, int K, int STAGE_COUNT, int WARP_ROWS, int WARP_COLUMNS, int WARP_LAYERS> struct MmaTile {
  static constexpr int TILE_M = M, TILE_N = N, TILE_K = K, STAGES = STAGE_COUNT;
  static constexpr int WARPS_M = WARP_ROWS, WARPS_N = WARP_COLUMNS, WARPS_K = WARP_LAYERS;
  static constexpr int THREADS = 32 * WARPS_M * WARPS_N * WARPS_K;
  static constexpr int X_BYTES = M * K * 2, W_BYTES = N * K * 2, STAGE_BYTES = X_BYTES + W_BYTES;
  static constexpr int WARP_M = M / WARPS_M, WARP_N = N / WARPS_N;        // a warp's part of the tile
  static constexpr int BLOCKS_M = WARP_M / 16, BLOCKS_N = WARP_N / 8;     // in blocks of 16x8 sums
  static constexpr int EXCHANGE_BYTES = WARPS_K > 1 ? WARPS_K * M * N * 4 : 0;
  static constexpr int WORK_BYTES = STAGES * STAGE_BYTES > EXCHANGE_BYTES ? STAGES * STAGE_BYTES : EXCHANGE_BYTES;
  static constexpr int SHARED_BYTES = WORK_BYTES + N * 4;                 // and the bias of the tile's columns
  static_assert(M % (16 * WARPS_M) == 0 && N % (16 * WARPS_N) == 0, "a warp owns whole 16x16 parts of the tile");
  static_assert(K % 64 == 0 && K / 16 % WARPS_K == 0, "the warps of a part take equal shares of a tile's depth");
  static_assert(STAGES >= 2, "one tile is computed on while another is loaded");
};

// Starts the copy of ROWS x TILE_K elements (pitch `depth`) to the swizzled sub-tiles at `destination`. Rows from
// `valid_rows` on are filled with zeros.
template <int ROWS, int TILE_K, int THREADS>
DEVICE void request_tile(u32 destination, const u16* source, int depth, int valid_rows) {
  constexpr int CHUNKS = ROWS * 8;   // of 16 bytes, in one sub-tile
#pragma unroll
  for (int sub_tile = 0; sub_tile < TILE_K / 64; sub_tile++) {
#pragma unroll
    for (int first = 0; first < CHUNKS; first += THREADS) {
      const int index = first + threadIdx.x, row = index / 8, chunk = index % 8;
      if (CHUNKS % THREADS == 0 || index < CHUNKS) {
        const bool valid = row < valid_rows;
        copy_async_16(destination + sub_tile * ROWS * 128 + swizzled_offset(row, chunk),
                      source + (u64)(valid ? row : 0) * depth + sub_tile * 64 + chunk * 8, valid);
      }
    }
  }
}

// Adds one stage to the warp's sums: those of the tile's K / 16 steps for which step % WARPS_K == layer.
template <class Tile>
DEVICE void multiply_stage(float (&sums)[Tile::BLOCKS_M][Tile::BLOCKS_N * 4], u32 x_tile, u32 w_tile, int first_row, int first_column, int layer) {
  const int lane = threadIdx.x & 31;
  // ldmatrix addresses. The matrices of a 16x16 block of X are in the order (row half, depth half), those of W in the order
  // (depth half, row half).
  const int x_row = first_row + (lane & 15), x_chunk = lane >> 4;
  const int w_row = first_column + (lane & 7) + (lane >> 4) * 8, w_chunk = (lane >> 3) & 1;
#pragma unroll
  for (int i = 0; i < Tile::TILE_K / 16 / Tile::WARPS_K; i++) {
    const int step = i * Tile::WARPS_K + layer, sub_tile = step / 4, chunk = step % 4 * 2;
    const u32 x_base = x_tile + sub_tile * Tile::TILE_M * 128, w_base = w_tile + sub_tile * Tile::TILE_N * 128;
    u32 x[Tile::BLOCKS_M][4];
#pragma unroll
    for (int m = 0; m < Tile::BLOCKS_M; m++) load_matrices(x[m], x_base + swizzled_offset(x_row + m * 16, chunk + x_chunk));
#pragma unroll
    for (int n = 0; n < Tile::BLOCKS_N; n += 2) {
      u32 w[4];
      load_matrices(w, w_base + swizzled_offset(w_row + n * 8, chunk + w_chunk));
#pragma unroll
      for (int m = 0; m < Tile::BLOCKS_M; m++) {
        multiply_accumulate(*(float(*)[4])&sums[m][n * 4], x[m], w[0], w[1]);
        multiply_accumulate(*(float(*)[4])&sums[m][n * 4 + 4], x[m], w[2], w[3]);
      }
    }
  }
}

// Adds the sums of the WARPS_K layers in layer order and stores them. Every layer finishes a share of the blocks. In shared
// memory the sums keep their fragment order, [layer][block][thread of the layer], 16 bytes each, which avoids conflicts.
template <class Tile, int EPILOGUE>
DEVICE void combine_layers(const GemmArguments& arguments, const float (&sums)[Tile::BLOCKS_M][Tile::BLOCKS_N * 4], float4* exchange,
                           const float* bias, int row, int column, int layer) {
  constexpr int LAYER_THREADS = Tile::THREADS / Tile::WARPS_K, BLOCKS = Tile::BLOCKS_M * Tile::BLOCKS_N;
  constexpr int UNIT = blocks_per_unit(Tile::BLOCKS_M, Tile::BLOCKS_N, Tile::WARPS_K), UNITS_N = Tile::BLOCKS_N / UNIT;
  const int thread = threadIdx.x % LAYER_THREADS;
#pragma unroll
  for (int m = 0; m < Tile::BLOCKS_M; m++) {
#pragma unroll
    for (int n = 0; n < Tile::BLOCKS_N; n++) {
      const float* s = &sums[m][n * 4];
      exchange[(layer * BLOCKS + m * Tile::BLOCKS_N + n) * LAYER_THREADS + thread] = make_float4(s[0], s[1], s[2], s[3]);
    }
  }
  __syncthreads();
  for (int unit = layer; unit < BLOCKS / UNIT; unit += Tile::WARPS_K) {
    float totals[UNIT * 4];
#pragma unroll
    for (int b = 0; b < UNIT; b++) {
      float4 total = exchange[(unit * UNIT + b) * LAYER_THREADS + thread];
#pragma unroll
      for (int other = 1; other < Tile::WARPS_K; other++) {
        const float4 part = exchange[(other * BLOCKS + unit * UNIT + b) * LAYER_THREADS + thread];
        total.x += part.x; total.y += part.y; total.z += part.z; total.w += part.w;
      }
      totals[b * 4] = total.x; totals[b * 4 + 1] = total.y; totals[b * 4 + 2] = total.z; totals[b * 4 + 3] = total.w;
    }
    const int block_column = unit % UNITS_N * UNIT * 8;
    store_blocks<EPILOGUE, UNIT>(arguments, row + unit / UNITS_N * 16, column + block_column, bias + block_column, totals);
  }
}

template <class Tile, int EPILOGUE> DEVICE void gemm_mma(GemmArguments arguments) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const u32 stages = shared_address(shared);
  float* const bias = (float*)(shared + Tile::WORK_BYTES);

  const int warp = threadIdx.x / 32, layer = warp / (Tile::WARPS_M * Tile::WARPS_N);
  const int warp_row = warp % (Tile::WARPS_M * Tile::WARPS_N) / Tile::WARPS_N * Tile::WARP_M, warp_column = warp % Tile::WARPS_N * Tile::WARP_N;
  const int first_column = blockIdx.x * Tile::TILE_N, first_row = blockIdx.y * Tile::TILE_M;
  const int first_depth = blockIdx.z * arguments.depth_per_split, depth_left = arguments.depth - first_depth;
  const int tiles = (depth_left < arguments.depth_per_split ? depth_left : arguments.depth_per_split) / Tile::TILE_K;
  const int valid_rows = arguments.tokens - first_row;
  const u16* const w = arguments.w + (u64)first_column * arguments.depth + first_depth;
  const u16* const x = arguments.x + (u64)first_row * arguments.depth + first_depth;

  // Constants first: they depend on no predecessor.
#pragma unroll 1
  for (int i = 0; i < Tile::STAGES && i < tiles; i++)
    request_tile<Tile::TILE_N, Tile::TILE_K, Tile::THREADS>(stages + i * Tile::STAGE_BYTES + Tile::X_BYTES, w + i * Tile::TILE_K, arguments.depth, Tile::TILE_N);
  if constexpr (epilogue_reads_bias(EPILOGUE)) {
    for (int i = threadIdx.x; i < Tile::TILE_N / 4; i += Tile::THREADS) copy_async_16(shared_address(bias + i * 4), arguments.bias + first_column + i * 4, true);
  }
  if (blockIdx.y == 0) {   // the row tiles share W: one prefetches what does not fit in the stages, 64 elements (a line) at a time
    const int lines = (tiles - Tile::STAGES) * (Tile::TILE_K / 64) * Tile::TILE_N;
    for (int i = threadIdx.x; i < lines; i += Tile::THREADS)
      prefetch_l2(w + (u64)(i % Tile::TILE_N) * arguments.depth + Tile::STAGES * Tile::TILE_K + i / Tile::TILE_N * 64);
  }

  wait_for_dependencies();
  allow_dependents();

  // From here on there is one group of copies per tile, empty past the end, so that the count of pending groups is constant.
  // The first group also holds all copies above.
#pragma unroll 1
  for (int i = 0; i < Tile::STAGES; i++) {
    if (i < tiles) request_tile<Tile::TILE_M, Tile::TILE_K, Tile::THREADS>(stages + i * Tile::STAGE_BYTES, x + i * Tile::TILE_K, arguments.depth, valid_rows);
    copy_async_commit();
  }

  float sums[Tile::BLOCKS_M][Tile::BLOCKS_N * 4];
#pragma unroll
  for (int m = 0; m < Tile::BLOCKS_M; m++) {
#pragma unroll
    for (int n = 0; n < Tile::BLOCKS_N * 4; n++) sums[m][n] = 0.0f;
  }

  int slot = 0, freed_slot = 0;
#pragma unroll 1
  for (int i = 0; i < tiles; i++) {
    if (i == 0) copy_async_wait<Tile::STAGES - 1>(); else copy_async_wait<Tile::STAGES - 2>();
    __syncthreads();   // tile i has arrived for every thread, and every warp is done with tile i - 1: refill its slot
    if (i > 0) {
      const int next = i - 1 + Tile::STAGES;
      const u32 stage = stages + freed_slot * Tile::STAGE_BYTES;
      if (next < tiles) {
        request_tile<Tile::TILE_N, Tile::TILE_K, Tile::THREADS>(stage + Tile::X_BYTES, w + next * Tile::TILE_K, arguments.depth, Tile::TILE_N);
        request_tile<Tile::TILE_M, Tile::TILE_K, Tile::THREADS>(stage, x + next * Tile::TILE_K, arguments.depth, valid_rows);
      }
      copy_async_commit();
    }
    const u32 stage = stages + slot * Tile::STAGE_BYTES;
    multiply_stage<Tile>(sums, stage, stage + Tile::X_BYTES, warp_row, warp_column, layer);
    freed_slot = slot;
    slot = slot + 1 == Tile::STAGES ? 0 : slot + 1;
  }

  if constexpr (EPILOGUE == EPILOGUE_PARTIAL) arguments.y = (float*)arguments.y + (u64)blockIdx.z * arguments.tokens * arguments.y_stride;
  const int row = first_row + warp_row, column = first_column + warp_column;
  if constexpr (Tile::WARPS_K > 1) {
    __syncthreads();   // the stages become the exchange buffer
    combine_layers<Tile, EPILOGUE>(arguments, sums, (float4*)shared, bias + warp_column, row, column, layer);
  } else {
#pragma unroll
    for (int m = 0; m < Tile::BLOCKS_M; m++) store_blocks<EPILOGUE, Tile::BLOCKS_N>(arguments, row + m * 16, column, bias + warp_column, sums[m]);
  }
}

// Defines the kernel `NAME`. What the host has to know (mirrored in Rust):
// - threads: 32 WARPS_M WARPS_N WARPS_K;
// - dynamic shared memory: max(STAGES (M + N) K 2, WARPS_K > 1 ? WARPS_K M N 4 : 0) + 4 N bytes.
#define GEMM_MMA(NAME, M, N, K, STAGES, WARPS_M, WARPS_N, WARPS_K, EPILOGUE)                                         \
  extern "C" __global__ void __launch_bounds__(32 * WARPS_M * WARPS_N * WARPS_K)                                     \
      NAME(const __grid_constant__ GemmArguments arguments) {                                                        \
    gemm_mma<MmaTile<M, N, K, STAGES, WARPS_M, WARPS_N, WARPS_K>, EPILOGUE>(arguments);                              \
  }
