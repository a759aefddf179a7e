// stepwise.cu: one kernel per operation of the graph, with a rounding after every elementary operation, exactly as a
// precision policy defines it. The order of operations and of sums is that of the reference backend
// (src/backend/reference/), so the results of a policy that rounds to FP16 can be compared value by value, overflow
// included. Speed comes second: what is timed runs in fused kernels where there are any, with the same bits
// (layer_norm_halves.cu, attention_halves.cu).
//
// NVRTC compiles it after formats.cu and activation.cu, without headers. No fast-math: the study is about rounding, and
// fast-math flushes subnormals.

template <class T> __device__ __forceinline__ float read(const void* base, u64 index) {
    return T::widen(((const typename T::stored*)base)[index]);
}

template <class T> __device__ __forceinline__ void write(void* base, u64 index, float x) {
    if (base) ((typename T::stored*)base)[index] = T::narrow(x);
}

// Waits for the kernels before this one. Kernels of this file never let their successors start early.
__device__ __forceinline__ void wait_for_predecessors() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ------------------------------------------------------------------------------------------------------------ reductions
// A block of 256 threads reduces the `count` values of `values` (shared memory, overwritten) as the policies define it: a
// binary tree over neighbours, every partial sum rounded, an odd tail carried up. FP32 sums use the same tree.
constexpr int BLOCK = 256;

template <class A> __device__ float tree_sum(float* values, float* scratch, int count) {
    __syncthreads();
    while (count > 1) {
        const int half = count / 2;
        for (int i = threadIdx.x; i < half; i += BLOCK) scratch[i] = rounded<A>(values[2 * i] + values[2 * i + 1]);
        if (count % 2 && threadIdx.x == 0) scratch[half] = values[count - 1];
        __syncthreads();
        float* swapped = values;
        values = scratch;
        scratch = swapped;
        count = half + count % 2;
    }
    const float total = count ? values[0] : 0.f;
    __syncthreads();
    return total;
}

__device__ float block_maximum(float x) {
    __shared__ float warps[BLOCK / 32];
#pragma unroll
    for (int lane = 16; lane; lane /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lane));
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = warps[0];
#pragma unroll
    for (int warp = 1; warp < BLOCK / 32; warp++) x = fmaxf(x, warps[warp]);
    __syncthreads();
    return x;
}

// ------------------------------------------------------------------------------------------------------------ embedding
struct EmbeddingArguments {
    const int* ids;
    const void* word;
    const void* position;
    const void* token_type;  // null where the model has none
    const int* types;        // of the tokens; null where all are of type 0
    void* out;               // [tokens, width]
    void* copy;              // the same in the second format, or null
    int width, sequence;
};

// (word + type) + position, each sum rounded to A. One block per token.
template <class TABLE, class OUT, class COPY, class A> __device__ void embedding(const EmbeddingArguments& a) {
    wait_for_predecessors();
    const u64 token = blockIdx.x;
    const u64 word = (u64)a.ids[token] * a.width, position = (u64)(token % a.sequence) * a.width;
    const u64 type = a.types ? (u64)a.types[token] * a.width : 0;
    for (int i = threadIdx.x; i < a.width; i += BLOCK) {
        float sum = read<TABLE>(a.word, word + i);
        if (a.token_type) sum = rounded<A>(sum + read<TABLE>(a.token_type, type + i));
        sum = rounded<A>(sum + read<TABLE>(a.position, position + i));
        write<OUT>(a.out, token * a.width + i, sum);
        write<COPY>(a.copy, token * a.width + i, sum);
    }
}

// ------------------------------------------------------------------------------------------------------------ layer norm
struct LayerNormArguments {
    const void* in;     // [rows, width]
    const void* gamma;  // in format C
    const void* beta;
    void* out;
    void* copy;
    int width;
    float epsilon;
};

template <class C, class A, bool DIVIDE_FIRST> __device__ float row_mean(float* values, float* scratch, int width) {
    const float n = rounded<C>((float)width);
    if (DIVIDE_FIRST) {
        __syncthreads();
        for (int i = threadIdx.x; i < width; i += BLOCK) values[i] = rounded<C>(values[i] / n);
    }
    const float total = tree_sum<A>(values, scratch, width);
    return DIVIDE_FIRST ? rounded<C>(total) : rounded<C>(total / n);
}

