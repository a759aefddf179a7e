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
// A unit of work is one TILE_M x TILE_N tile of Y for each block of a cluster; clusters walk over the units with stride
// (persistent when there are more units than clusters). Three arrangements, by template arguments:
//
// - COOPERATIVE: the warpgroups divide a tile's rows. One tile at a time; its epilogue overlaps only with loads.
// - PINGPONG: each warpgroup owns whole tiles, alternating, so that the epilogue of one tile (GELU costs about as much as
//   its multiplications) runs under the multiplications of the next. For many tokens.
// - SPLITS > 1: the blocks of a cluster share a tile and divide its depth. Their sums meet in distributed shared memory,
//   where every block adds its share in rank order: split-K with the full epilogue, no partial sums in global memory, and
//   always the same bits. For few tokens, where the tiles alone would leave most multiprocessors idle.
//
// MULTICAST > 1 makes the blocks of a cluster work on neighbouring row tiles of one column tile: each loads its share
// of the W tile for all of them, which takes that part of the traffic off the L2.
//
// Programmatic dependent launch: the first STAGES tiles of W and the bias are requested before the wait (they are
// constants), X after it; dependents are allowed right after the wait.

template <int M, int N, int STAGE_COUNT, int WARPGROUPS, bool PINGPONG_ORDER, int MULTICAST_BLOCKS, int SPLIT_BLOCKS> struct WgmmaTile {
  static constexpr int TILE_M = M, TILE_N = N, TILE_K = 64, STAGES = STAGE_COUNT, GROUPS = WARPGROUPS;
  static constexpr bool PINGPONG = PINGPONG_ORDER;
  static constexpr int MULTICAST = MULTICAST_BLOCKS, SPLITS = SPLIT_BLOCKS, CLUSTER = MULTICAST * SPLITS;
  static constexpr int GROUP_M = PINGPONG ? M : M / GROUPS;       // rows of a tile that one warpgroup computes
  static constexpr int BLOCKS_M = GROUP_M / 64, BLOCKS_N = N / 8; // its sums, in blocks of 64x8, 4 registers each
  // A thread has 168 registers when three warpgroups fill a multiprocessor. When the sums leave too few of them, the
  // producer becomes a whole warpgroup, which hands registers over to the consumers (they can only be moved so).
  static constexpr bool MOVE_REGISTERS = BLOCKS_M * BLOCKS_N * 4 > 96;
  static constexpr int CONSUMERS = GROUPS * 128, THREADS = CONSUMERS + (MOVE_REGISTERS ? 128 : 32);
  static constexpr int X_BYTES = M * 128, W_BYTES = N * 128, STAGE_BYTES = X_BYTES + W_BYTES;
  static constexpr int EXCHANGE_BYTES = SPLITS > 1 ? M * N * 4 : 0;
  static constexpr int WORK_BYTES = STAGES * STAGE_BYTES > EXCHANGE_BYTES ? STAGES * STAGE_BYTES : EXCHANGE_BYTES;
  static constexpr int BIAS_BYTES = GROUPS * N * 4, BARRIER_BYTES = STAGES * 16;
  static constexpr int SHARED_BYTES = 1024 + WORK_BYTES + BIAS_BYTES + BARRIER_BYTES;   // 1024 to align the stages
  static_assert(GROUP_M % 64 == 0 && N % 8 == 0 && N <= 256, "wgmma computes 64 rows of up to 256 columns");
  static_assert(W_BYTES / MULTICAST % 1024 == 0, "a share of the W tile keeps the swizzle's period of 8 rows");
  static_assert(MULTICAST == 1 || SPLITS == 1, "a cluster either shares W tiles or splits the depth");
  static_assert(!PINGPONG || (SPLITS == 1 && GROUPS == 2), "ping-pong alternates two warpgroups on whole tiles");
};

// ---------------------------------------------------------------- PTX wrappers of Hopper

// A CUtensorMap as cuTensorMapEncodeTiled made it, passed by value as a __grid_constant__ parameter.
struct alignas(64) TensorMap { u64 opaque[16]; };

DEVICE void prefetch_tensor_map(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

DEVICE u32 cluster_rank() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// All threads of all blocks of the cluster; shared memory written before is visible to all of them after.
DEVICE void synchronise_cluster() {
  asm volatile("barrier.cluster.arrive.release;\n barrier.cluster.wait.acquire;" ::: "memory");
}
// The address, valid in the whole cluster, of what lies at `address` in block `rank`.
DEVICE u32 address_in_block(u32 address, u32 rank) {
  u32 remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  return remote;
}
DEVICE float4 load_cluster_float4(u32 address) {
  float4 value;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w) : "r"(address) : "memory");
  return value;
}

