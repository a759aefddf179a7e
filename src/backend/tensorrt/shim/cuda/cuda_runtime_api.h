// The types of CUDA's runtime that TensorRT's headers name, for a machine without the toolkit: they pass pointers only. The
// toolkit's header of the same name is found first where there is one.
#ifndef MIXPREC_CUDA_RUNTIME_API_H
#define MIXPREC_CUDA_RUNTIME_API_H

typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;

#endif
