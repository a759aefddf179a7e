// gemm_wgmma.cu: matrix product of a linear layer by Hopper's warpgroup instructions. Compiled for sm_90a only.
//
// One producer warp asks the copy engine (TMA) for tiles of X and W; consumer warpgroups multiply them straight from
// shared memory (wgmma, both operands K-major with the 128-byte swizzle) and keep the FP32 sums in registers. STAGES
// tiles of 64 elements of depth are in flight, each guarded by a pair of mbarriers:
//
//   producer warp                 stage s of STAGES                      consumer warpgroup (128 threads)
//   wait empty[s]  ------->  X tile  TILE_M rows x 128 bytes
//   copy X, W      ------->  W tile  TILE_N rows x 128 bytes  ------->   wait full[s], 4 x wgmma m64nTILE_Nk16
//                            full[s], empty[s]                <-------   arrive empty[s] when they are done
//
// A unit of work is one TILE_M x TILE_N tile of Y; blocks walk over the units with stride (persistent when there are more
// units than blocks). Two arrangements, by a template argument:
//
// - COOPERATIVE: the warpgroups divide a tile's rows. One tile at a time; its epilogue overlaps only with loads.
// - PINGPONG: each of two warpgroups owns whole tiles, alternating, so that the epilogue of one tile runs under the
//   multiplications of the next. For many tokens.
//
// When tiles alone would leave multiprocessors idle, the depth is split: EPILOGUE_PARTIAL leaves FP32 partial sums which
// the layer norm after it adds in a fixed order: no atomics, always the same bits.
//
// Sums leave through shared memory, a slab of 16 rows for each warp: rows are read and written 16 bytes a lane in long
// runs, and GELU is a short loop (unrolled over the registers it outgrows the instruction cache).
//
// Programmatic dependent launch: before the wait the first STAGES tiles of W and the bias are requested, which are
// constants, and the rest of the first W tiles is prefetched to L2; X after it; dependents are allowed right after the wait.
//
// Measured on an H200 and left out, because it did not pay: clusters that share W tiles by multicast (equal times within
// 2 %: at these tile sizes the limit is shared memory, which sees the same traffic) and clusters that split the depth and
// add their sums in distributed shared memory (1 us slower than partial sums in global memory; of clusters of four only
// 30 fit on the 132 multiprocessors at a time).

template <int M, int N, int STAGE_COUNT, int WARPGROUPS, bool PINGPONG_ORDER, int EPILOGUE_KIND> struct WgmmaTile {
  static constexpr int TILE_M = M, TILE_N = N, TILE_K = 64, STAGES = STAGE_COUNT, GROUPS = WARPGROUPS, EPILOGUE = EPILOGUE_KIND;
  static constexpr bool PINGPONG = PINGPONG_ORDER, STORES_F32 = epilogue_stores_f32(EPILOGUE);
  static constexpr int GROUP_M = PINGPONG ? M : M / GROUPS;       // rows of a tile that one warpgroup computes
  static constexpr int BLOCKS_M = GROUP_M / 64, BLOCKS_N = N / 8; // its sums, in blocks of 64x8
  // A thread has 168 registers when three warpgroups fill a multiprocessor, 128 when four do. When the sums leave too few
  // of them, the producer becomes a whole warpgroup, which hands registers over to the consumers (they only move so).
  static constexpr bool MOVE_REGISTERS = GROUPS > 1 && BLOCKS_M * BLOCKS_N * 4 >= (GROUPS == 3 ? 72 : 96);
  static constexpr int PRODUCER_REGISTERS = 24, CONSUMER_REGISTERS = GROUPS == 3 ? 160 : 240;
  static constexpr int CONSUMERS = GROUPS * 128, THREADS = CONSUMERS + (MOVE_REGISTERS ? 128 : 32);

  static constexpr int X_BYTES = M * 128, W_BYTES = N * 128, STAGE_BYTES = X_BYTES + W_BYTES;
  // FP32 output fills the slabs twice, N / 2 columns at a time. Rows are padded so that the 8 rows x 4 words (FP32: 4 rows
  // x 8 words) that are written at a time fall in different banks.
  static constexpr int SLAB_PASSES = STORES_F32 ? 2 : 1;
  static constexpr int SLAB_PITCH = N * 2 + (STORES_F32 ? (N % 32 == 0 ? 32 : 0) : 16), SLAB_BYTES = 16 * SLAB_PITCH;
  static constexpr int BIAS_BYTES = GROUPS * N * 4, BARRIER_BYTES = STAGES * 16 + 16;
  static constexpr int SHARED_BYTES = 1024 + STAGES * STAGE_BYTES + BIAS_BYTES + GROUPS * 4 * SLAB_BYTES + BARRIER_BYTES;

  static_assert(GROUP_M % 64 == 0 && N % 16 == 0 && N <= 256, "wgmma computes 64 rows of up to 256 columns, slabs take them in halves");
  static_assert(!PINGPONG || GROUPS == 2, "ping-pong alternates two warpgroups");
};

