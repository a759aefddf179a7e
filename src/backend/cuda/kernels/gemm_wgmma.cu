// gemm_wgmma.cu: matrix product of a linear layer by Hopper's warpgroup instructions. Compiled for sm_90a only, after
// prelude.cu, hopper.cu and gemm_epilogue.cu.
//
// One producer warp asks the copy engine (TMA) for tiles of X and W. Consumer warpgroups multiply them straight from
// shared memory (wgmma, both operands K-major with the 128-byte swizzle) and keep the FP32 sums in registers. STAGES
// tiles of 64 elements of depth are in flight, each guarded by a pair of mbarriers:
//
//   producer warp                 stage s of STAGES                      consumer warpgroup (128 threads)
//   wait empty[s]  ------->  X tile  TILE_M rows x 128 bytes
//   copy X, W      ------->  W tile  TILE_N rows x 128 bytes  ------->   wait full[s], 4 x wgmma m64nTILE_Nk16
//                            full[s], empty[s]                <-------   arrive empty[s] when they are done
//
// A unit of work is one TILE_M x TILE_N tile of Y. A block walks over the units with the stride of the grid (it is
// persistent when there are more units than blocks). A template argument selects one of two arrangements:
//
// - COOPERATIVE: the warpgroups divide a tile's rows. They compute one tile at a time, and its epilogue overlaps with loads
//   only.
// - PINGPONG: two warpgroups alternate, and each owns whole tiles. The epilogue of one tile overlaps with the
//   multiplications of the next. Made for many tokens.
//
// When tiles alone would leave multiprocessors idle, the depth is split: EPILOGUE_PARTIAL stores FP32 partial sums, and the
// next layer norm adds them in a fixed order. There are no atomics, so the result is bitwise reproducible.
//
// Sums are stored through shared memory, where each warp has a slab of 16 rows. Each lane reads and writes 16 bytes of long
// contiguous runs, and GELU is a short loop (unrolled over the registers it would outgrow the instruction cache).
//
// Programmatic dependent launch: W and the bias are constants, so before the wait the first STAGES tiles of W and the bias
// are requested, and the other W tiles of the first unit are prefetched to L2. X is requested after the wait. Dependents
// are allowed right after the wait.
//
// Two variants were measured on an H200 and left out, because they gained nothing. Clusters that share W tiles by multicast
// took the same time within 2 %: at these tile sizes shared memory is the limit, and it sees the same traffic. Clusters that
// split the depth and add their sums in distributed shared memory were 1 us slower than partial sums in global memory: only
// 30 clusters of four fit on the 132 multiprocessors at a time.

template <int M, int N, int STAGE_COUNT, int WARPGROUPS, bool PINGPONG_ORDER, int EPILOGUE_KIND> struct WgmmaTile {
  static constexpr int TILE_M = M, TILE_N = N, TILE_K = 64, STAGES = STAGE_COUNT, GROUPS = WARPGROUPS, EPILOGUE = EPILOGUE_KIND;
  static constexpr bool PINGPONG = PINGPONG_ORDER, STORES_F32 = epilogue_stores_f32(EPILOGUE);
  static constexpr int GROUP_M = PINGPONG ? M : M / GROUPS;       // rows of a tile that one warpgroup computes
  static constexpr int BLOCKS_M = GROUP_M / 64, BLOCKS_N = N / 8; // its sums, in blocks of 64x8
  // A thread has 168 registers when three warpgroups fill a multiprocessor, 128 when four do. When the sums leave too few
  // of them, the producer becomes a whole warpgroup and hands registers over to the consumers: only whole warpgroups can.
  static constexpr bool MOVE_REGISTERS = GROUPS > 1 && BLOCKS_M * BLOCKS_N * 4 >= (GROUPS == 3 ? 72 : 96);
  static constexpr int PRODUCER_REGISTERS = 24, CONSUMER_REGISTERS = GROUPS == 3 ? 160 : 240;
  static constexpr int CONSUMERS = GROUPS * 128, THREADS = CONSUMERS + (MOVE_REGISTERS ? 128 : 32);

  static constexpr int X_BYTES = M * 128, W_BYTES = N * 128, STAGE_BYTES = X_BYTES + W_BYTES;
  // FP32 output fills the slabs twice, N / 2 columns at a time. Rows are padded so that the 8 rows x 4 words (FP32: 4 rows
  // x 8 words) of one write fall into different banks.
  static constexpr int SLAB_PASSES = STORES_F32 ? 2 : 1;
  static constexpr int SLAB_PITCH = N * 2 + (STORES_F32 ? (N % 32 == 0 ? 32 : 0) : 16), SLAB_BYTES = 16 * SLAB_PITCH;
  static constexpr int BIAS_BYTES = GROUPS * N * 4, BARRIER_BYTES = STAGES * 16 + 16;
  static constexpr int SHARED_BYTES = 1024 + STAGES * STAGE_BYTES + BIAS_BYTES + GROUPS * 4 * SLAB_BYTES + BARRIER_BYTES;

  static_assert(GROUP_M % 64 == 0 && N % 16 == 0 && N <= 256, "wgmma computes 64 rows of up to 256 columns, slabs take them in halves");
  static_assert(!PINGPONG || GROUPS == 2, "ping-pong alternates two warpgroups");
};

