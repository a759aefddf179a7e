// gemm_epilogue.cu: what a matrix product does with its FP32 sums. gemm_mma.cu and gemm_wgmma.cu share it, because their
// instructions leave the sums in the same fragments. Compiled after prelude.cu,
// halves.cu, formats.cu and activation.cu and before one of them.
//
// The product is Y[tokens, width] = X[tokens, depth] . W[width, depth]^T, everything row-major ("a linear layer
// applied to a batch of tokens"). X and W hold 16-bit elements, sums are FP32.

// The kernel parameter, passed by value. The host lays it out field by field (64 bytes, alignment 8).
struct GemmArguments {
  const u16* x;           // [tokens][depth]; gemm_wgmma reads it through a tensor map
  const u16* w;           // [width][depth]; likewise
  const float* bias;      // [width] FP32, 16-byte aligned; EPILOGUE_PARTIAL and EPILOGUE_F32 do not read it
  const void* residual;   // [tokens][y_stride] of the type of y, may be y itself; only EPILOGUE_RESIDUAL_* read it
  void* y;                // [tokens][y_stride], 16-bit or FP32 by the epilogue, 16-byte aligned
  int tokens;             // >= 1; rows past the end read as zeros and are not written
  int width;              // a multiple of the tile's columns
  int depth;              // a multiple of 64
  int y_stride;           // elements from one row of y to the next, a multiple of 8
  int depth_per_split;    // gemm_mma: a multiple of the tile's depth; depth when not split
};

// The epilogues that the policies need. Arithmetic on the sums is FP32; y16 is rounded to the element type.
#define EPILOGUE_BIAS 0          // y16 = round(sum + bias)
#define EPILOGUE_RESIDUAL_F32 1  // y32 = residual32 + (sum + bias), the hybrid policy's FP32 stream
#define EPILOGUE_RESIDUAL_16 2   // y16 = round(residual16 + round(sum + bias)), every tensor 16 bits wide
#define EPILOGUE_PARTIAL 3       // y32[split][tokens][width] = sum; the next layer norm adds them in split order
#define EPILOGUE_F32 4           // y32 = sum, the language-model head
// y16 = round(f(round(sum + bias))) with a function of activation.cu: the same values as a linear layer that stores 16 bits and a
// kernel of f that reads them. The second rounds to FP16 after every step of f.
#define EPILOGUE_ACTIVATION(FUNCTION) (32 + (FUNCTION))
#define EPILOGUE_ACTIVATION_HALVES(FUNCTION) (64 + (FUNCTION))

DEVICE constexpr bool epilogue_reads_bias(int epilogue) { return epilogue != EPILOGUE_PARTIAL && epilogue != EPILOGUE_F32; }
DEVICE constexpr bool epilogue_stores_f32(int epilogue) {
  return epilogue == EPILOGUE_RESIDUAL_F32 || epilogue == EPILOGUE_PARTIAL || epilogue == EPILOGUE_F32;
}

// Exchanges a 4x4 matrix of words among the four lanes of a quad: word i of lane j becomes word j of lane i.
DEVICE void transpose_quad(u32 (&words)[4], int lane) {
  const bool upper = lane & 2, odd = lane & 1;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const u32 received = __shfl_xor_sync(~0u, upper ? words[i] : words[i + 2], 2);
    if (upper) words[i] = received; else words[i + 2] = received;
  }
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const u32 received = __shfl_xor_sync(~0u, odd ? words[i] : words[i + 1], 1);
    if (odd) words[i] = received; else words[i + 1] = received;
  }
}

// A function of two stored elements, in FP32 or with a rounding to FP16 after every step.
template <int FUNCTION> DEVICE float activated_in_fp32(float x) {
  if constexpr (FUNCTION == GELU_ERF) return gelu_erf(x);
  if constexpr (FUNCTION == GELU_TANH) return gelu_tanh(x);
  return activated<FUNCTION, F32>(x);
}
template <int FUNCTION> DEVICE u32 activated_in_halves(u32 x) {
  if constexpr (FUNCTION == GELU_ERF) return gelu_erf_halves(x);
  if constexpr (FUNCTION == GELU_TANH) return gelu_tanh_halves(x);
  return pack_elements(activated<FUNCTION, F16>(low_element(x)), activated<FUNCTION, F16>(high_element(x)));
}

// The epilogue's function of two stored elements if it has one, else the elements themselves.
template <int EPILOGUE> DEVICE u32 activate(u32 linear) {
  constexpr int FUNCTION = EPILOGUE % 32;
  if constexpr (EPILOGUE >= EPILOGUE_ACTIVATION_HALVES(0)) return activated_in_halves<FUNCTION>(linear);
  if constexpr (EPILOGUE >= EPILOGUE_ACTIVATION(0))
    return pack_elements(activated_in_fp32<FUNCTION>(low_element(linear)), activated_in_fp32<FUNCTION>(high_element(linear)));
  return linear;
}

DEVICE u32 add_elements(u32 a, u32 b) { return pack_elements(low_element(a) + low_element(b), high_element(a) + high_element(b)); }