DEVICE void barrier_init(u32 barrier, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory"); }
DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void barrier_expect_bytes(u32 barrier, int bytes) {   // also the producer's arrival
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
DEVICE void barrier_arrive(u32 barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }
DEVICE void barrier_arrive_cluster(u32 remote_barrier) {
  asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(remote_barrier) : "memory");
}
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
// The same to the same place in every block of the cluster, completing the barrier at the same place in each.
DEVICE void copy_tile_multicast(u32 destination, const TensorMap* map, u32 barrier, int depth, int row, u16 blocks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
               "[%0], [%1, {%2, %3}], [%4], %5;"
               ::"r"(destination), "l"(map), "r"(depth), "r"(row), "r"(barrier), "h"(blocks) : "memory");
}

// Named barrier over the first `threads` threads' warps that call it, apart from __syncthreads' barrier 0.
DEVICE void synchronise_warps(int barrier, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory"); }

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

// The instruction names every register, so each N is an instance of its own; the lists are built from runs of eight.
#define REGISTERS_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define REGISTERS_16 REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define REGISTERS_24 REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define REGISTERS_32 REGISTERS_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS_36 REGISTERS_32 ", %32, %33, %34, %35"
#define REGISTERS_48 REGISTERS_36 ", %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define REGISTERS_64 REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_72 REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define REGISTERS_96 REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define REGISTERS_128 REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define OPERANDS_4(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3])
#define OPERANDS_8(s, i) OPERANDS_4(s, i), OPERANDS_4(s, i + 4)
#define OPERANDS_16(s, i) OPERANDS_8(s, i), OPERANDS_8(s, i + 8)
#define OPERANDS_24(s, i) OPERANDS_16(s, i), OPERANDS_8(s, i + 16)
#define OPERANDS_32(s, i) OPERANDS_16(s, i), OPERANDS_16(s, i + 16)
#define OPERANDS_36(s, i) OPERANDS_32(s, i), OPERANDS_4(s, i + 32)
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
DEFINE_WGMMA(72, 36, 36, 37, 38)
DEFINE_WGMMA(96, 48, 48, 49, 50)
DEFINE_WGMMA(128, 64, 64, 65, 66)
DEFINE_WGMMA(144, 72, 72, 73, 74)
DEFINE_WGMMA(192, 96, 96, 97, 98)
DEFINE_WGMMA(256, 128, 128, 129, 130)

// ---------------------------------------------------------------- the work of a cluster

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

// Which tile of Y a block computes in unit `unit`, and over which tiles of the depth. Neighbouring units share the
// larger operand: they walk over the columns when there are more tokens than columns, else over the tokens.
struct Place { int row, column; };

template <class Tile> struct Schedule {
  u32 units, first_unit, unit_stride, rank;
  u32 inner_units;   // units along the direction that is walked first
  bool rows_inner;
  int first_tile, tiles;

  DEVICE explicit Schedule(const GemmArguments& arguments) {
    rank = Tile::CLUSTER > 1 ? cluster_rank() : 0;
    const u32 row_units = (u32)(arguments.tokens + Tile::TILE_M * Tile::MULTICAST - 1) / (Tile::TILE_M * Tile::MULTICAST);
    const u32 column_units = (u32)arguments.width / Tile::TILE_N;
    units = row_units * column_units;
    first_unit = blockIdx.x / Tile::CLUSTER;
    unit_stride = gridDim.x / Tile::CLUSTER;
    rows_inner = arguments.tokens < arguments.width;
    inner_units = rows_inner ? row_units : column_units;
    const int all_tiles = arguments.depth / Tile::TILE_K, split = Tile::SPLITS > 1 ? rank : 0;
    first_tile = all_tiles * split / Tile::SPLITS;
    tiles = all_tiles * (split + 1) / Tile::SPLITS - first_tile;
  }
  DEVICE Place place(u32 unit) const {
    const u32 outer = unit / inner_units, inner = unit - outer * inner_units;
    const u32 row_unit = (rows_inner ? inner : outer) * Tile::MULTICAST + (Tile::MULTICAST > 1 ? rank : 0);
    return {(int)(row_unit * Tile::TILE_M), (int)((rows_inner ? outer : inner) * Tile::TILE_N)};
  }
};

// Addresses in shared memory.
template <class Tile> struct Layout {
  u32 stages, bias, full_barriers, empty_barriers;
  DEVICE explicit Layout(const void* shared) {
    stages = (shared_address(shared) + 1023) / 1024 * 1024;
    bias = stages + Tile::WORK_BYTES;
    full_barriers = bias + Tile::BIAS_BYTES;
    empty_barriers = full_barriers + Tile::STAGES * 8;
  }
  DEVICE u32 x(int slot) const { return stages + slot * Tile::STAGE_BYTES; }
  DEVICE u32 w(int slot) const { return x(slot) + Tile::X_BYTES; }
  DEVICE u32 full(int slot) const { return full_barriers + slot * 8; }
  DEVICE u32 empty(int slot) const { return empty_barriers + slot * 8; }
};

// One thread: keeps the stages filled.
template <class Tile>
DEVICE void produce(const TensorMap* x_map, const TensorMap* w_map, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  auto request_w = [&](int slot, int column, int tile) {
    barrier_expect_bytes(layout.full(slot), Tile::STAGE_BYTES);
    const int depth = (schedule.first_tile + tile) * Tile::TILE_K;
    if constexpr (Tile::MULTICAST > 1) {
      const int share = schedule.rank * (Tile::TILE_N / Tile::MULTICAST);
      copy_tile_multicast(layout.w(slot) + share * 128, w_map, layout.full(slot), depth, column + share, (1 << Tile::MULTICAST) - 1);
    } else {
      copy_tile(layout.w(slot), w_map, layout.full(slot), depth, column);
    }
  };
  const int early = schedule.tiles < Tile::STAGES ? schedule.tiles : Tile::STAGES;
#pragma unroll 1
  for (int i = 0; i < early; i++) request_w(i, schedule.place(schedule.first_unit).column, i);
  wait_for_dependencies();

  Turn<Tile::STAGES> turn;
  int produced = 0;
#pragma unroll 1
  for (u32 unit = schedule.first_unit; unit < schedule.units; unit += schedule.unit_stride) {
    const Place place = schedule.place(unit);
#pragma unroll 1
    for (int tile = 0; tile < schedule.tiles; tile++, produced++) {
      if (produced >= early) {
        barrier_wait(layout.empty(turn.slot), turn.phase ^ 1);
        request_w(turn.slot, place.column, tile);
      }
      copy_tile(layout.x(turn.slot), x_map, layout.full(turn.slot), (schedule.first_tile + tile) * Tile::TILE_K, place.row);
      turn.advance();
    }
  }
}

// One warpgroup: the sums of its rows of one tile of Y, over the tiles of the depth. Frees each stage one tile late, when
// the instructions that read it have certainly completed; the next tile's are queued by then.
template <class Tile>
DEVICE void multiply_tiles(float (&sums)[Tile::BLOCKS_M][Tile::TILE_N / 2], const Layout<Tile>& layout, Turn<Tile::STAGES>& turn, int tiles, int first_row) {
  auto release = [&](int slot) {
    if constexpr (Tile::MULTICAST > 1) {
      if (threadIdx.x % 128 < Tile::MULTICAST) barrier_arrive_cluster(address_in_block(layout.empty(slot), threadIdx.x % 128));
    } else {
      if (threadIdx.x % 128 == 0) barrier_arrive(layout.empty(slot));
    }
  };
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
    if (tile > 0) release(previous);
    previous = turn.slot;
    turn.advance();
  }
  wgmma_wait<0>();
  release(previous);
}