// ---------------------------------------------------------------- the order of work

// A position in the ring of stages. `phase` is the parity of the round.
template <int STAGES> struct PipelineState {
  int slot = 0;
  u32 phase = 0;
  DEVICE void advance() {
    if (++slot == STAGES) { slot = 0; phase ^= 1; }
  }
  DEVICE void skip(int tiles) {
    slot += tiles;
    phase ^= slot / STAGES & 1;
    slot %= STAGES;
  }
};

// First element of a unit's tile of Y, and the part of the depth that it sums (0 unless EPILOGUE_PARTIAL).
struct TilePosition { int row, column, part; };

// The order of the units. Neighbouring units share the larger operand: the units walk over the columns when there are more
// tokens than columns, else over the tokens. The parts of the depth come last.
template <class Tile> struct Schedule {
  u32 units, tile_units;
  u32 inner_units;   // units along the inner direction
  bool rows_inner;
  int tiles;         // tiles of the depth, for one unit

  DEVICE explicit Schedule(const GemmArguments& arguments) {
    const int depth = Tile::EPILOGUE == EPILOGUE_PARTIAL ? arguments.depth_per_split : arguments.depth;
    const u32 row_units = (u32)(arguments.tokens + Tile::TILE_M - 1) / Tile::TILE_M, column_units = (u32)arguments.width / Tile::TILE_N;
    tile_units = row_units * column_units;
    units = Tile::EPILOGUE == EPILOGUE_PARTIAL ? tile_units * ((u32)arguments.depth / (u32)depth) : tile_units;
    rows_inner = arguments.tokens < arguments.width;
    inner_units = rows_inner ? row_units : column_units;
    tiles = depth / Tile::TILE_K;
  }
  DEVICE TilePosition position(u32 unit) const {
    const u32 part = Tile::EPILOGUE == EPILOGUE_PARTIAL ? unit / tile_units : 0;
    unit -= part * tile_units;
    const u32 outer = unit / inner_units, inner = unit - outer * inner_units;
    return {(int)(rows_inner ? inner : outer) * Tile::TILE_M, (int)(rows_inner ? outer : inner) * Tile::TILE_N, (int)part};
  }
};

// Shared memory: the stages, the bias of each warpgroup, the slab of each consumer warp, the barriers.
template <class Tile> struct Layout {
  unsigned char* memory;   // on a multiple of 1024 bytes, as the swizzle requires
  u32 stages;
  DEVICE explicit Layout(unsigned char* shared) {
    const u32 address = shared_address(shared), padding = (1024 - address % 1024) % 1024;
    memory = shared + padding;
    stages = address + padding;
  }
  static constexpr int BIAS = Tile::STAGES * Tile::STAGE_BYTES, SLABS = BIAS + Tile::BIAS_BYTES, BARRIERS = SLABS + Tile::GROUPS * 4 * Tile::SLAB_BYTES;
  DEVICE u32 x(int slot) const { return stages + slot * Tile::STAGE_BYTES; }
  DEVICE u32 w(int slot) const { return x(slot) + Tile::X_BYTES; }
  DEVICE float* bias(int group) const { return (float*)(memory + BIAS) + group * Tile::TILE_N; }
  DEVICE unsigned char* slab(int warp) const { return memory + SLABS + warp * Tile::SLAB_BYTES; }
  DEVICE u32 full(int slot) const { return stages + BARRIERS + slot * 16; }
  DEVICE u32 empty(int slot) const { return full(slot) + 8; }
  DEVICE u32 order(int group) const { return full(Tile::STAGES) + group * 8; }   // ping-pong: lets `group` multiply
};

