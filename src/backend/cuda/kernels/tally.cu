// tally.cu: tallies the tensors of a forward that is examined, between the kernels that compute it. It writes nothing but the
// tallies, so the forward computes the same bits. No timed forward has these kernels.
//
// What is left out is what no operation reads: padding and masked scores, as in src/backend/reference/examine.rs.
//
// Compiled after stepwise.cu, whose formats and reductions it uses.

// Tally of one operation. FP32 numbers that are not negative order as their bits do, so they are compared as bits.
struct OpTally {
    u64 largest;        // bits of the largest finite magnitude
    u64 nan, inf;       // numbers of elements
    u64 rows, silent;   // of a layer norm
    u64 least_scale;    // bits of the least positive reciprocal deviation of a row
    u64 deviation;      // bits of the largest finite deviation from a row's mean, in magnitude
};

struct TallyArguments {
    const void* values;  // [rows, stride]
    const int* lengths;  // [batch]
    OpTally* tally;
    int stride, width;
    int sequence;   // tokens of a sequence; 0 where a row belongs to a whole sequence
    int heads;      // where a row has the scores of one query, else 0
    int causal;
    float scale;    // of scores that are stored before they are scaled
    float epsilon;  // of a layer norm
};

// How many leading elements of a row some operation reads.
__device__ int elements_read(const TallyArguments& a, u64 row) {
    if (!a.sequence) return a.width;
    const int token = row % a.sequence;
    const int length = a.lengths[row / a.sequence / (a.heads ? a.heads : 1)];
    if (token >= length) return 0;
    if (!a.heads) return a.width;
    return a.causal ? token + 1 : length;
}

__device__ void count(u64* counter, u32 found) {
    found = __reduce_add_sync(~0u, found);
    if (found && threadIdx.x % 32 == 0) atomicAdd(counter, (u64)found);
}

// One block per row. Scores that are stored narrow (format S not exact) are scaled as the softmax scales them.
template <class IN, class S> __device__ void tally_tensor(const TallyArguments& a) {
    wait_for_predecessors();
    const u64 start = (u64)blockIdx.x * a.stride;
    const int read_elements = elements_read(a, blockIdx.x);
    const float infinity = __int_as_float(0x7f800000);
    float largest = 0.f;
    u32 nan = 0, inf = 0;
    for (int i = threadIdx.x; i < read_elements; i += BLOCK) {
        float x = read<IN>(a.values, start + i);
        if (!S::exact) x = rounded<S>(rounded<S>(x) * a.scale);
        const float magnitude = fabsf(x);
        if (magnitude < infinity) largest = fmaxf(largest, magnitude);
        else if (magnitude == infinity) inf++;
        else nan++;
    }
    largest = block_maximum(largest);
    count(&a.tally->nan, nan);
    count(&a.tally->inf, inf);
    if (threadIdx.x == 0) atomicMax(&a.tally->largest, (u64)__float_as_uint(largest));
}

// One block per row; shared memory: 3 x width floats. The steps are those of `layer_norm` up to the reciprocal deviation.
template <class IN, class C, class A, bool DIVIDE_FIRST> __device__ void tally_layer_norm(const TallyArguments& a) {
    extern __shared__ float shared[];
    float *row = shared, *work = shared + a.width, *scratch = work + a.width;
    wait_for_predecessors();
    if (!elements_read(a, blockIdx.x)) return;
    const u64 start = (u64)blockIdx.x * a.stride;
    for (int i = threadIdx.x; i < a.width; i += BLOCK) row[i] = work[i] = rounded<C>(read<IN>(a.values, start + i));
    const float mean = row_mean<C, A, DIVIDE_FIRST>(work, scratch, a.width);
    const float infinity = __int_as_float(0x7f800000);
    float deviation = 0.f;
    for (int i = threadIdx.x; i < a.width; i += BLOCK) {
        row[i] = rounded<C>(row[i] - mean);
        work[i] = rounded<C>(row[i] * row[i]);
        const float magnitude = fabsf(row[i]);
        if (magnitude < infinity) deviation = fmaxf(deviation, magnitude);
    }
    const float variance = row_mean<C, A, DIVIDE_FIRST>(work, scratch, a.width);
    const float stabilised = rounded<C>(variance + rounded<C>(a.epsilon));
    const float scale = rounded<C>(1.f / sqrtf(stabilised));
    deviation = block_maximum(deviation);
    if (threadIdx.x) return;
    atomicAdd(&a.tally->rows, (u64)1);
    if (scale == 0.f) atomicAdd(&a.tally->silent, (u64)1);
    // False for NaN.
    if (scale > 0.f) atomicMin(&a.tally->least_scale, (u64)__float_as_uint(scale));
    atomicMax(&a.tally->deviation, (u64)__float_as_uint(deviation));
}
