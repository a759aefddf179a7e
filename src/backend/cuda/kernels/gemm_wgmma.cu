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
// - SPLITS > 1: blocks of a cluster share a tile and divide its depth. Each sends its sums to the blocks that finish them,
//   through distributed shared memory, and these add them in rank order: split-K with the full epilogue, no partial sums
//   in global memory, and always the same bits. For shapes whose tiles alone would leave multiprocessors idle.
//
// MULTICAST > 1 makes blocks of a cluster work on neighbouring row tiles of one column tile: each loads its share
// of the W tile for all of them, which takes that part of the traffic off the L2 (it delivers about 8 TB/s to all
// multiprocessors together, and is the limit of most shapes from 512 tokens on).
//
// Sums leave through shared memory, a slab of 16 rows for each warp: rows are read and written 16 bytes a lane in long
// runs, and GELU is a short loop (unrolled over the registers it outgrows the instruction cache).
//
// Programmatic dependent launch: before the wait the first STAGES tiles of W and the bias are requested, which are
// constants, and the rest of the first W tiles is prefetched to L2; X after it; dependents are allowed right after the wait.

template <int M, int N, int STAGE_COUNT, int WARPGROUPS, bool PINGPONG_ORDER, int MULTICAST_BLOCKS, int SPLIT_BLOCKS, int EPILOGUE_KIND> struct WgmmaTile {
  static constexpr int TILE_M = M, TILE_N = N, TILE_K = 64, STAGES = STAGE_COUNT, GROUPS = WARPGROUPS, EPILOGUE = EPILOGUE_KIND;
  static constexpr bool PINGPONG = PINGPONG_ORDER;
  static constexpr int MULTICAST = MULTICAST_BLOCKS, SPLITS = SPLIT_BLOCKS, CLUSTER = MULTICAST * SPLITS;
  static constexpr int GROUP_M = PINGPONG ? M : M / GROUPS;       // rows of a tile that one warpgroup computes
  static constexpr int BLOCKS_M = GROUP_M / 64, BLOCKS_N = N / 8; // its sums, in blocks of 64x8
  // A thread has 168 registers when three warpgroups fill a multiprocessor, 128 when four do. When the sums leave too few
  // of them, the producer becomes a whole warpgroup, which hands registers over to the consumers (they only move so).
  static constexpr bool MOVE_REGISTERS = BLOCKS_M * BLOCKS_N * 4 > (GROUPS == 3 ? 64 : 96);
  static constexpr int CONSUMER_REGISTERS = GROUPS == 3 ? 160 : 240;
  static constexpr int CONSUMERS = GROUPS * 128, THREADS = CONSUMERS + (MOVE_REGISTERS ? 128 : 32);

  static constexpr int X_BYTES = M * 128, W_BYTES = N * 128, STAGE_BYTES = X_BYTES + W_BYTES;
  static constexpr int BIAS_BYTES = GROUPS * N * 4;
  // Split: the cluster's blocks finish units of UNIT blocks in turn; room for all ranks' sums of this block's units.
  static constexpr int UNIT = BLOCKS_N % 4 == 0 && BLOCKS_M * BLOCKS_N / 4 % SPLITS == 0 ? 4 : BLOCKS_N % 2 == 0 && BLOCKS_M * BLOCKS_N / 2 % SPLITS == 0 ? 2 : 1;
  static constexpr int UNITS = BLOCKS_M * BLOCKS_N / UNIT, OWN_UNITS = (UNITS + SPLITS - 1) / SPLITS;
  static constexpr int EXCHANGE_BYTES = SPLITS > 1 ? OWN_UNITS * UNIT * SPLITS * CONSUMERS * 16 : 0;
  // Not split: a slab of 16 rows for each warp, which FP32 output fills twice, N / 2 columns at a time. Rows are padded so
  // that 8 rows x 4 words (FP32: 4 rows x 8 words) written at a time fall in different banks.
  static constexpr bool STORES_F32 = epilogue_stores_f32(EPILOGUE);
  static constexpr int SLAB_PASSES = STORES_F32 ? 2 : 1, SLAB_PITCH = N * 2 + (STORES_F32 ? (N % 32 == 0 ? 32 : 0) : 16);
  static constexpr int SLAB_BYTES = SPLITS == 1 ? 16 * SLAB_PITCH : 0;
  static constexpr int BARRIERS = 2 * STAGES + 2;
  static constexpr int SHARED_BYTES = 1024 + STAGES * STAGE_BYTES + BIAS_BYTES + EXCHANGE_BYTES + GROUPS * 4 * SLAB_BYTES + BARRIERS * 8;

  static_assert(GROUP_M % 64 == 0 && N % 16 == 0 && N <= 256, "wgmma computes 64 rows of up to 256 columns, slabs take them in halves");
  static_assert(W_BYTES / MULTICAST % 1024 == 0, "a share of the W tile keeps the swizzle's period of 8 rows");
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
// A barrier of all threads of the cluster, in two parts so that the wait can come later. It orders nothing but execution
// (and the barriers' initialisation, which has its own fence): a release would wait for all earlier stores to global memory.
DEVICE void arrive_at_cluster() { asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory"); }
DEVICE void wait_for_cluster() { asm volatile("barrier.cluster.wait;" ::: "memory"); }
// The address, valid in the whole cluster, of what lies at `address` in block `rank`.
DEVICE u32 address_in_block(u32 address, u32 rank) {
  u32 remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  return remote;
}
// Sixteen bytes to another block's shared memory; they complete that block's barrier.
DEVICE void send_float4(u32 remote_address, const float* values, u32 remote_barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];"
               ::"r"(remote_address), "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3]), "r"(remote_barrier) : "memory");
}

DEVICE void barrier_init(u32 barrier, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory"); }
DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void barrier_expect_bytes(u32 barrier, int bytes) {   // also the producer's arrival
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
DEVICE void barrier_arrive(u32 barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }
DEVICE void barrier_arrive_cluster(u32 remote_barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(remote_barrier) : "memory");
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

// A box to L2 only.
DEVICE void prefetch_tile(const TensorMap* map, int depth, int row) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(map), "r"(depth), "r"(row) : "memory");
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
#define REGISTERS_48 REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define REGISTERS_64 REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_72 REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define REGISTERS_96 REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define REGISTERS_128 REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define OPERANDS_4(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3])
#define OPERANDS_8(s, i) OPERANDS_4(s, i), OPERANDS_4(s, i + 4)
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
struct Place { int row, column, first_tile, part; };

template <class Tile> struct Schedule {
  u32 units, first_unit, unit_stride, tile_units;
  u32 peer, split;   // which of the MULTICAST blocks, and which of the SPLITS, this one is: rank = split MULTICAST + peer
  u32 inner_units;   // units along the direction that is walked first
  bool rows_inner;
  int first_tile, tiles;   // of the depth; with EPILOGUE_PARTIAL relative to the part that the unit belongs to
  static constexpr bool PARTIAL = Tile::EPILOGUE == EPILOGUE_PARTIAL;

  DEVICE explicit Schedule(const GemmArguments& arguments) {
    const u32 rank = Tile::CLUSTER > 1 ? cluster_rank() : 0;
    peer = rank % Tile::MULTICAST;
    split = rank / Tile::MULTICAST;
    const u32 row_units = (u32)(arguments.tokens + Tile::TILE_M * Tile::MULTICAST - 1) / (Tile::TILE_M * Tile::MULTICAST);
    const u32 column_units = (u32)arguments.width / Tile::TILE_N;
    tile_units = row_units * column_units;
    units = PARTIAL ? tile_units * ((u32)arguments.depth / (u32)arguments.depth_per_split) : tile_units;
    first_unit = blockIdx.x / Tile::CLUSTER;
    unit_stride = gridDim.x / Tile::CLUSTER;
    rows_inner = arguments.tokens < arguments.width;
    inner_units = rows_inner ? row_units : column_units;
    const u32 all_tiles = (u32)(PARTIAL ? arguments.depth_per_split : arguments.depth) / Tile::TILE_K;
    first_tile = all_tiles * split / Tile::SPLITS;
    tiles = all_tiles * (split + 1) / Tile::SPLITS - first_tile;
  }
  DEVICE Place place(u32 unit) const {
    const u32 part = PARTIAL ? unit / tile_units : 0;
    unit -= part * tile_units;
    const u32 outer = unit / inner_units, inner = unit - outer * inner_units;
    const u32 row_unit = (rows_inner ? inner : outer) * Tile::MULTICAST + peer;
    return {(int)(row_unit * Tile::TILE_M), (int)((rows_inner ? outer : inner) * Tile::TILE_N), (int)part * tiles + first_tile, (int)part};
  }
};

// Addresses in shared memory, the same in every block of the cluster.
template <class Tile> struct Layout {
  unsigned char* memory;   // the stages, on a multiple of 1024 bytes as the swizzle requires
  u32 stages;
  DEVICE explicit Layout(unsigned char* shared) {
    const u32 address = shared_address(shared), padding = (1024 - address % 1024) % 1024;
    memory = shared + padding;
    stages = address + padding;
  }
  static constexpr int BIAS = Tile::STAGES * Tile::STAGE_BYTES, EXCHANGE = BIAS + Tile::BIAS_BYTES, SLABS = EXCHANGE + Tile::EXCHANGE_BYTES;
  static constexpr int BARRIERS = SLABS + Tile::GROUPS * 4 * Tile::SLAB_BYTES;
  DEVICE u32 x(int slot) const { return stages + slot * Tile::STAGE_BYTES; }
  DEVICE u32 w(int slot) const { return x(slot) + Tile::X_BYTES; }
  DEVICE float* bias(int group) const { return (float*)(memory + BIAS) + group * Tile::TILE_N; }
  DEVICE const float4* exchange() const { return (const float4*)(memory + EXCHANGE); }
  DEVICE unsigned char* slab(int warp) const { return memory + SLABS + warp * Tile::SLAB_BYTES; }
  DEVICE u32 full(int slot) const { return stages + BARRIERS + slot * 16; }
  DEVICE u32 empty(int slot) const { return full(slot) + 8; }
  DEVICE u32 order(int group) const { return stages + BARRIERS + Tile::STAGES * 16 + group * 8; }   // ping-pong: `group` may multiply
  DEVICE u32 received() const { return order(0); }                                                  // split: all sums are here
};

// One thread: keeps the stages filled.
template <class Tile>
DEVICE void produce(const TensorMap* x_map, const TensorMap* w_map, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  const int share = schedule.peer * (Tile::TILE_N / Tile::MULTICAST);   // first row of W this block loads
  auto request_w = [&](int slot, const Place& place, int tile) {
    barrier_expect_bytes(layout.full(slot), Tile::STAGE_BYTES);
    const int depth = (place.first_tile + tile) * Tile::TILE_K;
    if constexpr (Tile::MULTICAST > 1) {
      copy_tile_multicast(layout.w(slot) + share * 128, w_map, layout.full(slot), depth, place.column + share,
                          ((1 << Tile::MULTICAST) - 1) << (schedule.split * Tile::MULTICAST));
    } else {
      copy_tile(layout.w(slot), w_map, layout.full(slot), depth, place.column);
    }
  };
  const int early = schedule.tiles < Tile::STAGES ? schedule.tiles : Tile::STAGES;
  const Place first = schedule.place(schedule.first_unit);
#pragma unroll 1
  for (int i = 0; i < early; i++) request_w(i, first, i);
  if (first.row < Tile::TILE_M * Tile::MULTICAST) {   // the row tiles share W
#pragma unroll 1
    for (int i = early; i < schedule.tiles; i++) prefetch_tile(w_map, (first.first_tile + i) * Tile::TILE_K, first.column + share);
  }
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
        request_w(turn.slot, place, tile);
      }
      copy_tile(layout.x(turn.slot), x_map, layout.full(turn.slot), (place.first_tile + tile) * Tile::TILE_K, place.row);
      turn.advance();
    }
  }
}