// ---------------------------------------------------------------- producer

// Keeps the stages filled. Run by one thread.
template <class Tile>
DEVICE void produce(const TensorMap* x_map, const TensorMap* w_map, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  auto depth = [&](const TilePosition& position, int tile) { return (position.part * schedule.tiles + tile) * Tile::TILE_K; };
  auto request_w = [&](int slot, const TilePosition& position, int tile) {
    barrier_expect_bytes(layout.full(slot), Tile::STAGE_BYTES);
    copy_tile(layout.w(slot), w_map, layout.full(slot), depth(position, tile), position.column);
  };
  const TilePosition first = schedule.position(blockIdx.x);
  const int early = schedule.tiles < Tile::STAGES ? schedule.tiles : Tile::STAGES;
#pragma unroll 1
  for (int i = 0; i < early; i++) request_w(i, first, i);
  if (first.row == 0) {   // the row tiles share W
#pragma unroll 1
    for (int i = early; i < schedule.tiles; i++) prefetch_tile(w_map, depth(first, i), first.column);
  }
  wait_for_dependencies();

  PipelineState<Tile::STAGES> state;
  int produced = 0;
#pragma unroll 1
  for (u32 unit = blockIdx.x; unit < schedule.units; unit += gridDim.x) {
    const TilePosition position = schedule.position(unit);
#pragma unroll 1
    for (int tile = 0; tile < schedule.tiles; tile++, produced++) {
      if (produced >= early) {
        barrier_wait(layout.empty(state.slot), state.phase ^ 1);
        request_w(state.slot, position, tile);
      }
      copy_tile(layout.x(state.slot), x_map, layout.full(state.slot), depth(position, tile), position.row);
      state.advance();
    }
  }
}

// ---------------------------------------------------------------- consumers

// Added to a descriptor for 16 elements of depth. These steps stay inside the 128-byte row, because the hardware applies the
// swizzle to the whole address.
constexpr u64 DESCRIPTOR_STEP_16 = 32 >> 4;

// Computes the sums of one warpgroup's rows of one tile of Y. Frees each stage one tile late: by then the instructions that
// read it have completed, and those of the next tile are queued.
template <class Tile>
DEVICE void multiply_tiles(float (&sums)[Tile::BLOCKS_M][Tile::TILE_N / 2], const Layout<Tile>& layout, PipelineState<Tile::STAGES>& state, int tiles, int first_row) {
  const bool leader = threadIdx.x % 128 == 0;   // a wgmma is one step of all four warps, so one thread can arrive for all
  int previous = 0;
#pragma unroll 1
  for (int tile = 0; tile < tiles; tile++) {
    barrier_wait(layout.full(state.slot), state.phase);
    const u64 x = matrix_descriptor(layout.x(state.slot) + first_row * 128, 16), w = matrix_descriptor(layout.w(state.slot), 16);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Tile::TILE_K / 16; step++) {
#pragma unroll
      for (int m = 0; m < Tile::BLOCKS_M; m++)
        wgmma<Tile::TILE_N>(sums[m], x + m * (64 * 128 >> 4) + step * DESCRIPTOR_STEP_16, w + step * DESCRIPTOR_STEP_16, tile > 0 || step > 0);
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (tile > 0 && leader) barrier_arrive(layout.empty(previous));
    previous = state.slot;
    state.advance();
  }
  // Parity alone tells the phases of a barrier apart, so the other warpgroup may wait for the next phases of the stages only
  // after this one has seen the last of its own.
  if (Tile::PINGPONG && leader) barrier_arrive(layout.order(threadIdx.x < 128));
  wgmma_wait<0>();
  if (leader) barrier_arrive(layout.empty(previous));
}

// Starts the copy of the bias of the tile's columns to this warpgroup's own buffer. `finish_bias` makes it visible to the
// group.
template <class Tile> DEVICE void request_bias(float* buffer, const GemmArguments& arguments, int column) {
  const int thread = threadIdx.x % 128;
  if (thread < Tile::TILE_N / 4) copy_async_16(shared_address(buffer + thread * 4), arguments.bias + column + thread * 4, true);
  copy_async_commit();
}
DEVICE void finish_bias(int group) {
  copy_async_wait<0>();
  synchronise_group<128>(group);
}

