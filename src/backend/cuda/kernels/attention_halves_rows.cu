// attention_halves_rows.cu: what attention_halves.cu and attention_halves_wgmma.cu do with the scores of their query rows, under
// policies that round scores, softmax and probabilities to FP16. Every step has the bits of `softmax` in stepwise.cu. Compiled
// after prelude.cu, halves.cu and attention_rows.cu.
//
// The policy divides by the sum over the whole row before it multiplies with the values, and sums by a tree over neighbours.
// So a warp keeps the scores of its 16 rows over all keys in shared memory, its strip, and walks over them twice: once for the
// exponentials and their sum, once for the probabilities. A strip is chunks of 16 keys, each 16 bytes a lane, in the layout of
// the A fragment of mma.m16n8k16:
//
//   .x  row lane / 4,      keys 2 (lane % 4) and the next        .z  the same row,  8 keys later
//   .y  row lane / 4 + 8,  the same keys                         .w  row + 8,       8 keys later

struct HalvesArguments {
  const u16* qkv;      // [batch * sequence, 3 * heads * HEAD]: Q, K, V side by side, bias already added
  u16* context;        // [batch * sequence, heads * HEAD]
  const int* lengths;  // [batch]
  int sequence;
  int heads;
  float scale;  // of the scores
};

constexpr u32 MINUS_INFINITIES = 0xfc00fc00u;

// Bytes of a strip per key.
constexpr int STRIP_KEY_BYTES = 16 * 2;

// A sum by the policy's tree over parts that arrive in order, each over the same power of two of neighbours. Bit l of `count`
// says that partial[l] holds the sum of 2^l parts. `count` is the same in all lanes, so no branch diverges.
struct ArrivingSum {
  static constexpr int LEVELS = 8;
  u32 partial[LEVELS];
  u32 count = 0;

  DEVICE void add(u32 part) {
    carry<0>(part);
    count++;
  }
  // Half of the parts end at level 0, a quarter at level 1, and so on.
  template <int LEVEL> DEVICE void carry(u32 part) {
    if constexpr (LEVEL + 1 < LEVELS) {
      if (count >> LEVEL & 1) {
        carry<LEVEL + 1>(add_halves(partial[LEVEL], part));
        return;
      }
    }
    partial[LEVEL] = part;
  }
  // What is left over at a level is carried up to its left neighbour.
  DEVICE u32 total() const {
    u32 sum = MINUS_ZEROS;
#pragma unroll
    for (int level = 0; level < LEVELS; level++) {
      if (count >> level & 1) sum = add_halves(partial[level], sum);
    }
    return sum;
  }
};