// One block per row; shared memory: 3 x width floats. If the variance overflows, the reciprocal deviation is 0 and the row
// silently becomes beta. The study counts such rows.
template <class IN, class OUT, class COPY, class C, class A, bool DIVIDE_FIRST>
__device__ void layer_norm(const LayerNormArguments& a) {
    extern __shared__ float shared[];
    float *row = shared, *work = shared + a.width, *scratch = work + a.width;
    wait_for_predecessors();
    const u64 start = (u64)blockIdx.x * a.width;
    for (int i = threadIdx.x; i < a.width; i += BLOCK) row[i] = work[i] = rounded<C>(read<IN>(a.in, start + i));
    const float mean = row_mean<C, A, DIVIDE_FIRST>(work, scratch, a.width);
    for (int i = threadIdx.x; i < a.width; i += BLOCK) {
        row[i] = rounded<C>(row[i] - mean);
        work[i] = rounded<C>(row[i] * row[i]);
    }
    const float variance = row_mean<C, A, DIVIDE_FIRST>(work, scratch, a.width);
    const float stabilised = rounded<C>(variance + rounded<C>(a.epsilon));
    const float scale = rounded<C>(1.f / sqrtf(stabilised));
    for (int i = threadIdx.x; i < a.width; i += BLOCK) {
        const float scaled = rounded<C>(rounded<C>(row[i] * scale) * read<C>(a.gamma, i));
        const float y = rounded<C>(scaled + read<C>(a.beta, i));
        write<OUT>(a.out, start + i, y);
        write<COPY>(a.copy, start + i, y);
    }
}

// ------------------------------------------------------------------------------------------------------------ softmax
struct SoftmaxArguments {
    const void* scores;   // [batch, heads, sequence, stride]
    void* probabilities;  // same shape; may alias scores, because a block reads its row before it writes it
    const int* lengths;   // [batch]
    int heads, sequence, stride;
    float scale;  // applied here where scores are stored narrow, else 1
};

// One block per query; shared memory: 3 x sequence floats. Masked keys get 0 by selection. Scores that are stored narrow
// (format S not exact) are scaled after the store and rounded again, as in eager attention.
template <class IN, class OUT, class S, class C, class A, class STORE, bool CAUSAL>
__device__ void softmax(const SoftmaxArguments& a) {
    extern __shared__ float shared[];
    float *row = shared, *work = shared + a.sequence, *scratch = work + a.sequence;
    wait_for_predecessors();
    const int query = blockIdx.x;
    const u64 start = ((u64)blockIdx.y * a.sequence + query) * a.stride;
    const int length = a.lengths[blockIdx.y / a.heads];
    const int keys = CAUSAL && query + 1 < length ? query + 1 : length;
    float largest = __int_as_float(0xff800000);
    for (int i = threadIdx.x; i < keys; i += BLOCK) {
        float score = read<IN>(a.scores, start + i);
        if (!S::exact) score = rounded<S>(rounded<S>(score) * a.scale);
        row[i] = rounded<C>(score);
        largest = fmaxf(largest, row[i]);
    }
    largest = block_maximum(largest);
    for (int i = threadIdx.x; i < keys; i += BLOCK) row[i] = work[i] = rounded<C>(expf(rounded<C>(row[i] - largest)));
    const float total = tree_sum<A>(work, scratch, keys);
    for (int i = threadIdx.x; i < a.stride; i += BLOCK)
        write<OUT>(a.probabilities, start + i, i < keys ? rounded<STORE>(rounded<C>(row[i] / total)) : 0.f);
}

// ------------------------------------------------------------------------------------------------------------ heads
struct SplitHeadsArguments {
    const void* packed;  // [batch, sequence, 3, heads, size]
    void* split;         // [3, batch, heads, sequence, size]
    const int* lengths;
    int batch, sequence, heads, size;
};

// Splits queries, keys and values by head, so that each attention product is one batched GEMM. Keys and values beyond a
// row's length become 0: a NaN there must not reach the sums through a probability of 0.
template <class IN, class OUT> __device__ void split_heads(const SplitHeadsArguments& a) {
    wait_for_predecessors();
    const u64 count = (u64)3 * a.batch * a.heads * a.sequence * a.size;
    for (u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x; i < count; i += (u64)gridDim.x * BLOCK) {
        const int element = i % a.size, token = i / a.size % a.sequence;
        const u64 rest = i / ((u64)a.size * a.sequence);
        const int head = rest % a.heads, row = rest / a.heads % a.batch, part = rest / a.heads / a.batch;
        const u64 from = (((u64)row * a.sequence + token) * 3 + part) * a.heads * a.size + head * a.size + element;
        const bool padding = part > 0 && token >= a.lengths[row];
        write<OUT>(a.split, i, padding ? 0.f : read<IN>(a.packed, from));
    }
}

struct MergeHeadsArguments {
    const void* split;  // [batch, heads, sequence, size]
    void* merged;       // [batch, sequence, heads, size]
    void* copy;
    int batch, sequence, heads, size;
};