// Writes sixteen rows of one warp's sums, those of one slab pass, to its slab: FP32 sums as they are, else the 16-bit output
// of the linear layer.
template <class Tile, int BLOCKS> DEVICE void fill_slab(unsigned char* slab, const float* bias, const float* sums) {
  constexpr int ELEMENT = Tile::STORES_F32 ? 4 : 2;
  const int lane = threadIdx.x & 31, quad_lane = lane & 3;
  unsigned char* const fragment = slab + lane / 4 * Tile::SLAB_PITCH + quad_lane * 2 * ELEMENT;
#pragma unroll
  for (int b = 0; b < BLOCKS; b++) {
    const float* s = sums + b * 4;
    unsigned char* const upper = fragment + b * 8 * ELEMENT;
    unsigned char* const lower = upper + 8 * Tile::SLAB_PITCH;
    if constexpr (Tile::STORES_F32) {
      *(float2*)upper = make_float2(s[0], s[1]);
      *(float2*)lower = make_float2(s[2], s[3]);
    } else {
      const float2 shift = *(const float2*)(bias + b * 8 + quad_lane * 2);
      *(u32*)upper = pack_elements(s[0] + shift.x, s[1] + shift.y);
      *(u32*)lower = pack_elements(s[2] + shift.x, s[3] + shift.y);
    }
  }
}

// Applies the epilogue to a chunk of 16 bytes of a row: four FP32 sums, or eight 16-bit values of the linear layer. `bias`
// belongs to the chunk's columns; the 16-bit values include it already.
template <int EPILOGUE> DEVICE uint4 finish_chunk(uint4 chunk, uint4 residual, const float* bias) {
  if constexpr (EPILOGUE == EPILOGUE_RESIDUAL_F32) {
    const float4 shift = *(const float4*)bias;
    chunk.x = __float_as_uint(__uint_as_float(residual.x) + (__uint_as_float(chunk.x) + shift.x));
    chunk.y = __float_as_uint(__uint_as_float(residual.y) + (__uint_as_float(chunk.y) + shift.y));
    chunk.z = __float_as_uint(__uint_as_float(residual.z) + (__uint_as_float(chunk.z) + shift.z));
    chunk.w = __float_as_uint(__uint_as_float(residual.w) + (__uint_as_float(chunk.w) + shift.w));
  } else if constexpr (!epilogue_stores_f32(EPILOGUE)) {
    chunk = make_uint4(activate<EPILOGUE>(chunk.x), activate<EPILOGUE>(chunk.y), activate<EPILOGUE>(chunk.z), activate<EPILOGUE>(chunk.w));
    if constexpr (EPILOGUE == EPILOGUE_RESIDUAL_16)
      chunk = make_uint4(add_elements(residual.x, chunk.x), add_elements(residual.y, chunk.y), add_elements(residual.z, chunk.z), add_elements(residual.w, chunk.w));
  }
  return chunk;
}