// Asks for the bias of the tile's columns, into this warpgroup's own buffer; `finish_bias` makes it visible to the group.
template <class Tile> DEVICE void request_bias(u32 buffer, const GemmArguments& arguments, int column) {
  const int thread = threadIdx.x % 128;
  if (thread < Tile::TILE_N / 4) copy_async_16(buffer + thread * 16, arguments.bias + column + thread * 4, true);
  copy_async_commit();
}
DEVICE void finish_bias(int group) {
  copy_async_wait<0>();
  synchronise_warps(1 + group, 128);
}

// The consumers' part when every block owns its tiles.
template <class Tile, int EPILOGUE>
DEVICE void consume(const GemmArguments& arguments, const Layout<Tile>& layout, const Schedule<Tile>& schedule, const unsigned char* shared) {
  const int group = threadIdx.x / 128, first_row = Tile::PINGPONG ? 0 : group * Tile::GROUP_M;
  const u32 bias_buffer = layout.bias + group * Tile::TILE_N * 4;
  const float* const bias = (const float*)(shared + (bias_buffer - shared_address(shared)));
  constexpr int TURNS = Tile::PINGPONG ? Tile::GROUPS : 1;   // a warpgroup takes every TURNS-th tile of its block

  Turn<Tile::STAGES> turn;
  if (Tile::PINGPONG && group > 0) turn.skip(schedule.tiles);
  u32 unit = schedule.first_unit + (Tile::PINGPONG ? group * schedule.unit_stride : 0);
  Place place = schedule.place(unit);
  if (epilogue_reads_bias(EPILOGUE) && unit < schedule.units) request_bias<Tile>(bias_buffer, arguments, place.column);
  wait_for_dependencies();
  allow_dependents();
#pragma unroll 1
  while (unit < schedule.units) {
    float sums[Tile::BLOCKS_M][Tile::TILE_N / 2];
    multiply_tiles<Tile>(sums, layout, turn, schedule.tiles, first_row);
    if (Tile::PINGPONG) turn.skip(schedule.tiles);   // the other warpgroup's tile
    if (epilogue_reads_bias(EPILOGUE)) finish_bias(group);

    const int row = place.row + first_row + threadIdx.x % 128 / 32 * 16;
    // FP32: blocks stored at a time, as many residual loads in flight as the registers allow.
    constexpr int CHUNK = epilogue_stores_f32(EPILOGUE) && Tile::BLOCKS_N > 8 ? 8 : Tile::BLOCKS_N;
    constexpr int REST = Tile::BLOCKS_N / CHUNK * CHUNK;
#pragma unroll
    for (int m = 0; m < Tile::BLOCKS_M; m++) {
#pragma unroll
      for (int b = 0; b < REST; b += CHUNK)
        store_blocks<EPILOGUE, CHUNK>(arguments, row + m * 64, place.column + b * 8, bias + b * 8, &sums[m][b * 4]);
      if constexpr (REST < Tile::BLOCKS_N)
        store_blocks<EPILOGUE, Tile::BLOCKS_N - REST>(arguments, row + m * 64, place.column + REST * 8, bias + REST * 8, &sums[m][REST * 4]);
    }
    unit += TURNS * schedule.unit_stride;
    if (unit >= schedule.units) break;
    place = schedule.place(unit);
    if (epilogue_reads_bias(EPILOGUE)) {
      synchronise_warps(1 + group, 128);   // nobody reads the old bias any more
      request_bias<Tile>(bias_buffer, arguments, place.column);
    }
  }
}