template <class IN, class OUT, class COPY> __device__ void merge_heads(const MergeHeadsArguments& a) {
    wait_for_predecessors();
    const u64 count = (u64)a.batch * a.heads * a.sequence * a.size;
    for (u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x; i < count; i += (u64)gridDim.x * BLOCK) {
        const int element = i % a.size, head = i / a.size % a.heads;
        const u64 token = i / ((u64)a.size * a.heads);
        const u64 from = ((token / a.sequence * a.heads + head) * a.sequence + token % a.sequence) * a.size + element;
        const float x = read<IN>(a.split, from);
        write<OUT>(a.merged, i, x);
        write<COPY>(a.copy, i, x);
    }
}

// ------------------------------------------------------------------------------------------------------------ element-wise
struct ElementwiseArguments {
    const void* in;
    const void* update;  // the second operand of a sum, or null
    void* out;
    void* copy;
    u64 count;
};

template <int FUNCTION, class C> __device__ float function_of(float in, float update) {
    const float x = rounded<C>(in);
    return FUNCTION == RESIDUAL ? rounded<C>(x + rounded<C>(update)) : activated<FUNCTION, C>(x);
}

// Four neighbouring elements, which one instruction loads. A thread that loads one of 16 bits at a time keeps too few bytes on
// their way. Tensors begin on a multiple of 16 bytes.
template <class T> struct alignas(4 * sizeof(typename T::stored)) Four { typename T::stored of[4]; };

template <int FUNCTION, class IN, class UPDATE, class OUT, class COPY, class C>
__device__ void elementwise(const ElementwiseArguments& a) {
    wait_for_predecessors();
    const u64 first = (u64)blockIdx.x * BLOCK + threadIdx.x, step = (u64)gridDim.x * BLOCK, fours = a.count / 4;
    for (u64 i = first; i < fours; i += step) {
        const Four<IN> in = ((const Four<IN>*)a.in)[i];
        Four<UPDATE> update = {};
        if (FUNCTION == RESIDUAL) update = ((const Four<UPDATE>*)a.update)[i];
        Four<OUT> out;
        Four<COPY> copy;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float y = function_of<FUNCTION, C>(IN::widen(in.of[j]), UPDATE::widen(update.of[j]));
            out.of[j] = OUT::narrow(y);
            copy.of[j] = COPY::narrow(y);
        }
        if (a.out) ((Four<OUT>*)a.out)[i] = out;
        if (a.copy) ((Four<COPY>*)a.copy)[i] = copy;
    }
    for (u64 i = fours * 4 + first; i < a.count; i += step) {
        const float update = FUNCTION == RESIDUAL ? read<UPDATE>(a.update, i) : 0.f;
        const float y = function_of<FUNCTION, C>(read<IN>(a.in, i), update);
        write<OUT>(a.out, i, y);
        write<COPY>(a.copy, i, y);
    }
}

struct SumPartialsArguments {
    const float* partials;  // [parts, count]
    const float* bias;      // [width]
    void* out;              // [count / width, width]
    u64 count;
    int width, parts;
};

// The sum of a product's parts, in their order, and then the bias.
template <class OUT> __device__ void sum_partials(const SumPartialsArguments& a) {
    wait_for_predecessors();
    for (u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x; i < a.count; i += (u64)gridDim.x * BLOCK) {
        float sum = a.partials[i];
        for (int part = 1; part < a.parts; part++) sum += a.partials[part * a.count + i];
        write<OUT>(a.out, i, sum + a.bias[i % a.width]);
    }
}

struct SelectArguments {
    const void* in;      // [batch, sequence, width]
    void* out;           // [batch, width]
    const int* ids;      // [batch, sequence]; only LAST_BUT reads them
    const int* lengths;  // [batch]
    int sequence, width;
    int passed_over;     // the id that LAST_BUT does not select
};

// FIRST is the first token of a sequence, LAST the last one that is not padding, LAST_BUT the last of those that has another id,
// and the first where none has.
enum SelectedToken { FIRST, LAST, LAST_BUT };

// One block per sequence.
template <class IN, class OUT, int TOKEN> __device__ void select(const SelectArguments& a) {
    wait_for_predecessors();
    const u64 start = (u64)blockIdx.x * a.sequence;
    int token = TOKEN == FIRST ? 0 : a.lengths[blockIdx.x] - 1;
    if (TOKEN == LAST_BUT)
        while (token > 0 && a.ids[start + token] == a.passed_over) token--;
    for (int i = threadIdx.x; i < a.width; i += BLOCK)
        write<OUT>(a.out, (u64)blockIdx.x * a.width + i, read<IN>(a.in, (start + token) * a.width + i));
}

// The host writes instances as `INSTANCE(name, Arguments, kernel<formats>)`.
#define INSTANCE(name, Arguments, ...) \
    extern "C" __global__ void __launch_bounds__(BLOCK) name(const Arguments a) { __VA_ARGS__(a); }