// One warpgroup: the sums of its rows of one tile of Y, over the tiles of the depth. Frees each stage one tile late, when
// the instructions that read it have certainly completed; the next tile's are queued by then.
template <class Tile>
DEVICE void multiply_tiles(float (&sums)[Tile::BLOCKS_M][Tile::TILE_N / 2], const Layout<Tile>& layout, const Schedule<Tile>& schedule, Turn<Tile::STAGES>& turn, int first_row) {
  auto release = [&](int slot) {
    if constexpr (Tile::MULTICAST > 1) {
      const u32 peer = threadIdx.x % 128;
      if (peer < Tile::MULTICAST) barrier_arrive_cluster(address_in_block(layout.empty(slot), schedule.split * Tile::MULTICAST + peer));
    } else {
      if (threadIdx.x % 128 == 0) barrier_arrive(layout.empty(slot));
    }
  };
  int previous = 0;
#pragma unroll 1
  for (int tile = 0; tile < schedule.tiles; tile++) {
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
  // A barrier's phases are told apart by parity only: the other warpgroup may look at the stages' next phases from the
  // moment this one has seen the last of its own.
  if (Tile::PINGPONG && threadIdx.x % 128 == 0) barrier_arrive(layout.order(threadIdx.x < 128));
  wgmma_wait<0>();
  release(previous);
}

// Asks for the bias of the tile's columns, into this warpgroup's own buffer; `finish_bias` makes it visible to the group.
template <class Tile> DEVICE void request_bias(float* buffer, const GemmArguments& arguments, int column) {
  const int thread = threadIdx.x % 128;
  if (thread < Tile::TILE_N / 4) copy_async_16(shared_address(buffer + thread * 4), arguments.bias + column + thread * 4, true);
  copy_async_commit();
}
DEVICE void finish_bias(int group) {
  copy_async_wait<0>();
  synchronise_warps(1 + group, 128);
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

// Stores 16 rows of one warp through its slab. A lane handles the chunks lane, lane + 32, ... of a pass, RUN of them at a
// time: their residuals are all requested before the first is used.
template <class Tile>
DEVICE void store_slab(const GemmArguments& arguments, unsigned char* y, unsigned char* slab, int row, int column, const float* bias, const float* sums) {
  constexpr int ELEMENT = Tile::STORES_F32 ? 4 : 2, BLOCKS = Tile::BLOCKS_N / Tile::SLAB_PASSES;
  constexpr int ROW_CHUNKS = BLOCKS * 8 * ELEMENT / 16, CHUNKS = 16 * ROW_CHUNKS;
  constexpr bool RESIDUAL = Tile::EPILOGUE == EPILOGUE_RESIDUAL_F32 || Tile::EPILOGUE == EPILOGUE_RESIDUAL_16;
  constexpr int RUN = RESIDUAL ? 4 : 2;
  const int lane = threadIdx.x & 31, quad_lane = lane & 3;
  unsigned char* const fragment = slab + lane / 4 * Tile::SLAB_PITCH + quad_lane * 2 * ELEMENT;
#pragma unroll
  for (int pass = 0; pass < Tile::SLAB_PASSES; pass++) {
    const int first_column = pass * BLOCKS * 8;
#pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
      const float* s = sums + (pass * BLOCKS + b) * 4;
      unsigned char* const place = fragment + b * 8 * ELEMENT;
      if constexpr (Tile::STORES_F32) {
        *(float2*)place = make_float2(s[0], s[1]);
        *(float2*)(place + 8 * Tile::SLAB_PITCH) = make_float2(s[2], s[3]);
      } else {
        const float2 shift = *(const float2*)(bias + b * 8 + quad_lane * 2);
        *(u32*)place = pack_elements(s[0] + shift.x, s[1] + shift.y);
        *(u32*)(place + 8 * Tile::SLAB_PITCH) = pack_elements(s[2] + shift.x, s[3] + shift.y);
      }
    }
    __syncwarp();
#pragma unroll 1
    for (int first = lane; first < CHUNKS; first += 32 * RUN) {
      uint4 residual[RUN];
      u64 offset[RUN];
      bool inside[RUN];
#pragma unroll
      for (int i = 0; i < RUN; i++) {
        const int index = first + 32 * i, slab_row = index / ROW_CHUNKS;
        inside[i] = index < CHUNKS && row + slab_row < arguments.tokens;
        offset[i] = ((u64)(row + slab_row) * arguments.y_stride + column + first_column) * ELEMENT + index % ROW_CHUNKS * 16;
        if (RESIDUAL && inside[i]) residual[i] = *(const uint4*)((const unsigned char*)arguments.residual + offset[i]);
      }
#pragma unroll
      for (int i = 0; i < RUN; i++) {
        const int index = first + 32 * i, chunk = index % ROW_CHUNKS;
        if (inside[i])
          *(uint4*)(y + offset[i]) =
              finish_chunk<Tile::EPILOGUE>(*(const uint4*)(slab + index / ROW_CHUNKS * Tile::SLAB_PITCH + chunk * 16), residual[i], bias + first_column + chunk * 4);
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

// The consumers' part when every block finishes its own tiles.
template <class Tile> DEVICE void consume(const GemmArguments& arguments, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  const int group = threadIdx.x / 128, first_row = Tile::PINGPONG ? 0 : group * Tile::GROUP_M;
  const int warp_row = first_row + threadIdx.x % 128 / 32 * 16;
  float* const bias = layout.bias(group);
  constexpr bool READS_BIAS = epilogue_reads_bias(Tile::EPILOGUE);
  constexpr int TURNS = Tile::PINGPONG ? Tile::GROUPS : 1;   // a warpgroup takes every TURNS-th tile of its block

  Turn<Tile::STAGES> turn;
  if (Tile::PINGPONG && group > 0) turn.skip(schedule.tiles);
  u32 unit = schedule.first_unit + (Tile::PINGPONG ? group * schedule.unit_stride : 0);
  Place place = schedule.place(unit);
  if (READS_BIAS && unit < schedule.units) request_bias<Tile>(bias, arguments, place.column);
  wait_for_dependencies();
  allow_dependents();
#pragma unroll 1
  for (int own_tiles = 0; unit < schedule.units; own_tiles++) {
    const int row = place.row + warp_row;
    if constexpr (Tile::EPILOGUE == EPILOGUE_RESIDUAL_F32 && Tile::TILE_M >= 128) {
#pragma unroll
      for (int m = 0; m < Tile::BLOCKS_M; m++) prefetch_residual<Tile>(arguments, row + m * 64, place.column);
    }
    if (Tile::PINGPONG && own_tiles + group > 0) barrier_wait(layout.order(group), own_tiles + group - 1 & 1);
    float sums[Tile::BLOCKS_M][Tile::TILE_N / 2];
    multiply_tiles<Tile>(sums, layout, schedule, turn, first_row);
    if (Tile::PINGPONG) turn.skip(schedule.tiles);   // the other warpgroup's tile
    if (READS_BIAS) finish_bias(group);

    unsigned char* const y = (unsigned char*)arguments.y + (u64)place.part * arguments.tokens * arguments.y_stride * 4;   // part 0 unless FP32
#pragma unroll
    for (int m = 0; m < Tile::BLOCKS_M; m++) store_slab<Tile>(arguments, y, layout.slab(threadIdx.x / 32), row + m * 64, place.column, bias, sums[m]);
    unit += TURNS * schedule.unit_stride;
    if (unit >= schedule.units) break;
    place = schedule.place(unit);
    if (READS_BIAS) {
      synchronise_warps(1 + group, 128);   // nobody reads the old bias any more
      request_bias<Tile>(bias, arguments, place.column);
    }
  }
}

// The consumers' part when SPLITS blocks divide the depth of one tile. Unit u of the sums belongs to split u % SPLITS,
// which receives it from all of them as [unit][block][split][thread], 16 bytes each, and finishes it.
template <class Tile> DEVICE void consume_split(const GemmArguments& arguments, const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  constexpr int UNIT = Tile::UNIT, UNITS_N = Tile::BLOCKS_N / UNIT;
  const int thread = threadIdx.x, group = thread / 128, first_row = group * Tile::GROUP_M;
  const Place place = schedule.place(schedule.first_unit);
  const int row = place.row + first_row + thread % 128 / 32 * 16;
  float* const bias = layout.bias(group);
  if (epilogue_reads_bias(Tile::EPILOGUE)) request_bias<Tile>(bias, arguments, place.column);
  wait_for_dependencies();
  allow_dependents();
  float sums[Tile::BLOCKS_M][Tile::TILE_N / 2];
  Turn<Tile::STAGES> turn;
  multiply_tiles<Tile>(sums, layout, schedule, turn, first_row);
  wait_for_cluster();   // every block has started
#pragma unroll
  for (int unit = 0; unit < Tile::UNITS; unit++) {
    const u32 owner = unit % Tile::SPLITS * Tile::MULTICAST + schedule.peer, barrier = address_in_block(layout.received(), owner);
    const u32 buffer = address_in_block(layout.stages + Layout<Tile>::EXCHANGE, owner);
#pragma unroll
    for (int b = 0; b < UNIT; b++)
      send_float4(buffer + (((unit / Tile::SPLITS * UNIT + b) * Tile::SPLITS + schedule.split) * Tile::CONSUMERS + thread) * 16,
                  &sums[unit / UNITS_N][(unit % UNITS_N * UNIT + b) * 4], barrier);
  }
  if (epilogue_reads_bias(Tile::EPILOGUE)) finish_bias(group);
  barrier_wait(layout.received(), 0);
#pragma unroll 1
  for (int own = 0; own < Tile::OWN_UNITS; own++) {
    const int unit = own * Tile::SPLITS + schedule.split;
    if (unit >= Tile::UNITS) break;
    float totals[UNIT * 4];
#pragma unroll
    for (int b = 0; b < UNIT; b++) {
      const float4* parts = layout.exchange() + (own * UNIT + b) * Tile::SPLITS * Tile::CONSUMERS + thread;
      float4 total = parts[0];
#pragma unroll
      for (int split = 1; split < Tile::SPLITS; split++) {
        const float4 part = parts[split * Tile::CONSUMERS];
        total.x += part.x; total.y += part.y; total.z += part.z; total.w += part.w;
      }
      totals[b * 4] = total.x; totals[b * 4 + 1] = total.y; totals[b * 4 + 2] = total.z; totals[b * 4 + 3] = total.w;
    }
    const int block_column = unit % UNITS_N * UNIT * 8;
    store_blocks<Tile::EPILOGUE, UNIT>(arguments, row + unit / UNITS_N * 64, place.column + block_column, bias + block_column, totals);
  }
}

// The producer thread, before anything else: whoever signals or waits on a barrier finds it initialised.
template <class Tile> DEVICE void initialise_barriers(const Layout<Tile>& layout, const Schedule<Tile>& schedule) {
  constexpr int RELEASES = (Tile::PINGPONG ? 1 : Tile::GROUPS) * Tile::MULTICAST;
#pragma unroll 1
  for (int i = 0; i < Tile::STAGES; i++) {
    barrier_init(layout.full(i), 1);
    barrier_init(layout.empty(i), RELEASES);
  }
  barrier_init(layout.order(0), 1);
  barrier_init(layout.order(1), 1);
  barrier_init_fence();
  if constexpr (Tile::SPLITS > 1) {
    const int own_units = (Tile::UNITS - schedule.split + Tile::SPLITS - 1) / Tile::SPLITS;
    barrier_expect_bytes(layout.received(), own_units * Tile::UNIT * Tile::SPLITS * Tile::CONSUMERS * 16);
  }
}

template <class Tile> DEVICE void gemm_wgmma(const TensorMap* x_map, const TensorMap* w_map, const GemmArguments& arguments) {
  extern __shared__ unsigned char shared[];
  const Layout<Tile> layout(shared);
  const Schedule<Tile> schedule(arguments);
  const bool producer = threadIdx.x == Tile::CONSUMERS;
  if (producer) {
    prefetch_tensor_map(x_map);
    prefetch_tensor_map(w_map);
    initialise_barriers<Tile>(layout, schedule);
  }
  __syncthreads();
  if constexpr (Tile::CLUSTER > 1) arrive_at_cluster();
  if constexpr (Tile::MULTICAST > 1) wait_for_cluster();   // with SPLITS alone the wait comes before the sums are sent

  if (threadIdx.x >= Tile::CONSUMERS) {
    if constexpr (Tile::MOVE_REGISTERS) release_registers<24>();
    if (producer) produce<Tile>(x_map, w_map, layout, schedule);
  } else {
    if constexpr (Tile::MOVE_REGISTERS) take_registers<Tile::CONSUMER_REGISTERS>();
    if constexpr (Tile::SPLITS > 1) consume_split<Tile>(arguments, layout, schedule);
    else consume<Tile>(arguments, layout, schedule);
  }
  // No block leaves while another may still signal its barriers. (Sums are waited for in any case.)
  if constexpr (Tile::MULTICAST > 1) {
    arrive_at_cluster();
    wait_for_cluster();
  }
}

#define COOPERATIVE false
#define PINGPONG true

// One line of this makes the kernel `NAME`. What the launch must know:
// - sums a thread: (PINGPONG ? M : M / GROUPS) N / 128; threads: 128 GROUPS + (sums > (GROUPS == 3 ? 64 : 96) ? 128 : 32);
// - the cluster, (MULTICAST SPLITS, 1, 1), is part of the kernel; units = ceil(tokens / (M MULTICAST)) (width / N);
//   times depth / depth_per_split, without remainder, with EPILOGUE_PARTIAL;
//   grid.x = MULTICAST SPLITS units when SPLITS > 1, else MULTICAST min(units, clusters resident at a time);
// - dynamic shared memory: 1040 + STAGES (128 (M + N) + 16) + 4 N GROUPS
//     + (SPLITS > 1 ? the exchange: with u = 4, 2 or 1, the first that divides N / 8 and for which SPLITS divides
//        b = (M / GROUPS / 64) (N / 8) / u, or 1: 2048 u GROUPS SPLITS ceil(b / SPLITS))
//     + (SPLITS == 1 ? 64 GROUPS (2 N + pad) : 0) bytes, with pad 16 for 16-bit output, for FP32 output 32 or, when 32
//       does not divide N, 0;
// - N is a multiple of 16, width of N, depth of 64, and depth >= 64 SPLITS;
// - tensor maps of 16-bit elements, 2D, 128-byte swizzle, zero fill, of X {depth, tokens} with box {64, M} and of
//   W {depth, width} with box {64, N / MULTICAST}, row pitch 2 depth bytes.
#define GEMM_WGMMA(NAME, M, N, STAGES, GROUPS, ORDER, MULTICAST, SPLITS, EPILOGUE)                                           \
  extern "C" __global__ void __cluster_dims__(MULTICAST * SPLITS, 1, 1)                                                      \
      __launch_bounds__(WgmmaTile<M, N, STAGES, GROUPS, ORDER, MULTICAST, SPLITS, EPILOGUE>::THREADS, 1)                     \
      NAME(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap w_map,                                 \
           const __grid_constant__ GemmArguments arguments) {                                                                \
    gemm_wgmma<WgmmaTile<M, N, STAGES, GROUPS, ORDER, MULTICAST, SPLITS, EPILOGUE>>(&x_map, &w_map, arguments);              \
  }