// The consumers' part when the blocks of the cluster split the depth of one tile: sums to shared memory in fragment order,
// [block][thread], then every block of the cluster finishes its share of the blocks, reading all ranks' sums.
template <class Tile, int EPILOGUE>
DEVICE void consume_split(const GemmArguments& arguments, const Layout<Tile>& layout, const Schedule<Tile>& schedule, const unsigned char* shared) {
  constexpr int BLOCKS = Tile::BLOCKS_M * Tile::BLOCKS_N;
  const int thread = threadIdx.x, group = thread / 128, first_row = group * Tile::GROUP_M;
  const bool consumer = thread < Tile::CONSUMERS;
  const Place place = schedule.place(schedule.first_unit);
  const int row = place.row + first_row + thread % 128 / 32 * 16;
  const float* const bias = (const float*)(shared + (layout.bias - shared_address(shared)));
  if (consumer) {
    if (epilogue_reads_bias(EPILOGUE) && group == 0) request_bias<Tile>(layout.bias, arguments, place.column);
    wait_for_dependencies();
    allow_dependents();
    float sums[Tile::BLOCKS_M][Tile::TILE_N / 2];
    Turn<Tile::STAGES> turn;
    multiply_tiles<Tile>(sums, layout, turn, schedule.tiles, first_row);
    copy_async_wait<0>();
    synchronise_warps(1, Tile::CONSUMERS);   // all stages have been read, and become the exchange buffer
    float4* const exchange = (float4*)(shared + (layout.stages - shared_address(shared)));
#pragma unroll
    for (int m = 0; m < Tile::BLOCKS_M; m++) {
#pragma unroll
      for (int b = 0; b < Tile::BLOCKS_N; b++) {
        const float* s = &sums[m][b * 4];
        exchange[(m * Tile::BLOCKS_N + b) * Tile::CONSUMERS + thread] = make_float4(s[0], s[1], s[2], s[3]);
      }
    }
  }
  synchronise_cluster();
  if (consumer) {
    constexpr int UNIT = blocks_per_unit(Tile::BLOCKS_M, Tile::BLOCKS_N, Tile::SPLITS), UNITS_N = Tile::BLOCKS_N / UNIT;
#pragma unroll 1
    for (int unit = schedule.rank; unit < BLOCKS / UNIT; unit += Tile::SPLITS) {
      float4 parts[Tile::SPLITS][UNIT];
#pragma unroll
      for (int split = 0; split < Tile::SPLITS; split++) {
        const u32 peer = address_in_block(layout.stages + (unit * UNIT * Tile::CONSUMERS + thread) * 16, split);
#pragma unroll
        for (int b = 0; b < UNIT; b++) parts[split][b] = load_cluster_float4(peer + b * Tile::CONSUMERS * 16);
      }
      float totals[UNIT * 4];
#pragma unroll
      for (int b = 0; b < UNIT; b++) {
        float4 total = parts[0][b];
#pragma unroll
        for (int split = 1; split < Tile::SPLITS; split++) {
          total.x += parts[split][b].x; total.y += parts[split][b].y; total.z += parts[split][b].z; total.w += parts[split][b].w;
        }
        totals[b * 4] = total.x; totals[b * 4 + 1] = total.y; totals[b * 4 + 2] = total.z; totals[b * 4 + 3] = total.w;
      }
      const int block_column = unit % UNITS_N * UNIT * 8;
      store_blocks<EPILOGUE, UNIT>(arguments, row + unit / UNITS_N * 64, place.column + block_column, bias + block_column, totals);
    }
  }
}

