// hopper.cu: wrappers of the instructions that only Hopper has (compute capability 9.0): the copy engine (TMA), mbarriers,
// fences between proxies, register reallocation and warpgroup matrix products (wgmma). Compiled for sm_90a only, after
// prelude.cu and before the kernels that use them, gemm_wgmma.cu and attention_wgmma.cu.
//
// One thin wrapper per PTX instruction, named after what it does. Instructions are those of the PTX ISA 9.0 manual.

// ---------------------------------------------------------------- the copy engine

// A CUtensorMap as cuTensorMapEncodeTiled made it, passed by value as a __grid_constant__ parameter.
struct alignas(64) TensorMap { u64 opaque[16]; };

DEVICE void prefetch_tensor_map(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

// Copies the box of the tensor whose first element is (`depth`, `row`) to shared memory. Its bytes complete `barrier`.
DEVICE void copy_tile(u32 destination, const TensorMap* map, u32 barrier, int depth, int row) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
               ::"r"(destination), "l"(map), "r"(depth), "r"(row), "r"(barrier) : "memory");
}

// Copies a box to L2 only.
DEVICE void prefetch_tile(const TensorMap* map, int depth, int row) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(map), "r"(depth), "r"(row) : "memory");
}

// ---------------------------------------------------------------- barriers and fences

DEVICE void barrier_init(u32 barrier, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory"); }

// Makes initialised mbarriers visible to the copy engine.
DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Arrives at the barrier and adds `bytes` to what its phase waits for.
DEVICE void barrier_expect_bytes(u32 barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
DEVICE void barrier_arrive(u32 barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }

// Waits until the phase of parity `phase` is complete.
DEVICE void barrier_wait(u32 barrier, u32 phase) {
  u32 complete;
  do {
    asm volatile("{ .reg .pred done;\n mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n selp.u32 %0, 1, 0, done; }"
                 : "=r"(complete) : "r"(barrier), "r"(phase) : "memory");
  } while (!complete);
}

// Waits for all THREADS threads of group `group` of the block. Barrier 0 belongs to __syncthreads.
template <int THREADS> DEVICE void synchronise_group(int group) {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(THREADS) : "memory");
}

// Makes this thread's writes to shared memory visible to wgmma and the copy engine, which read it through the asynchronous
// proxy.
DEVICE void async_proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---------------------------------------------------------------- registers

// Moves registers between the warpgroups of a block: each thread of the calling warpgroup has COUNT from here on.
template <int COUNT> DEVICE void release_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT)); }
template <int COUNT> DEVICE void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT)); }

// ---------------------------------------------------------------- wgmma

// A product in flight owns the registers that it reads and writes: fence before issuing it, wait before touching them.
DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups of products are in flight.
template <int PENDING> DEVICE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory"); }

// Operands of inline assembly: `s[i]` and the floats after it, read and written.
#define OPERANDS_4(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3])
#define OPERANDS_8(s, i) OPERANDS_4(s, i), OPERANDS_4(s, i + 4)
#define OPERANDS_12(s, i) OPERANDS_8(s, i), OPERANDS_4(s, i + 8)
#define OPERANDS_16(s, i) OPERANDS_8(s, i), OPERANDS_8(s, i + 8)
#define OPERANDS_24(s, i) OPERANDS_16(s, i), OPERANDS_8(s, i + 16)
#define OPERANDS_32(s, i) OPERANDS_16(s, i), OPERANDS_16(s, i + 16)
#define OPERANDS_48(s, i) OPERANDS_32(s, i), OPERANDS_16(s, i + 32)
#define OPERANDS_64(s, i) OPERANDS_32(s, i), OPERANDS_32(s, i + 32)
#define OPERANDS_72(s, i) OPERANDS_64(s, i), OPERANDS_8(s, i + 64)
#define OPERANDS_96(s, i) OPERANDS_64(s, i), OPERANDS_32(s, i + 64)
#define OPERANDS_128(s, i) OPERANDS_64(s, i), OPERANDS_64(s, i + 64)
// Two, four and eight blocks of four sums: products of 64 x 16, 64 x 32 and 64 x 64.
#define OPERANDS_2X4(s) OPERANDS_4(s[0], 0), OPERANDS_4(s[1], 0)
#define OPERANDS_4X4(s) OPERANDS_2X4(s), OPERANDS_4(s[2], 0), OPERANDS_4(s[3], 0)
#define OPERANDS_8X4(s) OPERANDS_4(s[0], 0), OPERANDS_4(s[1], 0), OPERANDS_4(s[2], 0), OPERANDS_4(s[3], 0), \
                        OPERANDS_4(s[4], 0), OPERANDS_4(s[5], 0), OPERANDS_4(s[6], 0), OPERANDS_4(s[7], 0)

// The text of the operands 0 to COUNT - 1.
#define REGISTERS_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define REGISTERS_12 REGISTERS_8 ", %8, %9, %10, %11"
#define REGISTERS_16 REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define REGISTERS_24 REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define REGISTERS_32 REGISTERS_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS_48 REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define REGISTERS_64 REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_72 REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define REGISTERS_96 REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define REGISTERS_128 REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// As wgmma_wait(). Naming the sums keeps the compiler from reading them before the wait.
template <int PENDING> DEVICE void wgmma_wait(float (&sums)[8][4]) {
  asm volatile("wgmma.wait_group.sync.aligned %32;" : OPERANDS_8X4(sums) : "n"(PENDING) : "memory");
}

