// TensorRT behind the C interface of shim.h. Compiled against the headers of one TensorRT (8.6, 10 or 11) by
// `container/setup.sh --tensorrt`. It links nothing of NVIDIA's: the libraries are loaded by path.
#include "shim.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <type_traits>

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Networks are strongly typed from 10 on (in 11 all are), and types are set layer by layer before.
#if NV_TENSORRT_MAJOR >= 10
#define STRONGLY_TYPED 1
#else
#define STRONGLY_TYPED 0
#endif

using namespace nvinfer1;

namespace {

class Logger final : public ILogger {
  public:
    explicit Logger(const MixprecTrtLog& log) : log_(log) {}

    void log(Severity severity, AsciiChar const* text) noexcept override {
        log_.message(log_.user, static_cast<int32_t>(severity), text);
    }

  private:
    MixprecTrtLog log_;
};

class Allocator final : public IGpuAllocator {
  public:
    explicit Allocator(const MixprecTrtMemory& memory) : memory_(memory) {}

    void* allocate(uint64_t size, uint64_t, AllocatorFlags) noexcept override {
        return memory_.allocate(memory_.user, size);
    }

    bool deallocate(void* memory) noexcept override { return memory_.release(memory_.user, memory, nullptr) != 0; }

#if NV_TENSORRT_MAJOR >= 10
    void* allocateAsync(uint64_t size, uint64_t, AllocatorFlags, cudaStream_t) noexcept override {
        return memory_.allocate(memory_.user, size);
    }

    bool deallocateAsync(void* memory, cudaStream_t stream) noexcept override {
        return memory_.release(memory_.user, memory, stream) != 0;
    }
#else
    void free(void* memory) noexcept override { deallocate(memory); }
#endif

  private:
    MixprecTrtMemory memory_;
};

#if NV_TENSORRT_MAJOR >= 10
class Monitor final : public IProgressMonitor {
  public:
    explicit Monitor(const MixprecTrtProgress& progress) : progress_(progress) {}

    void phaseStart(char const* phase, char const*, int32_t steps) noexcept override {
        progress_.begin(progress_.user, phase, steps);
    }

    bool stepComplete(char const* phase, int32_t step) noexcept override {
        return progress_.step(progress_.user, phase, step) != 0;
    }

    void phaseFinish(char const* phase) noexcept override { progress_.end(progress_.user, phase); }

  private:
    MixprecTrtProgress progress_;
};
#endif

// A loaded library. It is never unloaded: TensorRT's threads and atexit handlers may outlive its last object.
struct File {
    void* handle = nullptr;

    bool open(const char* path) {
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        return handle != nullptr;
    }

    template <typename Function> Function* find(const char* name) const {
        return reinterpret_cast<Function*>(dlsym(handle, name));
    }
};

using Create = void*(void* logger, int32_t version) noexcept;
using CreateParser = void*(void* network, void* logger, int version);
using Version = int32_t() noexcept;

#if STRONGLY_TYPED
bool type_is_set(const ILayer&, int32_t) { return false; }
#else
bool type_is_set(const ILayer& layer, int32_t output) { return layer.outputTypeIsSet(output); }

bool is_float(DataType type) { return type == DataType::kFLOAT || type == DataType::kHALF; }
#endif

// A layer's type in the words of nvinfer1::LayerType, whose numbers differ between versions.
const char* name_of(LayerType type) {
#define NAMED(NAME)                                                                                                    \
    case LayerType::k##NAME:                                                                                           \
        return #NAME
    switch (type) {
        NAMED(ACTIVATION);
        NAMED(CAST);
        NAMED(CONCATENATION);
        NAMED(CONSTANT);
        NAMED(ELEMENTWISE);
        NAMED(FILL);
        NAMED(GATHER);
        NAMED(IDENTITY);
        NAMED(MATRIX_MULTIPLY);
        NAMED(NORMALIZATION);
        NAMED(REDUCE);
        NAMED(SCALE);
        NAMED(SELECT);
        NAMED(SHAPE);
        NAMED(SHUFFLE);
        NAMED(SLICE);
        NAMED(SOFTMAX);
        NAMED(UNARY);
#if NV_TENSORRT_MAJOR >= 10
        NAMED(SQUEEZE);
        NAMED(UNSQUEEZE);
#endif
    default:
        return "OTHER";
    }
#undef NAMED
}

} // namespace

struct MixprecTrtLibrary {
    explicit MixprecTrtLibrary(const MixprecTrtLog& log) : logger(log) {}

    Logger logger;
    std::string resource;
    int32_t version[3] = {0, 0, 0};
    Create* create_builder = nullptr;
    Create* create_runtime = nullptr;
    CreateParser* create_parser = nullptr;
};

