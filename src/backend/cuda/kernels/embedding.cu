// embedding.cu: the sum of token and position embeddings, and the layer norm that follows it.
//
//   sum[t] = (word[ids[t]] + token_type[types[t]]) + position[t % sequence]      without token types: word + position
//
// The residual stream is the normalised sum in BERT (POST). In GPT-2 it is the sum, and the first layer norm's rows are stored
// beside it (PRE) or by a kernel of their own (KEEP). PRE is also for a sum that nothing but the norm reads and that the policy
// rounds first: it then has no stream. There is one token per row, and rows stay in registers: see layer_norm.cu, whose row
// functions this file uses.
//
// What the host has to know (mirrored in Rust):
//   arguments  one EmbeddingArguments by value
//   block      32 * WARPS * ROWS threads; grid ceil(rows / ROWS) or less; shared memory static only
//   ids, types each in the range of its table, and sequence at most the rows of `positions`; the host checks this
//   alignment  16 bytes for every pointer; WIDTH a multiple of 4
//
// Compiled after prelude.cu and layer_norm.cu.

struct EmbeddingArguments {
  const int* ids;          // [rows]
  const void* words;       // [vocabulary, WIDTH], Table
  const void* positions;   // [positions, WIDTH], Table
  const void* token_type;  // [types, WIDTH], Table; or null
  const int* types;        // [rows]; null where all tokens are of type 0
  const float* gain;       // [WIDTH]; KEEP does not use gain, shift and epsilon
  const float* shift;      // [WIDTH]
  void* stream;            // [rows, WIDTH], Stream, or null
  void* normalised;        // [rows, WIDTH], Output, or null; KEEP does not use it
  int rows;                // batch * sequence
  int sequence;
  float epsilon;
};

// Tables are constant, so these loads may stay in L1, where the position and type rows are read again.
DEVICE float4 load_table(const float* source) { return *reinterpret_cast<const float4*>(source); }
DEVICE float4 load_table(const u16* source) {
  const uint2 packed = *reinterpret_cast<const uint2*>(source);
  return make_float4(low_element(packed.x), high_element(packed.x), low_element(packed.y), high_element(packed.y));
}

template <class Shape, class Table, class Stream>
DEVICE void load_embedding(float4 (&values)[Shape::STEPS], const EmbeddingArguments& arguments, int row, int lane) {
  const Table* word = static_cast<const Table*>(arguments.words) + static_cast<u64>(arguments.ids[row]) * Shape::WIDTH;
  const Table* position = static_cast<const Table*>(arguments.positions) + row % arguments.sequence * Shape::WIDTH;
  const Table* token_type = static_cast<const Table*>(arguments.token_type);
  if (arguments.types) token_type += arguments.types[row] * Shape::WIDTH;
#pragma unroll
  for (int s = 0; s < Shape::STEPS; s++) {
    const int column = (s * Shape::LANES + lane) * 4;
    values[s] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (Shape::inside(s, lane)) {
      values[s] = load_table(word + column);
      if (token_type) values[s] = add(values[s], load_table(token_type + column));
      values[s] = round_to<Stream>(add(values[s], load_table(position + column)));
    }
  }
}

template <class Shape, class Table, class Stream, class Output, Norm NORM>
DEVICE void embedding(const EmbeddingArguments& arguments) {
  __shared__ RowScratch<Shape> scratch;
  const int lane = threadIdx.x % Shape::LANES;
  const int row_of_cta = threadIdx.x / Shape::LANES;
  float4 gain[Shape::STEPS], shift[Shape::STEPS];
  if (NORM != Norm::KEEP) {
    load_parameters<Shape>(gain, arguments.gain, lane);
    load_parameters<Shape>(shift, arguments.shift, lane);
  }

  wait_for_dependencies();
  allow_dependents();

  const int blocks = (arguments.rows + Shape::ROWS - 1) / Shape::ROWS;
#pragma unroll 1
  for (int block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int own_row = block * Shape::ROWS + row_of_cta;
    const bool spare = own_row >= arguments.rows;  // see layer_norm
    const int row = spare ? arguments.rows - 1 : own_row;
    float4 values[Shape::STEPS];
    load_embedding<Shape, Table, Stream>(values, arguments, row, lane);
    Stream* stream = static_cast<Stream*>(arguments.stream) + static_cast<u64>(row) * Shape::WIDTH;
    const bool store_stream = arguments.stream && !spare;
    if (NORM != Norm::POST && store_stream) store_row<Shape>(stream, values, lane);
    if (NORM == Norm::KEEP) continue;
    normalise_row<Shape>(values, gain, shift, arguments.epsilon, scratch, row_of_cta, lane);
    if (NORM == Norm::POST && store_stream) store_row<Shape>(stream, values, lane);
    if (arguments.normalised && !spare) {
      store_row<Shape>(static_cast<Output*>(arguments.normalised) + static_cast<u64>(row) * Shape::WIDTH, values, lane);
    }
  }
}

// EMBEDDING(name, WIDTH, WARPS, ROWS, Table, Stream, Output, NORM) defines the kernel `name`. Table, Stream and Output are float
// or u16; the sum is rounded to Stream before it is normalised. NORM is KEEP, PRE or POST.
#define EMBEDDING(NAME, WIDTH, WARPS, ROWS, TABLE, STREAM, OUTPUT, NORM)                                               \
  extern "C" __global__ void __launch_bounds__(32 * (WARPS) * (ROWS), 1) NAME(const EmbeddingArguments arguments) {    \
    embedding<RowShape<WIDTH, WARPS, ROWS>, TABLE, STREAM, OUTPUT, Norm::NORM>(arguments);                             \
  }
