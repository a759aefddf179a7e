// head_product.cu: the products of one attention head over materialised scores, for policies whose fused attention must have the
// bits of single operations. A tensor core adds the 16 products of a step to a sum, and the steps follow each other from the
// first to the last element of the depth, as in attention_halves.cu. cuBLASLt does not promise any order. Speed comes second:
// only an examined forward runs it.
//
//   y[rows, columns] = x[rows, depth] . w        w: [columns, depth], or [depth, columns]
//
// What the host has to know (mirrored in Rust):
//   arguments  one HeadProductArguments by value
//   grid       (ceil(columns / 32), ceil(rows / 16), products); block 128 threads: a warp has 16 rows and 8 columns
//   alignment  strides and pitches are even
//
// Compiled after prelude.cu.

struct HeadProductArguments {
  const u16* x;
  const u16* w;
  u16* y;
  u64 x_pitch, w_pitch, y_pitch;   // elements from one matrix to the next
  int x_stride, w_stride, y_stride;
  int rows, columns, depth;
};

// Elements k and k + 1 of the depth at row or column `line`, 0 beyond the ends. `step` is the distance between them.
DEVICE u32 load_pair(const u16* matrix, int line, int lines, int k, int depth, int line_stride, int step) {
  const u16* const first = matrix + (u64)line * line_stride + (u64)k * step;
  const u32 low = line < lines && k < depth ? first[0] : 0, high = line < lines && k + 1 < depth ? first[step] : 0;
  return low | high << 16;
}

template <bool BY_COLUMNS> DEVICE void head_product(const HeadProductArguments& a) {
  wait_for_dependencies();
  const int lane = threadIdx.x & 31, quad = lane >> 2, pair = (lane & 3) * 2;
  const int row = blockIdx.y * 16 + quad, column = blockIdx.x * 32 + threadIdx.x / 32 * 8;
  const u16 *const x = a.x + blockIdx.z * a.x_pitch, *const w = a.w + blockIdx.z * a.w_pitch;
  const int line = BY_COLUMNS ? a.w_stride : 1, step = BY_COLUMNS ? 1 : a.w_stride;
  float sums[4] = {};
#pragma unroll 1
  for (int k = pair; k - pair < a.depth; k += 16) {
    const u32 fragment[4] = {load_pair(x, row, a.rows, k, a.depth, a.x_stride, 1), load_pair(x, row + 8, a.rows, k, a.depth, a.x_stride, 1),
                             load_pair(x, row, a.rows, k + 8, a.depth, a.x_stride, 1), load_pair(x, row + 8, a.rows, k + 8, a.depth, a.x_stride, 1)};
    multiply_accumulate(sums, fragment, load_pair(w, column + quad, a.columns, k, a.depth, line, step),
                        load_pair(w, column + quad, a.columns, k + 8, a.depth, line, step));
  }
  u16* const y = a.y + blockIdx.z * a.y_pitch;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int own_row = row + i / 2 * 8, own_column = column + pair + i % 2;
    if (own_row < a.rows && own_column < a.columns) y[(u64)own_row * a.y_stride + own_column] = (u16)pack_elements(sums[i], 0.f);
  }
}

// HEAD_PRODUCT(name, BY_COLUMNS) defines the kernel `name`; BY_COLUMNS: w is [columns, depth].
#define HEAD_PRODUCT(NAME, BY_COLUMNS) \
  extern "C" __global__ void __launch_bounds__(128) NAME(const HeadProductArguments arguments) { head_product<BY_COLUMNS>(arguments); }