// Members are destroyed from the last to the first.
struct MixprecTrtNetwork {
    std::unique_ptr<IBuilder> builder;
    std::unique_ptr<INetworkDefinition> network;
    std::unique_ptr<nvonnxparser::IParser> parser;
};

struct MixprecTrtEngine {
    explicit MixprecTrtEngine(const MixprecTrtMemory& memory) : allocator(memory) {}

    Allocator allocator;
    std::unique_ptr<IRuntime> runtime;
    std::unique_ptr<ICudaEngine> engine;
    std::unique_ptr<IExecutionContext> context;
};

struct MixprecTrtBytes {
    std::unique_ptr<IHostMemory> memory;
    std::string text;
};

namespace {

// The number getInferLibVersion returns: 8601 for 8.6.1, and 101501 for 10.15.1 from 10 on.
void split_version(int32_t number, int32_t version[3]) {
    const int32_t scale = number >= 10000 ? 10000 : 1000;
    version[0] = number / scale;
    version[1] = number % scale / 100;
    version[2] = number % 100;
}

// The first thing that is missing, or nothing.
std::string load(MixprecTrtLibrary& library, const MixprecTrtFiles& files) {
    File builder, plugins, parser;
    if (!builder.open(files.builder)) {
        return dlerror();
    }
    // The parser names it as a dependency. Loaded by path it is found wherever it lies.
    if (files.plugins != nullptr && !plugins.open(files.plugins)) {
        return dlerror();
    }
    if (!parser.open(files.parser)) {
        return dlerror();
    }
    auto* version = builder.find<Version>("getInferLibVersion");
    library.create_builder = builder.find<Create>("createInferBuilder_INTERNAL");
    library.create_runtime = builder.find<Create>("createInferRuntime_INTERNAL");
    library.create_parser = parser.find<CreateParser>("createNvOnnxParser_INTERNAL");
    if (version == nullptr || library.create_builder == nullptr || library.create_runtime == nullptr) {
        return std::string(files.builder) + " is no TensorRT: it lacks getInferLibVersion or a create function";
    }
    if (library.create_parser == nullptr) {
        return std::string(files.parser) + " is no ONNX parser of TensorRT: it lacks createNvOnnxParser_INTERNAL";
    }
    split_version(version(), library.version);
    library.resource = files.resource != nullptr ? files.resource : "";
    return std::string();
}

bool parse(MixprecTrtNetwork& made, MixprecTrtLibrary& library, const void* onnx, uint64_t bytes, const char* path) {
    // The builder asks the loader for this name and knows no folder. This object's own search path (RUNPATH) leads there, and
    // what is loaded under a name is found under it again. Whether that is needed only the builder knows, so it may fail.
    File resource;
    if (!library.resource.empty() && !resource.open(library.resource.c_str())) {
        library.logger.log(ILogger::Severity::kVERBOSE, dlerror());
    }
    made.builder.reset(static_cast<IBuilder*>(library.create_builder(&library.logger, NV_TENSORRT_VERSION)));
    if (!made.builder) {
        return false;
    }
#if NV_TENSORRT_MAJOR >= 11
    const uint32_t flags = 0;
#elif STRONGLY_TYPED
    const uint32_t flags = 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
    const uint32_t flags = 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#endif
    made.network.reset(made.builder->createNetworkV2(flags));
    if (!made.network) {
        return false;
    }
    void* parser = library.create_parser(made.network.get(), &library.logger, NV_ONNX_PARSER_VERSION);
    made.parser.reset(static_cast<nvonnxparser::IParser*>(parser));
    if (!made.parser) {
        return false;
    }
    const bool parsed = path != nullptr
        ? made.parser->parseFromFile(path, static_cast<int>(ILogger::Severity::kWARNING))
        : made.parser->parse(onnx, bytes);
    for (int index = 0; !parsed && index < made.parser->getNbErrors(); ++index) {
        library.logger.log(ILogger::Severity::kERROR, made.parser->getError(index)->desc());
    }
    return parsed;
}

void set_flag(IBuilderConfig& config, BuilderFlag flag, bool on) {
    on ? config.setFlag(flag) : config.clearFlag(flag);
}

void set_flags(IBuilderConfig& config, const MixprecTrtOptions& options) {
    // TF32 is on unless it is cleared, and would be used in every FP32 product.
    set_flag(config, BuilderFlag::kTF32, options.tf32 != 0);
#if !STRONGLY_TYPED
    set_flag(config, BuilderFlag::kFP16, options.fp16 != 0);
    set_flag(config, BuilderFlag::kOBEY_PRECISION_CONSTRAINTS, options.constraints == MIXPREC_TRT_OBEY);
    set_flag(config, BuilderFlag::kPREFER_PRECISION_CONSTRAINTS, options.constraints == MIXPREC_TRT_PREFER);
#endif
    // With less, the inspector gives names only.
    config.setProfilingVerbosity(ProfilingVerbosity::kDETAILED);
    if (options.workspace_bytes > 0) {
        config.setMemoryPoolLimit(MemoryPoolType::kWORKSPACE, options.workspace_bytes);
    }
}

Dims dims_of(const int64_t sizes[2]) {
    Dims dims{};
    dims.nbDims = 2;
    for (int index = 0; index < 2; ++index) {
        dims.d[index] = static_cast<std::remove_reference_t<decltype(dims.d[0])>>(sizes[index]);
    }
    return dims;
}

// The builder owns the profile.
bool add_profile(IBuilder& builder, IBuilderConfig& config, const MixprecTrtOptions& options) {
    IOptimizationProfile* profile = builder.createOptimizationProfile();
    if (profile == nullptr) {
        return false;
    }
    for (int32_t index = 0; index < options.range_count; ++index) {
        const MixprecTrtRange& range = options.ranges[index];
        const Dims smallest = dims_of(range.smallest), largest = dims_of(range.largest);
        if (!profile->setDimensions(range.input, OptProfileSelector::kMIN, smallest) ||
            !profile->setDimensions(range.input, OptProfileSelector::kOPT, largest) ||
            !profile->setDimensions(range.input, OptProfileSelector::kMAX, largest)) {
            return false;
        }
    }
    return config.addOptimizationProfile(profile) >= 0;
}

MixprecTrtBytes* hold(IHostMemory* memory) {
    if (memory == nullptr) {
        return nullptr;
    }
    return new MixprecTrtBytes{std::unique_ptr<IHostMemory>(memory), std::string()};
}

} // namespace

