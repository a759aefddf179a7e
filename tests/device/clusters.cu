// clusters.cu: what a cluster of blocks costs on a Hopper GPU, for decisions about kernels that exchange sums in distributed
// shared memory. A program of its own:
//
//   nvcc -O3 -std=c++17 -gencode arch=compute_90a,code=sm_90a tests/device/clusters.cu -o clusters -lcuda && ./clusters
//
// It prints, for clusters of 2 to 8 blocks of 128 threads: how many clusters the device holds at a time with 64 and 200 KB of
// shared memory a block; the time of a cluster barrier; and the time in which every block reads a slice of each neighbour's
// shared memory, between two barriers, checked against the values that were written.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace cg = cooperative_groups;

#define CHECK(call)                                                                         \
  do {                                                                                      \
    const cudaError_t status = (call);                                                      \
    if (status != cudaSuccess) {                                                            \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(status));  \
      std::exit(1);                                                                         \
    }                                                                                       \
  } while (0)

constexpr int THREADS = 128, ROUNDS = 2000;

__global__ void barriers(float* out, int) {
  cg::cluster_group cluster = cg::this_cluster();
  for (int round = 0; round < ROUNDS; round++) cluster.sync();
  if (threadIdx.x == 0) out[blockIdx.x] = 1.f;
}

// Every block publishes `floats` numbers and adds up those of all blocks of its cluster.
__global__ void exchange(float* out, int floats) {
  extern __shared__ float own[];
  cg::cluster_group cluster = cg::this_cluster();
  const int rank = cluster.block_rank(), size = cluster.num_blocks();
  float sum = 0.f;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = threadIdx.x; i < floats; i += THREADS) own[i] = (float)(rank + (round & 3));
    cluster.sync();
    for (int other = 0; other < size; other++) {
      const float* theirs = cluster.map_shared_rank(own, other);
      for (int i = threadIdx.x * 4; i < floats; i += THREADS * 4) {
        const float4 part = *(const float4*)(theirs + i);
        sum += part.x + part.y + part.z + part.w;
      }
    }
    cluster.sync();
  }
  out[blockIdx.x * THREADS + threadIdx.x] = sum;
}

static cudaLaunchConfig_t configuration(int blocks, int cluster, size_t shared, cudaLaunchAttribute* attribute) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(THREADS);
  config.dynamicSmemBytes = shared;
  attribute->id = cudaLaunchAttributeClusterDimension;
  attribute->val.clusterDim = {(unsigned)cluster, 1, 1};
  config.attrs = attribute;
  config.numAttrs = 1;
  return config;
}

// Median time of a launch, us.
template <class Kernel> static double median_us(Kernel kernel, int blocks, int cluster, size_t shared, float* out, int floats) {
  cudaLaunchAttribute attribute;
  const cudaLaunchConfig_t config = configuration(blocks, cluster, shared, &attribute);
  cudaEvent_t start, end;
  CHECK(cudaEventCreate(&start));
  CHECK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int repeat = 0; repeat < 12; repeat++) {
    CHECK(cudaEventRecord(start));
    CHECK(cudaLaunchKernelEx(&config, kernel, out, floats));
    CHECK(cudaEventRecord(end));
    CHECK(cudaEventSynchronize(end));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, start, end));
    if (repeat >= 2) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  CHECK(cudaEventDestroy(start));
  CHECK(cudaEventDestroy(end));
  return times[times.size() / 2] * 1e3;
}

static int active_clusters(int cluster, size_t shared) {
  cudaLaunchAttribute attribute;
  const cudaLaunchConfig_t config = configuration(cluster * 64, cluster, shared, &attribute);
  int clusters = 0;
  CHECK(cudaOccupancyMaxActiveClusters(&clusters, exchange, &config));
  return clusters;
}

int main() {
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, %d multiprocessors\n", properties.name, properties.multiProcessorCount);
  CHECK(cudaFuncSetAttribute(exchange, cudaFuncAttributeMaxDynamicSharedMemorySize, 200 << 10));
  const int most = 16 * properties.multiProcessorCount;
  float* out;
  CHECK(cudaMalloc(&out, (size_t)most * THREADS * sizeof(float)));
  std::printf("| blocks | active, 64 KB | active, 200 KB | barrier, us | exchange 256 B, us | 4 KB, us | 16 KB, us |\n");
  for (int cluster : {2, 3, 4, 6, 8}) {
    const int at_once = active_clusters(cluster, 200 << 10), blocks = at_once * cluster;
    std::printf("| %d | %d | %d |", cluster, active_clusters(cluster, 64 << 10), at_once);
    if (blocks == 0) {
      std::printf(" none fits |\n");
      continue;
    }
    std::printf(" %.3f |", median_us(barriers, blocks, cluster, 0, out, 0) / ROUNDS);
    for (int floats : {64, 1024, 4096}) {
      // One block a multiprocessor, as the kernels would have.
      const double us = median_us(exchange, blocks, cluster, 200 << 10, out, floats);
      std::vector<float> sums((size_t)blocks * THREADS);
      CHECK(cudaMemcpy(sums.data(), out, sums.size() * sizeof(float), cudaMemcpyDeviceToHost));
      double found = 0, expected = 0;
      for (int thread = 0; thread < THREADS; thread++) found += sums[thread];
      for (int rank = 0; rank < cluster; rank++) expected += ((double)rank + 1.5) * floats * ROUNDS;
      if (std::abs(found / expected - 1) > 1e-3) {
        std::fprintf(stderr, "clusters of %d, %d floats: sums of %g, not %g\n", cluster, floats, found, expected);
        return 1;
      }
      std::printf(" %.3f |", us / ROUNDS);
    }
    std::printf("\n");
  }
  return 0;
}