// ---------------------------------------------------------------- PTX wrappers of Hopper

// A CUtensorMap as cuTensorMapEncodeTiled made it, passed by value as a __grid_constant__ parameter.
struct alignas(64) TensorMap { u64 opaque[16]; };

DEVICE void prefetch_tensor_map(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

DEVICE void barrier_init(u32 barrier, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory"); }
DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }   // for the copy engine
DEVICE void barrier_expect_bytes(u32 barrier, int bytes) {   // also the producer's arrival
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
DEVICE void barrier_arrive(u32 barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }
DEVICE void barrier_wait(u32 barrier, u32 phase) {
  u32 complete;
  do {
    asm volatile("{ .reg .pred done;\n mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n selp.u32 %0, 1, 0, done; }"
                 : "=r"(complete) : "r"(barrier), "r"(phase) : "memory");
  } while (!complete);
}

// A box of the tensor whose first element is (`depth`, `row`) to shared memory; its bytes complete `barrier`.
DEVICE void copy_tile(u32 destination, const TensorMap* map, u32 barrier, int depth, int row) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
               ::"r"(destination), "l"(map), "r"(depth), "r"(row), "r"(barrier) : "memory");
}
// A box to L2 only.
DEVICE void prefetch_tile(const TensorMap* map, int depth, int row) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(map), "r"(depth), "r"(row) : "memory");
}

// A barrier of one warpgroup, beside __syncthreads' barrier 0.
DEVICE void synchronise_group(int group) { asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory"); }

// Moves registers between the warpgroups of a block: the caller's threads keep COUNT each from here on.
template <int COUNT> DEVICE void release_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT)); }
template <int COUNT> DEVICE void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT)); }

// ---------------------------------------------------------------- wgmma

DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING> DEVICE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory"); }

// Shared-memory matrix descriptor, K-major, 128-byte swizzle: address / 16 in bits 0-13, distance of 8-row groups / 16
// (1024 bytes) in bits 32-45, swizzle mode 1 in bits 62-63; the leading offset is not used in this layout.
DEVICE u64 matrix_descriptor(u32 address) {
  return (u64)((address & 0x3ffff) >> 4) | (u64)1 << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}
// Steps of 16 elements stay inside the 128-byte row: the hardware applies the swizzle to the whole address.
constexpr u64 DESCRIPTOR_STEP_16 = 32 >> 4;

// sums[64 x N] (+)= X[64 x 16] . W[N x 16]^T for one warpgroup. Warp w of it holds rows 16 w to 16 w + 15, in N / 8
// blocks laid out as those of mma.sync. With `accumulate` 0 the sums are overwritten, which saves clearing them.
template <int N> DEVICE void wgmma(float (&sums)[N / 2], u64 x, u64 w, int accumulate);