EXPORTED int32_t mixprec_trt_interface(void) { return MIXPREC_TRT_INTERFACE; }

EXPORTED void mixprec_trt_headers(int32_t version[3]) {
    version[0] = NV_TENSORRT_MAJOR;
    version[1] = NV_TENSORRT_MINOR;
    version[2] = NV_TENSORRT_PATCH;
}

EXPORTED MixprecTrtLibrary* mixprec_trt_open(
    const MixprecTrtFiles* files, const MixprecTrtLog* log, char* reason, uint64_t reason_bytes) {
    auto library = std::make_unique<MixprecTrtLibrary>(*log);
    const std::string failure = load(*library, *files);
    if (failure.empty()) {
        return library.release();
    }
    std::snprintf(reason, reason_bytes, "%s", failure.c_str());
    return nullptr;
}

EXPORTED void mixprec_trt_version(const MixprecTrtLibrary* library, int32_t version[3]) {
    std::copy(library->version, library->version + 3, version);
}

EXPORTED MixprecTrtNetwork* mixprec_trt_parse(
    MixprecTrtLibrary* library, const void* onnx, uint64_t bytes, const char* path) {
    auto network = std::make_unique<MixprecTrtNetwork>();
    return parse(*network, *library, onnx, bytes, path) ? network.release() : nullptr;
}

EXPORTED void mixprec_trt_free_network(MixprecTrtNetwork* network) { delete network; }

EXPORTED int32_t mixprec_trt_layer_count(const MixprecTrtNetwork* network) { return network->network->getNbLayers(); }

EXPORTED void mixprec_trt_layer(const MixprecTrtNetwork* network, int32_t layer, MixprecTrtLayer* out) {
    const ILayer* found = network->network->getLayer(layer);
    out->name = found->getName();
    out->type = name_of(found->getType());
    out->outputs = found->getNbOutputs();
    out->precision = -1;
#if !STRONGLY_TYPED
    if (found->precisionIsSet()) {
        out->precision = static_cast<int32_t>(found->getPrecision());
    }
#endif
}

EXPORTED const char* mixprec_trt_layer_output(
    const MixprecTrtNetwork* network, int32_t layer, int32_t output, int32_t* data_type) {
    const ILayer* owner = network->network->getLayer(layer);
    const ITensor* tensor = owner->getOutput(output);
    // A type that was set becomes the tensor's only when the engine is built.
    const bool is_set = !STRONGLY_TYPED && type_is_set(*owner, output);
    *data_type = static_cast<int32_t>(is_set ? owner->getOutputType(output) : tensor->getType());
    return tensor->getName();
}

EXPORTED int32_t mixprec_trt_constrain(
    MixprecTrtNetwork* network, int32_t layer, int32_t precision, int32_t output_type) {
#if STRONGLY_TYPED
    (void)network, (void)layer, (void)precision, (void)output_type;
    return 0;
#else
    ILayer* constrained = network->network->getLayer(layer);
    constrained->setPrecision(static_cast<DataType>(precision));
    for (int32_t index = 0; index < constrained->getNbOutputs(); ++index) {
        ITensor* tensor = constrained->getOutput(index);
        if (!is_float(tensor->getType())) {
            continue;
        }
        constrained->setOutputType(index, static_cast<DataType>(output_type));
        // Only the tensor's own type decides that of an output of the network.
        if (tensor->isNetworkOutput()) {
            tensor->setType(static_cast<DataType>(output_type));
        }
    }
    return 1;
#endif
}

