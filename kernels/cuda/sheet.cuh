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

// Doubling puts four pixels in one's place. How much the pixel counts for each of them that lies `away` further on that
// one's side, or nearer to the other: `CUBIC_QUARTER` and `LINEAR_QUARTER` of `kernels.warp`.
HD float cubic_quarter(int away) {
    return away == 0 ? 0.87890625f : away == 1 ? 0.26171875f : away == -1 ? -0.10546875f : away == 2 ? -0.03515625f : 0.0f;
}

HD float linear_quarter(int away) { return away == 0 ? 0.75f : away == 1 ? 0.25f : 0.0f; }

// Adds what a row gives for the left and the right pixels, to the upper ones and the lower ones.
template <int N>
HD void add_row(float upper, float lower, const float (&left)[N], const float (&right)[N], float (&result)[4][N]) {
    for (int channel = 0; channel < N; ++channel) {
        result[0][channel] += upper * left[channel];
        result[1][channel] += upper * right[channel];
        result[2][channel] += lower * left[channel];
        result[3][channel] += lower * right[channel];
    }
}

// The four pixels in the place of one, the first three channels: by cubic curves along both sides, the picture's border
// repeated, cut off at 0 and 255.
HD void doubled(const Halves<4>* sheet, int side, int x, int y, float (&result)[4][3]) {
    for (int at = 0; at < 12; ++at) result[at / 3][at % 3] = 0.0f;
    LOOP for (int down = -2; down <= 2; ++down) {
        const Halves<4>* row = sheet + clamped(y + down, 0, side - 1) * side;
        float left[3] = {}, right[3] = {};
        for (int across = -2; across <= 2; ++across) {
            const Halves<4> pixel = row[clamped(x + across, 0, side - 1)];
            for (int channel = 0; channel < 3; ++channel) {
                const float level = float_of(pixel.at[channel]);
                if (across < 2) left[channel] += cubic_quarter(-across) * level;
                if (across > -2) right[channel] += cubic_quarter(across) * level;
            }
        }
        add_row<3>(cubic_quarter(-down), cubic_quarter(down), left, right, result);
    }
    for (int at = 0; at < 12; ++at) result[at / 3][at % 3] = clamped(result[at / 3][at % 3], 0.0f, 255.0f);
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
    const int margin = beside ? 0 : 1;
    if (how.block == 1) {
        // Most faces. The pixels of a row are read without waiting for each other.
        LOOP for (int down = margin; down < 4 - margin; ++down) {
            const int row = clamped(downwards.first + down, 0, side - 1);
            for (int right = 0; right < 4; ++right) {
                if (!beside && (right == 0 || right == 3)) continue;
                const int column = clamped(across.first + right, 0, side - 1);
                add_pixel<N>(sheet, side, first, row, column, downwards[down] * across[right], result);
            }
        }
        return;
    }
    LOOP for (int down = margin; down < 4 - margin; ++down) {
        const int row = clamped(downwards.first + down, 0, count - 1);
        LOOP for (int right = margin; right < 4 - margin; ++right) {
            const int column = clamped(across.first + right, 0, count - 1);
            add_block<N>(sheet, side, first, how.block, row, column, downwards[down] * across[right], result);
        }
    }
}