// Stores 16 rows of one warp through its slab. LANES lanes share a row, and each takes every LANES-th chunk of it. All
// residuals of a pass are requested before the slab is filled, so that their latency is paid once and hidden. GELU has no
// residuals and is a short loop. `y` is the output of the unit's part of the depth.
template <class Tile>
DEVICE void store_rows(const GemmArguments& arguments, unsigned char* y, unsigned char* slab, int row, int column, const float* bias, const float* sums) {
  constexpr int ELEMENT = Tile::STORES_F32 ? 4 : 2, BLOCKS = Tile::BLOCKS_N / Tile::SLAB_PASSES, ROW_CHUNKS = BLOCKS * 8 * ELEMENT / 16;
  constexpr int LANES = ROW_CHUNKS % 8 == 0 ? 8 : ROW_CHUNKS % 4 == 0 ? 4 : 2, RUN = ROW_CHUNKS / LANES, STEP = 32 / LANES;
  constexpr bool RESIDUAL = Tile::EPILOGUE == EPILOGUE_RESIDUAL_F32 || Tile::EPILOGUE == EPILOGUE_RESIDUAL_16;
  const int lane = threadIdx.x & 31, lane_row = lane / LANES, lane_chunk = lane % LANES;
  const unsigned char* const source = slab + lane_row * Tile::SLAB_PITCH + lane_chunk * 16;
  const u64 pitch = (u64)arguments.y_stride * ELEMENT, first = (u64)(row + lane_row) * pitch + (u64)column * ELEMENT + lane_chunk * 16;
#pragma unroll
  for (int pass = 0; pass < Tile::SLAB_PASSES; pass++) {
    const u64 start = first + pass * BLOCKS * 8 * ELEMENT;
    const float* const shift = bias + pass * BLOCKS * 8 + lane_chunk * 4;
    auto chunk = [&](int slab_row, int i) { return *(const uint4*)(source + slab_row * Tile::SLAB_PITCH + i * LANES * 16); };
    if constexpr (RESIDUAL) {
      uint4 residual[16 / STEP][RUN];
#pragma unroll
      for (int r = 0; r < 16 / STEP; r++) {
        if (row + lane_row + r * STEP >= arguments.tokens) continue;
#pragma unroll
        for (int i = 0; i < RUN; i++)
          residual[r][i] = *(const uint4*)((const unsigned char*)arguments.residual + start + r * STEP * pitch + i * LANES * 16);
      }
      fill_slab<Tile, BLOCKS>(slab, bias, sums + pass * BLOCKS * 4);
      __syncwarp();
#pragma unroll
      for (int r = 0; r < 16 / STEP; r++) {
        if (row + lane_row + r * STEP >= arguments.tokens) continue;
#pragma unroll
        for (int i = 0; i < RUN; i++)
          *(uint4*)(y + start + r * STEP * pitch + i * LANES * 16) =
              finish_chunk<Tile::EPILOGUE>(chunk(r * STEP, i), residual[r][i], shift + i * LANES * 4);
      }
    } else {
      fill_slab<Tile, BLOCKS>(slab, bias, sums + pass * BLOCKS * 4);
      __syncwarp();
#pragma unroll 1
      for (int r = 0; r < 16 && row + lane_row + r < arguments.tokens; r += STEP) {
#pragma unroll
        for (int i = 0; i < RUN; i++)
          *(uint4*)(y + start + r * pitch + i * LANES * 16) = finish_chunk<Tile::EPILOGUE>(chunk(r, i), uint4(), shift + i * LANES * 4);
      }
    }
    __syncwarp();   // the slab is free again
  }
}

// Prefetches the residual of 16 rows of the warp to L2. Called before the multiplication, which hides the latency.
template <class Tile> DEVICE void prefetch_residual(const GemmArguments& arguments, int row, int column) {
  constexpr int ROW_LINES = Tile::TILE_N * 4 / 128;
  for (int i = threadIdx.x & 31; i < 16 * ROW_LINES; i += 32) {
    const int own_row = row + i / ROW_LINES;
    if (own_row < arguments.tokens) prefetch_l2((const float*)arguments.residual + (u64)own_row * arguments.y_stride + column + i % ROW_LINES * 32);
  }
}