EXPORTED MixprecTrtBytes* mixprec_trt_build(
    MixprecTrtNetwork* network, const MixprecTrtOptions* options, MixprecTrtBytes** timing) {
    IBuilder& builder = *network->builder;
    // The monitor must outlive the configuration.
#if NV_TENSORRT_MAJOR >= 10
    std::unique_ptr<Monitor> monitor;
#endif
    std::unique_ptr<ITimingCache> cache;
    std::unique_ptr<IBuilderConfig> config(builder.createBuilderConfig());
    if (!config) {
        return nullptr;
    }
    set_flags(*config, *options);
    if (options->range_count > 0 && !add_profile(builder, *config, *options)) {
        return nullptr;
    }
#if NV_TENSORRT_MAJOR >= 10
    if (options->progress != nullptr) {
        monitor = std::make_unique<Monitor>(*options->progress);
        config->setProgressMonitor(monitor.get());
    }
#endif
    cache.reset(config->createTimingCache(options->timing, options->timing_bytes));
    if (cache) {
        config->setTimingCache(*cache, false);
    }
    MixprecTrtBytes* engine = hold(builder.buildSerializedNetwork(*network->network, *config));
    if (engine != nullptr && timing != nullptr && config->getTimingCache() != nullptr) {
        *timing = hold(config->getTimingCache()->serialize());
    }
    return engine;
}

EXPORTED const void* mixprec_trt_bytes(const MixprecTrtBytes* bytes, uint64_t* size) {
    *size = bytes->memory ? bytes->memory->size() : bytes->text.size();
    return bytes->memory ? bytes->memory->data() : bytes->text.data();
}

EXPORTED void mixprec_trt_free_bytes(MixprecTrtBytes* bytes) { delete bytes; }

EXPORTED MixprecTrtEngine* mixprec_trt_load(
    MixprecTrtLibrary* library, const void* plan, uint64_t bytes, const MixprecTrtMemory* memory) {
    auto loaded = std::make_unique<MixprecTrtEngine>(*memory);
    loaded->runtime.reset(static_cast<IRuntime*>(library->create_runtime(&library->logger, NV_TENSORRT_VERSION)));
    if (!loaded->runtime) {
        return nullptr;
    }
    loaded->runtime->setGpuAllocator(&loaded->allocator);
    loaded->engine.reset(loaded->runtime->deserializeCudaEngine(plan, bytes));
    return loaded->engine ? loaded.release() : nullptr;
}

EXPORTED void mixprec_trt_free_engine(MixprecTrtEngine* engine) { delete engine; }

EXPORTED int32_t mixprec_trt_tensor(const MixprecTrtEngine* engine, const char* name, MixprecTrtTensor* out) {
    const TensorIOMode mode = engine->engine->getTensorIOMode(name);
    if (mode == TensorIOMode::kNONE) {
        return 0;
    }
    const Dims dims = engine->engine->getTensorShape(name);
    out->data_type = static_cast<int32_t>(engine->engine->getTensorDataType(name));
    out->is_input = mode == TensorIOMode::kINPUT ? 1 : 0;
    out->rank = std::min<int32_t>(dims.nbDims, MIXPREC_TRT_RANK);
    std::copy(dims.d, dims.d + std::max<int32_t>(out->rank, 0), out->dims);
    return 1;
}

EXPORTED MixprecTrtBytes* mixprec_trt_layers(const MixprecTrtEngine* engine) {
    std::unique_ptr<IEngineInspector> inspector(engine->engine->createEngineInspector());
    if (!inspector) {
        return nullptr;
    }
    const char* text = inspector->getEngineInformation(LayerInformationFormat::kJSON);
    return text != nullptr ? new MixprecTrtBytes{nullptr, text} : nullptr;
}

EXPORTED int32_t mixprec_trt_create_context(MixprecTrtEngine* engine) {
    engine->context.reset(engine->engine->createExecutionContext());
    return engine->context ? 1 : 0;
}

EXPORTED int32_t mixprec_trt_set_address(MixprecTrtEngine* engine, const char* name, void* address) {
    return engine->context->setTensorAddress(name, address) ? 1 : 0;
}

EXPORTED int32_t mixprec_trt_enqueue(MixprecTrtEngine* engine, void* stream) {
    return engine->context->enqueueV3(static_cast<cudaStream_t>(stream)) ? 1 : 0;
}
