// Pictures between two launches: a few halves a pixel, read at once, square; what is enlarged is doubled first.
#pragma once

#include "warp.cuh"

// N channels of one pixel; a half holds levels within 1/16.
template <int N>
struct alignas(2 * N) Halves {
    Half at[N];
};

// What `half_of` gives, in one instruction where there is one.
HD Half rounded_half(float value) {
#ifdef __CUDA_ARCH__
    Half result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
#else
    return half_of(value);
#endif
}

// How much the pixels before, at, behind and two behind count where a picture is doubled: `CUBIC_QUARTER` of
// `kernels.warp`. "Behind" is away from the pixel's centre, to the side on which the doubled pixel lies.
HD float cubic_quarter(int index) {
    return index == 0 ? -0.10546875f : index == 1 ? 0.87890625f : index == 2 ? 0.26171875f : -0.03515625f;
}

// The same of a straight line, for the pixel itself and the one behind.
HD float linear_quarter(int index) { return index == 0 ? 0.75f : 0.25f; }

// The side of its pixel on which a doubled pixel lies.
HD int doubled_side(int at) { return at & 1 ? 1 : -1; }

// One pixel of the doubled sheet: by cubic curves along both sides, borders repeated, cut off at 0 and 255.
template <int N>
HD void doubled(const Halves<N>* sheet, int side, int x, int y, float (&result)[N]) {
    for (int channel = 0; channel < N; ++channel) result[channel] = 0.0f;
    LOOP for (int down = 0; down < 4; ++down) {
        const int row = clamped((y >> 1) + doubled_side(y) * (down - 1), 0, side - 1);
        for (int right = 0; right < 4; ++right) {
            const int column = clamped((x >> 1) + doubled_side(x) * (right - 1), 0, side - 1);
            const Halves<N> pixel = sheet[row * side + column];
            const float weight = cubic_quarter(down) * cubic_quarter(right);
            for (int channel = 0; channel < N; ++channel) result[channel] += weight * float_of(pixel.at[channel]);
        }
    }
    for (int channel = 0; channel < N; ++channel) result[channel] = clamped(result[channel], 0.0f, 255.0f);
}

// Adds `weight` times one pixel. Rows before `first` count as 0.
template <int N>
HD void add_pixel(
    const Halves<N>* sheet, int side, int first, int row, int column, float weight, float (&result)[N]
) {
    if (row < first) return;
    const Halves<N> pixel = sheet[row * side + column];
    for (int channel = 0; channel < N; ++channel) result[channel] += weight * float_of(pixel.at[channel]);
}

// The same of the mean of one block.
template <int N>
HD void add_block(
    const Halves<N>* sheet, int side, int first, int block, int row, int column, float weight, float (&result)[N]
) {
    const float share = weight / static_cast<float>(block * block);
    LOOP for (int down = 0; down < block; ++down) {
        const int y = clamped(row * block + down, 0, side - 1);
        LOOP for (int right = 0; right < block; ++right)
            add_pixel<N>(sheet, side, first, y, clamped(column * block + right, 0, side - 1), share, result);
    }
}

// One sample of a sheet whose rows before `first` were not made, as `sampled` of `warp.cuh` takes it of a plane.
template <int N>
HD void sample(
    const Halves<N>* sheet, int side, int first, const Sampling& how, int x, int y, float (&result)[N]
) {
    const int count = (side + how.block - 1) / how.block;
    const float scale = 1.0f / static_cast<float>(how.block);
    const float u = (how.map[0] * x + how.map[1] * y + how.map[2] + 0.5f) * scale - 0.5f;
    const float v = (how.map[3] * x + how.map[4] * y + how.map[5] + 0.5f) * scale - 0.5f;
    const Taps across = taps(u, how.beside, count), downwards = taps(v, how.beside, count);
    const bool beside = how.beside != 0.0f;
    for (int channel = 0; channel < N; ++channel) result[channel] = 0.0f;
    if (how.block == 1 && !beside) {
        // Most faces: four pixels, read without waiting for each other.
        for (int at = 0; at < 4; ++at) {
            const int down = 1 + (at >> 1), right = 1 + (at & 1);
            const int row = clamped(downwards.first + down, 0, side - 1);
            const int column = clamped(across.first + right, 0, side - 1);
            add_pixel<N>(sheet, side, first, row, column, downwards[down] * across[right], result);
        }
        return;
    }
    const int margin = beside ? 0 : 1;
    LOOP for (int down = margin; down < 4 - margin; ++down) {
        const int row = clamped(downwards.first + down, 0, count - 1);
        LOOP for (int right = margin; right < 4 - margin; ++right) {
            const int column = clamped(across.first + right, 0, count - 1);
            add_block<N>(sheet, side, first, how.block, row, column, downwards[down] * across[right], result);
        }
    }
}