// Computes all units of one consumer warpgroup.
template <class Tile> DEVICE void consume(const GemmArguments& arguments, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  constexpr bool READS_BIAS = epilogue_reads_bias(Tile::EPILOGUE);
  constexpr int UNIT_STRIDE = Tile::PINGPONG ? Tile::GROUPS : 1;   // a warpgroup takes every UNIT_STRIDE-th unit of its block
  const int group = threadIdx.x / 128, first_row = Tile::PINGPONG ? 0 : group * Tile::GROUP_M;
  const int warp_row = first_row + threadIdx.x % 128 / 32 * 16;
  float* const bias = layout.bias(group);

  PipelineState<Tile::STAGES> state;
  if (Tile::PINGPONG && group > 0) state.skip(schedule.tiles);
  u32 unit = blockIdx.x + (Tile::PINGPONG ? group * gridDim.x : 0);
  if (READS_BIAS && unit < schedule.units) request_bias<Tile>(bias, arguments, schedule.position(unit).column);
  wait_for_dependencies();
  allow_dependents();
#pragma unroll 1
  for (int own_units = 0; unit < schedule.units; own_units++, unit += UNIT_STRIDE * gridDim.x) {
    const TilePosition position = schedule.position(unit);
    const int row = position.row + warp_row;
    if (READS_BIAS && own_units > 0) {
      synchronise_group<128>(group);   // no thread reads the old bias any more
      request_bias<Tile>(bias, arguments, position.column);
    }
    if constexpr (Tile::EPILOGUE == EPILOGUE_RESIDUAL_F32 && Tile::TILE_M >= 128) {
#pragma unroll
      for (int m = 0; m < Tile::BLOCKS_M; m++) prefetch_residual<Tile>(arguments, row + m * 64, position.column);
    }
    if (Tile::PINGPONG && own_units + group > 0) barrier_wait(layout.order(group), (own_units + group - 1) & 1);
    float sums[Tile::BLOCKS_M][Tile::TILE_N / 2];
    multiply_tiles<Tile>(sums, layout, state, schedule.tiles, first_row);
    if (Tile::PINGPONG) state.skip(schedule.tiles);   // the other warpgroup's unit
    if (READS_BIAS) finish_bias(group);
    unsigned char* const y = (unsigned char*)arguments.y + (u64)position.part * arguments.tokens * arguments.y_stride * 4;   // parts are FP32
#pragma unroll
    for (int m = 0; m < Tile::BLOCKS_M; m++) store_rows<Tile>(arguments, y, layout.slab(threadIdx.x / 32), row + m * 64, position.column, bias, sums[m]);
  }
}

// ---------------------------------------------------------------- kernel

template <class Tile> DEVICE void gemm_wgmma(const TensorMap* x_map, const TensorMap* w_map, const GemmArguments& arguments) {
  extern __shared__ unsigned char shared[];
  const Layout<Tile> layout(shared);
  const Schedule<Tile> schedule(arguments);
  const bool producer = threadIdx.x == Tile::CONSUMERS;
  if (producer) {
    prefetch_tensor_map(x_map);
    prefetch_tensor_map(w_map);
#pragma unroll 1
    for (int i = 0; i < Tile::STAGES; i++) {
      barrier_init(layout.full(i), 1);
      barrier_init(layout.empty(i), Tile::PINGPONG ? 1 : Tile::GROUPS);
    }
    barrier_init(layout.order(0), 1);
    barrier_init(layout.order(1), 1);
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x >= Tile::CONSUMERS) {
    if constexpr (Tile::MOVE_REGISTERS) release_registers<Tile::PRODUCER_REGISTERS>();
    if (producer) produce<Tile>(x_map, w_map, layout, schedule);
  } else {
    if constexpr (Tile::MOVE_REGISTERS) take_registers<Tile::CONSUMER_REGISTERS>();
    consume<Tile>(arguments, layout, schedule);
  }
}

#define COOPERATIVE false
#define PINGPONG true

// Defines the kernel `NAME`. What the host has to know (mirrored in Rust):
// - sums per thread: (PINGPONG ? M : M / GROUPS) N / 128;
// - threads: 128 GROUPS + (GROUPS > 1 && sums >= (GROUPS == 3 ? 72 : 96) ? 128 : 32);
// - units = ceil(tokens / M) (width / N), with EPILOGUE_PARTIAL times depth / depth_per_split;
// - grid.x = min(units, blocks resident at a time);
// - dynamic shared memory: 1040 + STAGES (128 (M + N) + 16) + 4 N GROUPS + 64 GROUPS (2 N + pad) bytes; pad is 16 for 16-bit
//   output, and for FP32 output 32 if 32 divides N, else 0;
// - N is one of those of DEFINE_WGMMA; width is a multiple of N, depth of 64; depth_per_split divides depth;
// - tensor maps of 16-bit elements, 2D, 128-byte swizzle, zero fill, of X {depth, tokens} with box {64, M} and of
//   W {depth, width} with box {64, N}, row pitch 2 depth bytes.
#define GEMM_WGMMA(NAME, M, N, STAGES, GROUPS, ORDER, EPILOGUE)                                                              \
  extern "C" __global__ void __launch_bounds__(WgmmaTile<M, N, STAGES, GROUPS, ORDER, EPILOGUE>::THREADS, 1)                 \
      NAME(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,                                 \
           const __grid_constant__ GemmArguments arguments) {                                                                \
    gemm_wgmma<WgmmaTile<M, N, STAGES, GROUPS, ORDER, EPILOGUE>>(&x_map, &w_map, arguments);                                 \
  }
