// What nvcc and g++ both understand: the arithmetic of every kernel is written once, in headers, and held against its
// NumPy definition on machines without a GPU.
#pragma once

#ifdef __CUDACC__
#define HD __host__ __device__ __forceinline__
// A loop that stays one: unrolled, a kernel has ten times the code and is no faster where the memory is waited for.
#define LOOP _Pragma("unroll 1")
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#define HD inline
#define LOOP
#endif

// IEEE 754 binary16 as its bits, so that host and device round alike: to the nearest, ties to even.
struct Half {
    unsigned short bits;
};

HD unsigned int bits_of(float value) {
#ifdef __CUDA_ARCH__
    return __float_as_uint(value);
#else
    unsigned int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

HD Half half_of(float value) {
    const unsigned int bits = bits_of(value);
    const unsigned int sign = (bits >> 16) & 0x8000u;
    const unsigned int magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {static_cast<unsigned short>(sign | 0x7e00u)};
    // 65520 and beyond round to infinity.
    if (magnitude >= 0x477ff000u) return {static_cast<unsigned short>(sign | 0x7c00u)};
    if (magnitude >= 0x38800000u) {
        const unsigned int odd = (magnitude >> 13) & 1u;
        return {static_cast<unsigned short>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13))};
    }
    // Subnormal: a multiple of 2^-24, below which half of one rounds to 0.
    if (magnitude < 0x33000000u) return {static_cast<unsigned short>(sign)};
    const unsigned int shift = 126u - (magnitude >> 23);
    const unsigned int mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const unsigned int whole = mantissa >> shift;
    const unsigned int rest = mantissa & ((1u << shift) - 1u);
    const unsigned int half = 1u << (shift - 1u);
    const unsigned int up = rest > half || (rest == half && (whole & 1u)) ? 1u : 0u;
    return {static_cast<unsigned short>(sign | (whole + up))};
}

HD void store(float* at, float value) { *at = value; }
HD void store(Half* at, float value) { *at = half_of(value); }

HD float float_of(float value) { return value; }

HD float float_of(Half value) {
#ifdef __CUDA_ARCH__
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
#else
    const unsigned int magnitude = value.bits & 0x7fffu;
    const float below_normal = static_cast<float>(magnitude) * (1.0f / 16777216.0f);
    unsigned int bits = (magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u);
    if (magnitude < 0x400u) bits = bits_of(below_normal);
    bits |= (value.bits & 0x8000u) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
#endif
}

HD int clamped(int value, int low, int high) { return value < low ? low : value > high ? high : value; }
HD float clamped(float value, float low, float high) { return value < low ? low : value > high ? high : value; }