template <class Tile, int EPILOGUE>
DEVICE void gemm_wgmma(const TensorMap* x_map, const TensorMap* w_map, const GemmArguments& arguments) {
  extern __shared__ unsigned char shared[];
  const Layout<Tile> layout(shared);
  const Schedule<Tile> schedule(arguments);
  if (threadIdx.x == Tile::CONSUMERS) {   // the producer thread
    prefetch_tensor_map(x_map);
    prefetch_tensor_map(w_map);
    constexpr int RELEASES = (Tile::PINGPONG ? 1 : Tile::GROUPS) * Tile::MULTICAST;
#pragma unroll 1
    for (int i = 0; i < Tile::STAGES; i++) {
      barrier_init(layout.full(i), 1);
      barrier_init(layout.empty(i), RELEASES);
    }
    barrier_init_fence();
  }
  if constexpr (Tile::MULTICAST > 1) synchronise_cluster(); else __syncthreads();   // whoever signals a barrier sees it initialised

  if constexpr (Tile::SPLITS > 1) {
    if (threadIdx.x == Tile::CONSUMERS) produce<Tile>(x_map, w_map, layout, schedule);
    consume_split<Tile, EPILOGUE>(arguments, layout, schedule, shared);
  } else if (threadIdx.x >= Tile::CONSUMERS) {
    if constexpr (Tile::MOVE_REGISTERS) release_registers<24>();
    if (threadIdx.x == Tile::CONSUMERS) produce<Tile>(x_map, w_map, layout, schedule);
  } else {
    if constexpr (Tile::MOVE_REGISTERS) take_registers<240>();
    consume<Tile, EPILOGUE>(arguments, layout, schedule, shared);
  }
  if constexpr (Tile::CLUSTER > 1) synchronise_cluster();   // no block leaves while another reads its memory or signals it
}

#define COOPERATIVE false
#define PINGPONG true

// One line of this makes the kernel `NAME`. What the launch must know:
// - threads: 128 GROUPS + 32, or 128 GROUPS + 128 with more than 96 sums a thread, (PINGPONG ? M : M / GROUPS) N / 128; cluster (MULTICAST SPLITS, 1, 1) is part of the kernel;
// - dynamic shared memory: 1024 + max(STAGES (M + N) 128, SPLITS > 1 ? 4 M N : 0) + 4 N GROUPS + 16 STAGES bytes;
// - units = ceil(tokens / (M MULTICAST)) (width / N); grid.x = MULTICAST SPLITS min(units, resident clusters), all units
//   when SPLITS > 1; width must be a multiple of N, depth of 64, and with SPLITS at least 64 SPLITS;
// - tensor maps of 16-bit elements, 2D, 128-byte swizzle, zero fill, of X {depth, tokens} with box {64, M} and of
//   W {depth, width} with box {64, N / MULTICAST}, row pitch 2 depth bytes.
#define GEMM_WGMMA(NAME, M, N, STAGES, GROUPS, ORDER, MULTICAST, SPLITS, EPILOGUE)                                           \
  extern "C" __global__ void __cluster_dims__(MULTICAST * SPLITS, 1, 1) __launch_bounds__(WgmmaTile<M, N, STAGES, GROUPS, ORDER, MULTICAST, SPLITS>::THREADS, 1) \
      NAME(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,                                 \
           const __grid_constant__ GemmArguments arguments) {                                                                \
    gemm_wgmma<WgmmaTile<M, N, STAGES, GROUPS, ORDER, MULTICAST, SPLITS>, EPILOGUE>(&x_map, &w_map, arguments);              \
  }