// Keeps the operands of a product in flight in their registers up to here, behind the wait. To the compiler they are dead
// as soon as the product is issued.
template <int STEPS> DEVICE void keep_operands(u32 (&a)[STEPS][4]) {
#pragma unroll
  for (int k = 0; k < STEPS; k++) asm volatile("" : "+r"(a[k][0]), "+r"(a[k][1]), "+r"(a[k][2]), "+r"(a[k][3]));
}

// Shared-memory matrix descriptor of a tile of rows of ROW_BYTES in the swizzle of as many bytes (PTX ISA, "matrix
// descriptor"): address / 16 in bits 0-13, the leading offset / 16 in bits 16-29, the distance between groups of eight rows
// / 16 in bits 32-45, in bits 62-63 the swizzle mode: 1 of 128 bytes, 2 of 64, 3 of 32. The leading offset is the distance
// between neighbours of ROW_BYTES in a row. The hardware does not use it here, because a row has no more.
template <int ROW_BYTES = 128> DEVICE u64 matrix_descriptor(u32 address, u32 leading_bytes) {
  static_assert(ROW_BYTES == 128 || ROW_BYTES == 64 || ROW_BYTES == 32, "swizzle");
  constexpr u64 MODE = ROW_BYTES == 128 ? 1 : ROW_BYTES == 64 ? 2 : 3;
  return (u64)((address & 0x3ffff) >> 4) | (u64)(leading_bytes >> 4) << 16 | (u64)(8 * ROW_BYTES >> 4) << 32 | MODE << 62;
}

// sums[64 x N] (+)= X[64 x 16] . W[N x 16]^T for one warpgroup, both operands described in shared memory. Warp w holds rows
// 16 w to 16 w + 15, in N / 8 blocks laid out as those of mma.sync. With `accumulate` 0 the sums are overwritten, which
// saves clearing them.
template <int N> DEVICE void wgmma(float (&sums)[N / 2], u64 x, u64 w, int accumulate);

// The instruction names every register, so each N has its own specialisation. COUNT registers of sums are operands 0 to
// COUNT - 1; X_AT, W_AT and FLAG_AT are the numbers of the three operands after them.
#define DEFINE_WGMMA(N, COUNT, X_AT, W_AT, FLAG_AT)                                                                          \
  template <> DEVICE void wgmma<N>(float (&sums)[COUNT], u64 x, u64 w, int accumulate) {                                     \
    asm volatile("{ .reg .pred accumulate;\n setp.ne.b32 accumulate, %" #FLAG_AT ", 0;\n"                                    \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." ELEMENT_PTX "." ELEMENT_PTX " {" REGISTERS_##COUNT "}, "  \
                 "%" #X_AT ", %" #W_AT ", accumulate, 1, 1, 0, 0; }"                                                         \
                 : OPERANDS_##COUNT(sums, 0) : "l"(x), "l"(w), "r"(accumulate));                                             \
  }
DEFINE_WGMMA(24, 12, 12, 13, 14)
DEFINE_WGMMA(32, 16, 16, 17, 18)
DEFINE_WGMMA(48, 24, 24, 25, 26)
DEFINE_WGMMA(64, 32, 32, 33, 34)
DEFINE_WGMMA(96, 48, 48, 49, 50)
DEFINE_WGMMA(128, 64, 64, 65, 66)
DEFINE_WGMMA(144, 72, 72, 73, 74)
DEFINE_WGMMA(192, 96, 96, 97, 98)
DEFINE_WGMMA(256, 128, 128, 129, 130)

// sums[64 x N] (+)= a[64 x 16] . b[16 x N] for one warpgroup, N = 64, 32 or 16. `a` holds the fragments of its warps in registers. `b` is
// described in shared memory, with its k dimension contiguous, or its n dimension if TRANSPOSED. The sums are overwritten
// unless `accumulate`.
#define DEFINE_WGMMA_OF_REGISTERS(N, BLOCKS, COUNT, A0, A1, A2, A3, B_AT, FLAG_AT, TRANSPOSED_AT)                            \
  template <bool TRANSPOSED> DEVICE void wgmma_64xNx16(float (&sums)[BLOCKS][4], const u32 (&a)[4], u64 b, bool accumulate) { \
    asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %" #FLAG_AT ", 0;\n"                                    \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." ELEMENT_PTX "." ELEMENT_PTX " {" REGISTERS_##COUNT "}, "   \
                 "{%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B_AT ", accumulate, 1, 1, %" #TRANSPOSED_AT ";\n}"            \
                 : OPERANDS_##BLOCKS##X4(sums)                                                                                \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)accumulate), "n"(TRANSPOSED ? 1 : 0));        \
  }
DEFINE_WGMMA_OF_REGISTERS(16, 2, 8, 8, 9, 10, 11, 12, 13, 14)
DEFINE_WGMMA_OF_REGISTERS(32, 4, 16, 16, 17, 18, 19, 20, 21, 22)
DEFINE_WGMMA_OF_REGISTERS(64, 8, 32, 32, 33, 34, 35, 36, 37, 38)