// Rounds the scores of two neighbouring 8-key blocks to FP16, scales them in FP32 and rounds again. If FP16 holds the scale
// (EXACT_SCALE), FP32 holds the product, and so one FP16 product has the same bits.
template <bool EXACT_SCALE> DEVICE uint4 scaled_scores(const float (&left)[4], const float (&right)[4], float scale) {
  u32 words[4];
  pack_probabilities(words, left, right);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if constexpr (EXACT_SCALE) words[i] = multiply_halves(words[i], both_halves(scale));
    else words[i] = pack_elements(low_element(words[i]) * scale, high_element(words[i]) * scale);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Keys of a chunk that a row does not see become minus infinity: their exponential is 0, and 0 changes no sum of exponentials.
DEVICE u32 mask_keys(u32 word, int key, int end) {
  if (key >= end) word = word & 0xffff0000u | MINUS_INFINITIES & 0xffffu;
  if (key + 1 >= end) word = word & 0xffffu | MINUS_INFINITIES & 0xffff0000u;
  return word;
}
template <bool CAUSAL> DEVICE void mask_chunk(uint4& chunk, int first_key, int first_row, int length, int lane) {
  const int key = first_key + (lane & 3) * 2, row = first_row + (lane >> 2);
  const int end = CAUSAL && row + 1 < length ? row + 1 : length, lower_end = CAUSAL && row + 9 < length ? row + 9 : length;
  chunk.x = mask_keys(chunk.x, key, end);
  chunk.y = mask_keys(chunk.y, key, lower_end);
  chunk.z = mask_keys(chunk.z, key + 8, end);
  chunk.w = mask_keys(chunk.w, key + 8, lower_end);
}

// The largest scores of a thread's two rows, those of even keys in the low halves. fmaxf and this ignore NaN.
struct RowMaxima {
  u32 upper = MINUS_INFINITIES, lower = MINUS_INFINITIES;

  DEVICE void add(const uint4& chunk) {
    upper = max_halves(upper, max_halves(chunk.x, chunk.z));
    lower = max_halves(lower, max_halves(chunk.y, chunk.w));
  }
  // Over the warp's keys: of row lane / 4 in the low half, of row lane / 4 + 8 in the high half.
  DEVICE u32 of_warp() const {
    u32 largest = max_halves(low_halves(upper, lower), high_halves(upper, lower));
    largest = max_halves(largest, __shfl_xor_sync(~0u, largest, 1));
    return max_halves(largest, __shfl_xor_sync(~0u, largest, 2));
  }
};

DEVICE u32 exponentials(u32 scores, u32 largest) {
  const u32 exponents = subtract_halves(scores, largest);
  return pack_elements(expf(low_element(exponents)), expf(high_element(exponents)));
}

// Replaces a chunk of the strip by its exponentials. Returns their sum over the chunk's keys, of the two rows in the two halves.
DEVICE u32 exponential_chunk(uint4* chunk, u32 largest, int lane) {
  const u32 upper = low_halves(largest, largest), lower = high_halves(largest, largest);
  uint4 words = *chunk;
  words.x = exponentials(words.x, upper);
  words.y = exponentials(words.y, lower);
  words.z = exponentials(words.z, upper);
  words.w = exponentials(words.w, lower);
  *chunk = words;
  // Neighbours first: the two keys of a word, then the lanes of the quad, then the two blocks. Even lanes take the left block
  // and odd lanes the right one, which saves an exchange.
  const u32 left = add_neighbours(words.x, words.y), right = add_neighbours(words.z, words.w);
  const bool odd = lane & 1;
  u32 sum = add_halves(odd ? right : left, __shfl_xor_sync(~0u, odd ? left : right, 1));
  sum = add_halves(sum, __shfl_xor_sync(~0u, sum, 2));
  return add_halves(sum, __shfl_xor_sync(~0u, sum, 1));
}

// The sum of a tile of CHUNKS chunks, STRIDE apart: 32 in a strip, 1 in registers.
template <int CHUNKS, int STRIDE = 32> DEVICE u32 exponential_tile(uint4* chunks, u32 largest, int lane) {
  u32 sums[CHUNKS];
#pragma unroll
  for (int i = 0; i < CHUNKS; i++) sums[i] = exponential_chunk(chunks + i * STRIDE, largest, lane);
  return tree_sum<CHUNKS>(sums);
}

// Divides by the sum of a row. An exponential and the sum are FP16 numbers, the sum is 1 or more, or NaN. With the reciprocal and
// its error, the FP32 quotient is off by its last rounding alone. Rounded to FP16 it has the bits of a division for every
// exponential and every sum up to 2048 (all 173,041,665 pairs; with the reciprocal alone 810 differ).
struct Divisor {
  float reciprocal, error;
  DEVICE explicit Divisor(float sum) : reciprocal(1.f / sum), error(fmaf(-sum, reciprocal, 1.f) * reciprocal) {}
  DEVICE float quotient(float x) const { return fmaf(x, reciprocal, x * error); }
  DEVICE u32 quotients(u32 x) const { return pack_elements(quotient(low_element(x)), quotient(high_element(x))); }
};

struct RowDivisors {
  Divisor upper, lower;
  DEVICE explicit RowDivisors(u32 sums) : upper(low_element(sums)), lower(high_element(sums)) {}
  // The probabilities of a chunk of exponentials.
  DEVICE uint4 probabilities(const uint4& chunk) const {
    return make_uint4(upper.quotients(chunk.x), lower.quotients(chunk.y), upper.quotients(chunk.z), lower.quotients(chunk.w));
  }
};

// Stores BLOCKS blocks of a warp's 16 rows of the context, rounded to FP16. `context` is that of the warp's first row and the
// first block's column.
template <int BLOCKS> DEVICE void store_context(u16* context, int pitch, int valid, const float (&output)[BLOCKS][4], int lane) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = (lane >> 2) + half * 8;
    if (row >= valid) continue;
#pragma unroll
    for (int j = 0; j < BLOCKS; j++)
      *(u32*)(context + row * pitch + j * 8 + (lane & 3) * 2) = pack_elements(output[j][half * 2], output[j][half * 2 + 1]);
  }
}
