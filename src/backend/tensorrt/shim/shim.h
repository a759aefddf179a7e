// The C interface between mixprec and TensorRT 8.6, 10 and 11. `shim.cpp` implements it against the headers of one
// installation; interface.rs declares the same for Rust, so the two change together, and with them MIXPREC_TRT_INTERFACE.
//
// Strings are UTF-8 and end in a zero. A function that fails returns null or 0, and TensorRT's reason is in the messages.
// Networks, engines and bytes are freed before what they were made of. Data types are the numbers of nvinfer1::DataType, which are the
// same in every version.
#ifndef MIXPREC_TENSORRT_SHIM_H
#define MIXPREC_TENSORRT_SHIM_H

#include <stdint.h>

#define MIXPREC_TRT_INTERFACE 1
#define MIXPREC_TRT_RANK 8

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MixprecTrtLibrary MixprecTrtLibrary;
typedef struct MixprecTrtNetwork MixprecTrtNetwork;
typedef struct MixprecTrtEngine MixprecTrtEngine;
typedef struct MixprecTrtBytes MixprecTrtBytes;

// Where TensorRT lies. `plugins` may be null: the parser's own dependency is then the loader's business. `resource` is the
// name of the file of the builder's kernels, without a folder, or null.
typedef struct {
    const char* builder;
    const char* parser;
    const char* plugins;
    const char* resource;
} MixprecTrtFiles;

// Receives TensorRT's log from any thread. Severities are those of ILogger: 0 internal error, 1 error, 2 warning.
typedef struct {
    void* user;
    void (*message)(void* user, int32_t severity, const char* text);
} MixprecTrtLog;

// Device memory, allocated by the program. `release` returns whether the memory was freed; its stream may be null.
typedef struct {
    void* user;
    void* (*allocate)(void* user, uint64_t bytes);
    int32_t (*release)(void* user, void* memory, void* stream);
} MixprecTrtMemory;

// Progress of a build, where this TensorRT reports it. A step that returns 0 stops the build.
typedef struct {
    void* user;
    void (*begin)(void* user, const char* phase, int32_t steps);
    int32_t (*step)(void* user, const char* phase, int32_t step);
    void (*end)(void* user, const char* phase);
} MixprecTrtProgress;

// A layer of a network. `precision` is the data type that was set for it, or -1.
typedef struct {
    const char* name;
    const char* type;
    int32_t outputs;
    int32_t precision;
} MixprecTrtLayer;

// Dimensions that an input may have, for a network with symbolic ones. The engine is tuned for the largest.
typedef struct {
    const char* input;
    int64_t smallest[2];
    int64_t largest[2];
} MixprecTrtRange;

// Whether the builder obeys the precisions and types that were set layer by layer, or prefers them.
enum { MIXPREC_TRT_UNCONSTRAINED = 0, MIXPREC_TRT_PREFER = 1, MIXPREC_TRT_OBEY = 2 };

// Options of a build; pointers may be null. A workspace of 0 bytes means TensorRT's own limit.
typedef struct {
    int32_t fp16;
    int32_t bf16;
    int32_t tf32;
    int32_t constraints;
    uint64_t workspace_bytes;
    const void* timing;
    uint64_t timing_bytes;
    const MixprecTrtRange* ranges;
    int32_t range_count;
    const MixprecTrtProgress* progress;
} MixprecTrtOptions;

// An input or output of an engine.
typedef struct {
    int32_t data_type;
    int32_t is_input;
    int32_t rank;
    int64_t dims[MIXPREC_TRT_RANK];
} MixprecTrtTensor;

// MIXPREC_TRT_INTERFACE, and major, minor and patch version of the headers that the shim was compiled against.
int32_t mixprec_trt_interface(void);
void mixprec_trt_headers(int32_t version[3]);

// Loads TensorRT for the life of the process. On failure returns null and writes the loader's reason into `reason`, cut to `reason_bytes`.
MixprecTrtLibrary* mixprec_trt_open(
    const MixprecTrtFiles* files, const MixprecTrtLog* log, char* reason, uint64_t reason_bytes);
void mixprec_trt_version(const MixprecTrtLibrary* library, int32_t version[3]);

// Parses an ONNX model in memory, or the file at `path`, which may name weights in other files.
MixprecTrtNetwork* mixprec_trt_parse(MixprecTrtLibrary* library, const void* onnx, uint64_t bytes, const char* path);
void mixprec_trt_free_network(MixprecTrtNetwork* network);
int32_t mixprec_trt_layer_count(const MixprecTrtNetwork* network);
void mixprec_trt_layer(const MixprecTrtNetwork* network, int32_t layer, MixprecTrtLayer* out);
const char* mixprec_trt_layer_output(
    const MixprecTrtNetwork* network, int32_t layer, int32_t output, int32_t* data_type);
// Sets the precision of a layer and the type of its floating-point outputs. Returns 0 where all networks are strongly typed.
int32_t mixprec_trt_constrain(MixprecTrtNetwork* network, int32_t layer, int32_t precision, int32_t output_type);
// Builds an engine. `timing`, if not null, receives what the builder has timed, for the next build.
MixprecTrtBytes* mixprec_trt_build(
    MixprecTrtNetwork* network, const MixprecTrtOptions* options, MixprecTrtBytes** timing);

const void* mixprec_trt_bytes(const MixprecTrtBytes* bytes, uint64_t* size);
void mixprec_trt_free_bytes(MixprecTrtBytes* bytes);

// Deserialises an engine. All its device memory comes from `memory`, which must outlive it.
MixprecTrtEngine* mixprec_trt_load(
    MixprecTrtLibrary* library, const void* plan, uint64_t bytes, const MixprecTrtMemory* memory);
void mixprec_trt_free_engine(MixprecTrtEngine* engine);
// Whether the engine has an input or output of this name.
int32_t mixprec_trt_tensor(const MixprecTrtEngine* engine, const char* name, MixprecTrtTensor* out);
// The inspector's JSON.
MixprecTrtBytes* mixprec_trt_layers(const MixprecTrtEngine* engine);
int32_t mixprec_trt_create_context(MixprecTrtEngine* engine);
int32_t mixprec_trt_set_address(MixprecTrtEngine* engine, const char* name, void* address);
int32_t mixprec_trt_enqueue(MixprecTrtEngine* engine, void* stream);

#ifdef __cplusplus
}
#endif

#endif