// Stores BLOCKS consecutive 16x8 blocks of one warp's sums, which lie in the fragment layout of the tensor cores: with
// r = lane / 4, sums[4 b] and sums[4 b + 1] belong to row r, columns 8 b + 2 (lane % 4) and the next; sums[4 b + 2] and
// sums[4 b + 3] belong to row r + 8. `row` and `column` are those of the warp's first element. `bias` points to the bias of
// `column`, in shared memory.
template <int EPILOGUE, int BLOCKS>
DEVICE void store_blocks(const GemmArguments& arguments, int row, int column, const float* bias, const float* sums) {
  const int lane = threadIdx.x & 31, quad_lane = lane & 3;
  if constexpr (epilogue_stores_f32(EPILOGUE)) {
    // Four lanes cover 32 contiguous bytes of a row, a whole sector. All residuals are read before the first store: the
    // compiler must assume that they alias, so it would not move a load above a store.
    float2 addends[2][BLOCKS];
    const u64 first = (u64)(row + lane / 4) * arguments.y_stride + column + quad_lane * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const bool inside = row + lane / 4 + half * 8 < arguments.tokens;
      const u64 offset = first + (u64)(half * 8) * arguments.y_stride;
#pragma unroll
      for (int b = 0; b < BLOCKS; b++) {
        addends[half][b] = make_float2(0.0f, 0.0f);
        if constexpr (EPILOGUE == EPILOGUE_RESIDUAL_F32) {
          if (inside) addends[half][b] = *(const float2*)((const float*)arguments.residual + offset + b * 8);
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const bool inside = row + lane / 4 + half * 8 < arguments.tokens;
      float* y = (float*)arguments.y + first + (u64)(half * 8) * arguments.y_stride;
#pragma unroll
      for (int b = 0; b < BLOCKS; b++) {
        float2 value = make_float2(sums[b * 4 + half * 2], sums[b * 4 + half * 2 + 1]);
        if constexpr (EPILOGUE == EPILOGUE_RESIDUAL_F32) {
          const float2 shift = *(const float2*)(bias + b * 8 + quad_lane * 2);
          value.x = addends[half][b].x + (value.x + shift.x);
          value.y = addends[half][b].y + (value.y + shift.y);
        }
        if (inside) *(float2*)(y + b * 8) = value;
      }
    }
  } else {
    // The 16-bit output of the linear layer is packed as a whole before the first activation. That halves its registers.
    u32 linear[2][BLOCKS];
#pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
      const float2 shift = *(const float2*)(bias + b * 8 + quad_lane * 2);
      linear[0][b] = pack_elements(sums[b * 4] + shift.x, sums[b * 4 + 1] + shift.y);
      linear[1][b] = pack_elements(sums[b * 4 + 2] + shift.x, sums[b * 4 + 3] + shift.y);
    }
    constexpr int GROUPED = BLOCKS / 4 * 4;   // four blocks at a time become 16 bytes per lane, 64 per row
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int own_row = row + lane / 4 + half * 8;
      const bool inside = own_row < arguments.tokens;
      const u64 first = (u64)own_row * arguments.y_stride + column;
#pragma unroll
      for (int b = 0; b < GROUPED; b += 4) {
        u32 words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) words[i] = activate<EPILOGUE>(linear[half][b + i]);
        __syncwarp();   // keeps the compiler from starting the next four early, which would take too many registers
        transpose_quad(words, lane);
        const u64 offset = first + (b + quad_lane) * 8;
        if (inside) {
          if constexpr (EPILOGUE == EPILOGUE_RESIDUAL_16) {
            const uint4 residual = *(const uint4*)((const u16*)arguments.residual + offset);
            words[0] = add_elements(residual.x, words[0]); words[1] = add_elements(residual.y, words[1]);
            words[2] = add_elements(residual.z, words[2]); words[3] = add_elements(residual.w, words[3]);
          }
          *(uint4*)((u16*)arguments.y + offset) = make_uint4(words[0], words[1], words[2], words[3]);
        }
      }
#pragma unroll
      for (int b = GROUPED; b < BLOCKS; b++) {
        const u64 offset = first + b * 8 + quad_lane * 2;
        u32 word = activate<EPILOGUE>(linear[half][b]);
        if (inside) {
          if constexpr (EPILOGUE == EPILOGUE_RESIDUAL_16) word = add_elements(*(const u32*)((const u16*)arguments.residual + offset), word);
          *(u32*)((u16*)arguments.y + offset) = word;
        }
      }
    }
  }
}

// How many neighbouring blocks a thread finishes at a time when `parties` share `rows` x `columns` blocks. Stores are wide
// where the blocks divide evenly; where they do not, every party gets a fair share.
DEVICE constexpr int blocks_per_unit(int rows, int columns, int parties) {
  return columns % 4 == 0 && rows * columns / 4 % parties == 0 ? 4 : columns % 2 == 0 && rows * columns / 2 % parties == 0 ? 2 : 1;
}
