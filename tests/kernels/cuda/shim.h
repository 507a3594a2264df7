// Lets g++ compile a .cu file as it stands, for kernels without barriers: the threads of a launch run one by one.
#pragma once
#include <cmath>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

struct Dim3 {
    unsigned int x, y, z;
};

static thread_local Dim3 blockIdx, threadIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

template <typename Run>
void launch(Dim3 grid, Dim3 block, Run run) {
    gridDim = grid;
    blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) run();
}

// As cuLaunchKernel takes them: arguments[k] points at argument k.
template <typename... Arguments, std::size_t... Indices>
void launch_with(
    Dim3 grid, Dim3 block, void (*kernel)(Arguments...), void** arguments, std::index_sequence<Indices...>
) {
    std::tuple<std::remove_const_t<Arguments>...> read(*static_cast<std::remove_const_t<Arguments>*>(arguments[Indices])...);
    launch(grid, block, [&] { kernel(std::get<Indices>(read)...); });
}

template <typename... Arguments>
void launch_with(Dim3 grid, Dim3 block, void (*kernel)(Arguments...), void** arguments) {
    launch_with(grid, block, kernel, arguments, std::index_sequence_for<Arguments...>());
}

// A kernel, and the size of a struct, as Python calls them.
#define HOST_KERNEL(name) \
    extern "C" void launch_##name(Dim3 grid, Dim3 block, void** arguments) { launch_with(grid, block, name, arguments); }
#define HOST_SIZE(name) \
    extern "C" unsigned long size_of_##name() { return sizeof(name); }
