// One sample of `kernels.warp`: bilinear between the means of blocks, each mean blended with its neighbours where the
// picture shrinks. Beyond its border a picture repeats its last row and column.
#pragma once

#include "portable.cuh"

// uint8 samples in device memory. step is 1, or 2 for the interleaved chroma of NV12.
struct Plane {
    const unsigned char* samples;
    int stride, step, width, height;
};

// From pixels of the result to samples of a plane, x first, and how the plane is averaged (`kernels.warp`,
// `shrink_factors`): over blocks of block x block, neighbours weighing `beside` along rows and columns.
struct Sampling {
    float map[6];
    int block;
    float beside;
};

// How much each of four neighbouring blocks counts along one axis, and where the first of them is.
struct Taps {
    float before, here, next, after;
    int first;

    // No array: one that a loop indexes lies in memory instead of registers.
    HD float operator[](int index) const {
        return index < 2 ? (index ? here : before) : (index == 2 ? next : after);
    }
};

// Bilinear between the two blocks beside `at`, each blended with its neighbours: four blocks in all. Beyond the border
// both of the two are the last one.
HD Taps taps(float at, float beside, int count) {
    const float low = floorf(clamped(at, -2.0f, count + 1.0f));
    const int here = clamped(static_cast<int>(low), 0, count - 1);
    const int next = clamped(static_cast<int>(low) + 1, 0, count - 1);
    const float far = here == next ? 0.0f : at - low, near = 1.0f - far, own = 1.0f - 2.0f * beside;
    return {near * beside, near * own + far * beside, near * beside + far * own, far * beside, here - 1};
}

HD float block_mean(const Plane& plane, int block, int row, int column) {
    if (block == 1) return plane.samples[row * plane.stride + column * plane.step];
    int sum = 0;
    LOOP for (int down = 0; down < block; ++down) {
        const int y = clamped(row * block + down, 0, plane.height - 1);
        const unsigned char* line = plane.samples + y * plane.stride;
        LOOP for (int right = 0; right < block; ++right)
            sum += line[clamped(column * block + right, 0, plane.width - 1) * plane.step];
    }
    return static_cast<float>(sum) / static_cast<float>(block * block);
}

HD float sampled(const Plane& plane, const Sampling& how, int x, int y) {
    const int columns = (plane.width + how.block - 1) / how.block, rows = (plane.height + how.block - 1) / how.block;
    const float scale = 1.0f / static_cast<float>(how.block);
    const float u = (how.map[0] * x + how.map[1] * y + how.map[2] + 0.5f) * scale - 0.5f;
    const float v = (how.map[3] * x + how.map[4] * y + how.map[5] + 0.5f) * scale - 0.5f;
    const Taps across = taps(u, how.beside, columns), downwards = taps(v, how.beside, rows);
    // Without neighbours only the two in the middle count.
    const int margin = how.beside == 0.0f ? 1 : 0;
    float value = 0.0f;
    LOOP for (int down = margin; down < 4 - margin; ++down) {
        const int row = clamped(downwards.first + down, 0, rows - 1);
        float line = 0.0f;
        LOOP for (int right = margin; right < 4 - margin; ++right)
            line += across[right] *
                    block_mean(plane, how.block, row, clamped(across.first + right, 0, columns - 1));
        value += downwards[down] * line;
    }
    return value;
}