// The instruction names every register, so each N is an instance of its own; the lists are built from shorter ones.
#define REGISTERS_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define REGISTERS_24 REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define REGISTERS_32 REGISTERS_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS_48 REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define REGISTERS_64 REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_72 REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define REGISTERS_96 REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define REGISTERS_128 REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define OPERANDS_8(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]), "+f"(s[i + 6]), "+f"(s[i + 7])
#define OPERANDS_16(s, i) OPERANDS_8(s, i), OPERANDS_8(s, i + 8)
#define OPERANDS_24(s, i) OPERANDS_16(s, i), OPERANDS_8(s, i + 16)
#define OPERANDS_32(s, i) OPERANDS_16(s, i), OPERANDS_16(s, i + 16)
#define OPERANDS_48(s, i) OPERANDS_32(s, i), OPERANDS_16(s, i + 32)
#define OPERANDS_64(s, i) OPERANDS_32(s, i), OPERANDS_32(s, i + 32)
#define OPERANDS_72(s, i) OPERANDS_64(s, i), OPERANDS_8(s, i + 64)
#define OPERANDS_96(s, i) OPERANDS_64(s, i), OPERANDS_32(s, i + 64)
#define OPERANDS_128(s, i) OPERANDS_64(s, i), OPERANDS_64(s, i + 64)
// COUNT registers of sums are operands 0 to COUNT - 1; X_AT, W_AT and FLAG_AT are the numbers of the three after them.
#define DEFINE_WGMMA(N, COUNT, X_AT, W_AT, FLAG_AT)                                                                          \
  template <> DEVICE void wgmma<N>(float (&sums)[COUNT], u64 x, u64 w, int accumulate) {                                     \
    asm volatile("{ .reg .pred accumulate;\n setp.ne.b32 accumulate, %" #FLAG_AT ", 0;\n"                                    \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." ELEMENT_PTX "." ELEMENT_PTX " {" REGISTERS_##COUNT "}, "  \
                 "%" #X_AT ", %" #W_AT ", accumulate, 1, 1, 0, 0; }"                                                         \
                 : OPERANDS_##COUNT(sums, 0) : "l"(x), "l"(w), "r"(accumulate));                                             \
  }
DEFINE_WGMMA(32, 16, 16, 17, 18)
DEFINE_WGMMA(48, 24, 24, 25, 26)
DEFINE_WGMMA(64, 32, 32, 33, 34)
DEFINE_WGMMA(96, 48, 48, 49, 50)
DEFINE_WGMMA(128, 64, 64, 65, 66)
DEFINE_WGMMA(144, 72, 72, 73, 74)
DEFINE_WGMMA(192, 96, 96, 97, 98)
DEFINE_WGMMA(256, 128, 128, 129, 130)

// ---------------------------------------------------------------- the order of work

// The stages are used in turn; `phase` is the parity of the turn.
template <int STAGES> struct Turn {
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

// Where a unit's tile of Y lies, and of which part of the depth it is the sum (0 unless EPILOGUE_PARTIAL).
struct Place { int row, column, part; };

// Which units a block computes. Neighbouring units share the larger operand: they walk over the columns when there are
// more tokens than columns, else over the tokens; parts of the depth come last.
template <class Tile> struct Schedule {
  u32 units, tile_units;
  u32 inner_units;   // units along the direction that is walked first
  bool rows_inner;
  int tiles;         // of the depth, for one unit

  DEVICE explicit Schedule(const GemmArguments& arguments) {
    const int depth = Tile::EPILOGUE == EPILOGUE_PARTIAL ? arguments.depth_per_split : arguments.depth;
    const u32 row_units = (u32)(arguments.tokens + Tile::TILE_M - 1) / Tile::TILE_M, column_units = (u32)arguments.width / Tile::TILE_N;
    tile_units = row_units * column_units;
    units = Tile::EPILOGUE == EPILOGUE_PARTIAL ? tile_units * ((u32)arguments.depth / (u32)depth) : tile_units;
    rows_inner = arguments.tokens < arguments.width;
    inner_units = rows_inner ? row_units : column_units;
    tiles = depth / Tile::TILE_K;
  }
  DEVICE Place place(u32 unit) const {
    const u32 part = Tile::EPILOGUE == EPILOGUE_PARTIAL ? unit / tile_units : 0;
    unit -= part * tile_units;
    const u32 outer = unit / inner_units, inner = unit - outer * inner_units;
    return {(int)(rows_inner ? inner : outer) * Tile::TILE_M, (int)(rows_inner ? outer : inner) * Tile::TILE_N, (int)part};
  }
};

// Shared memory: stages, bias of each warpgroup, slab of each consumer warp, barriers.
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
  DEVICE u32 order(int group) const { return full(Tile::STAGES) + group * 8; }   // ping-pong: `group` may multiply
};

// ---------------------------------------------------------------- producer

// One thread: keeps the stages filled.
template <class Tile>
DEVICE void produce(const TensorMap* x_map, const TensorMap* w_map, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  auto depth = [&](const Place& place, int tile) { return (place.part * schedule.tiles + tile) * Tile::TILE_K; };
  auto request_w = [&](int slot, const Place& place, int tile) {
    barrier_expect_bytes(layout.full(slot), Tile::STAGE_BYTES);
    copy_tile(layout.w(slot), w_map, layout.full(slot), depth(place, tile), place.column);
  };
  const Place first = schedule.place(blockIdx.x);
  const int early = schedule.tiles < Tile::STAGES ? schedule.tiles : Tile::STAGES;
#pragma unroll 1
  for (int i = 0; i < early; i++) request_w(i, first, i);
  if (first.row == 0) {   // the row tiles share W
#pragma unroll 1
    for (int i = early; i < schedule.tiles; i++) prefetch_tile(w_map, depth(first, i), first.column);
  }
  wait_for_dependencies();

  Turn<Tile::STAGES> turn;
  int produced = 0;
#pragma unroll 1
  for (u32 unit = blockIdx.x; unit < schedule.units; unit += gridDim.x) {
    const Place place = schedule.place(unit);
#pragma unroll 1
    for (int tile = 0; tile < schedule.tiles; tile++, produced++) {
      if (produced >= early) {
        barrier_wait(layout.empty(turn.slot), turn.phase ^ 1);
        request_w(turn.slot, place, tile);
      }
      copy_tile(layout.x(turn.slot), x_map, layout.full(turn.slot), depth(place, tile), place.row);
      turn.advance();
    }
  }
}

// ---------------------------------------------------------------- consumers

// One warpgroup: the sums of its rows of one tile of Y. Frees each stage one tile late, when the instructions that read it
// have certainly completed; the next tile's are queued by then.
template <class Tile>
DEVICE void multiply_tiles(float (&sums)[Tile::BLOCKS_M][Tile::TILE_N / 2], const Layout<Tile>& layout, Turn<Tile::STAGES>& turn, int tiles, int first_row) {
  const bool speaker = threadIdx.x % 128 == 0;   // a wgmma is one step of all four warps, so one thread can speak for them
  int previous = 0;
#pragma unroll 1
  for (int tile = 0; tile < tiles; tile++) {
    barrier_wait(layout.full(turn.slot), turn.phase);
    const u64 x = matrix_descriptor(layout.x(turn.slot) + first_row * 128), w = matrix_descriptor(layout.w(turn.slot));
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < Tile::TILE_K / 16; step++) {
#pragma unroll
      for (int m = 0; m < Tile::BLOCKS_M; m++)
        wgmma<Tile::TILE_N>(sums[m], x + m * (64 * 128 >> 4) + step * DESCRIPTOR_STEP_16, w + step * DESCRIPTOR_STEP_16, tile > 0 || step > 0);
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (tile > 0 && speaker) barrier_arrive(layout.empty(previous));
    previous = turn.slot;
    turn.advance();
  }
  // A barrier's phases are told apart by parity only: the other warpgroup may look at the stages' next phases from the
  // moment this one has seen the last of its own.
  if (Tile::PINGPONG && speaker) barrier_arrive(layout.order(threadIdx.x < 128));
  wgmma_wait<0>();
  if (speaker) barrier_arrive(layout.empty(previous));
}

// Asks for the bias of the tile's columns, into this warpgroup's own buffer; `finish_bias` makes it visible to the group.
template <class Tile> DEVICE void request_bias(float* buffer, const GemmArguments& arguments, int column) {
  const int thread = threadIdx.x % 128;
  if (thread < Tile::TILE_N / 4) copy_async_16(shared_address(buffer + thread * 4), arguments.bias + column + thread * 4, true);
  copy_async_commit();
}
DEVICE void finish_bias(int group) {
  copy_async_wait<0>();
  synchronise_group(group);
}

// Sixteen rows of one warp's sums, those of one slab pass, to its slab: FP32 as they are, else what the linear layer stores.
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

// A chunk of 16 bytes of a finished row: four FP32 sums, or eight 16-bit values of the linear layer; `bias` is that of its
// columns and already in the latter.
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

// Stores 16 rows of one warp through its slab. LANES lanes share a row and take every LANES-th of its chunks. The residuals
// of a pass are all requested before the slab is filled, so that their latency is paid once and under other work; GELU is a
// short loop instead. `y` is the output of the unit's part.
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

// Asks the L2 for the residual of 16 rows of the warp, as long before it is needed as the multiplication takes.
template <class Tile> DEVICE void prefetch_residual(const GemmArguments& arguments, int row, int column) {
  constexpr int ROW_LINES = Tile::TILE_N * 4 / 128;
  for (int i = threadIdx.x & 31; i < 16 * ROW_LINES; i += 32) {
    const int own_row = row + i / ROW_LINES;
    if (own_row < arguments.tokens) prefetch_l2((const float*)arguments.residual + (u64)own_row * arguments.y_stride + column + i % ROW_LINES * 32);
  }
}

// One consumer warpgroup, over all of its units.
template <class Tile> DEVICE void consume(const GemmArguments& arguments, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  constexpr bool READS_BIAS = epilogue_reads_bias(Tile::EPILOGUE);
  constexpr int TURNS = Tile::PINGPONG ? Tile::GROUPS : 1;   // a warpgroup takes every TURNS-th unit of its block
  const int group = threadIdx.x / 128, first_row = Tile::PINGPONG ? 0 : group * Tile::GROUP_M;
  const int warp_row = first_row + threadIdx.x % 128 / 32 * 16;
  float* const bias = layout.bias(group);

  Turn<Tile::STAGES> turn;
  if (Tile::PINGPONG && group > 0) turn.skip(schedule.tiles);
  u32 unit = blockIdx.x + (Tile::PINGPONG ? group * gridDim.x : 0);
  if (READS_BIAS && unit < schedule.units) request_bias<Tile>(bias, arguments, schedule.place(unit).column);
  wait_for_dependencies();
  allow_dependents();
#pragma unroll 1
  for (int own_units = 0; unit < schedule.units; own_units++, unit += TURNS * gridDim.x) {
    const Place place = schedule.place(unit);
    const int row = place.row + warp_row;
    if (READS_BIAS && own_units > 0) {
      synchronise_group(group);   // nobody reads the old bias any more
      request_bias<Tile>(bias, arguments, place.column);
    }
    if constexpr (Tile::EPILOGUE == EPILOGUE_RESIDUAL_F32 && Tile::TILE_M >= 128) {
#pragma unroll
      for (int m = 0; m < Tile::BLOCKS_M; m++) prefetch_residual<Tile>(arguments, row + m * 64, place.column);
    }
    if (Tile::PINGPONG && own_units + group > 0) barrier_wait(layout.order(group), (own_units + group - 1) & 1);
    float sums[Tile::BLOCKS_M][Tile::TILE_N / 2];
    multiply_tiles<Tile>(sums, layout, turn, schedule.tiles, first_row);
    if (Tile::PINGPONG) turn.skip(schedule.tiles);   // the other warpgroup's unit
    if (READS_BIAS) finish_bias(group);
    unsigned char* const y = (unsigned char*)arguments.y + (u64)place.part * arguments.tokens * arguments.y_stride * 4;   // parts are FP32
#pragma unroll
    for (int m = 0; m < Tile::BLOCKS_M; m++) store_rows<Tile>(arguments, y, layout.slab(threadIdx.x / 32), row + m * 64, place.column, bias, sums[m]);
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

// One line of this makes the kernel `NAME`. What the launch must know:
// - sums a thread: (PINGPONG ? M : M / GROUPS) N / 128; threads: 128 GROUPS + (GROUPS > 1 && sums >= (GROUPS == 3 ? 72 : 96) ? 128 : 32);
// - units = ceil(tokens / M) (width / N), with EPILOGUE_PARTIAL times depth / depth_per_split; grid.x = min(units, blocks
//   resident at a time), and no more than units;
// - dynamic shared memory: 1040 + STAGES (128 (M + N) + 16) + 4 N GROUPS + 64 GROUPS (2 N + pad) bytes, pad 16 for 16-bit
//   output, for FP32 output 32 or, when 32 does not divide N, 0;
// - N is a multiple of 16 among those of DEFINE_WGMMA, width of N, depth of 64; depth_per_split divides depth;
// - tensor maps of 16-bit elements, 2D, 128-byte swizzle, zero fill, of X {depth, tokens} with box {64, M} and of
//   W {depth, width} with box {64, N}, row pitch 2 depth bytes.
#define GEMM_WGMMA(NAME, M, N, STAGES, GROUPS, ORDER, EPILOGUE)                                                              \
  extern "C" __global__ void __launch_bounds__(WgmmaTile<M, N, STAGES, GROUPS, ORDER, EPILOGUE>::THREADS, 1)                 \
      NAME(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,                                 \
           const __grid_constant__ GemmArguments arguments) {                                                                \
    gemm_wgmma<WgmmaTile<M, N, STAGES, GROUPS, ORDER, EPILOGUE>>(&x_map, &w_map, arguments);                                 \
  }
