// `kernels.paste`: a generated face in its light, blended into the frame's planes where the mask is not 0.
#pragma once

#include "detail.cuh"
#include "light.cuh"

// How the frame's luma changes: this much of it is replaced, and it moves by so many levels.
struct Weights {
    float replaced, moved;
};

HD Weights weights_at(const PasteJob& job, const Scratch& scratch, int size, int x, int y) {
    const float mask = mask_at(job, size, x, y);
    if (mask == 0.0f || !job.resting) return {mask, 0.0f};
    const float kept = at_full_size(scratch.kept, size, x, y) * job.resting[y * size + x] * mask;
    return {mask - kept, kept * at_full_size(scratch.change, size, x, y)};
}

// The same of the four pixels in the place of one.
HD void doubled_weights(const PasteJob& job, const Scratch& scratch, int size, int x, int y, float (&result)[4][2]) {
    for (int at = 0; at < 8; ++at) result[at / 2][at % 2] = 0.0f;
    LOOP for (int down = -1; down <= 1; ++down) {
        const int row = clamped(y + down, 0, size - 1);
        float left[2] = {}, right[2] = {};
        LOOP for (int across = -1; across <= 1; ++across) {
            const Weights one = weights_at(job, scratch, size, clamped(x + across, 0, size - 1), row);
            left[0] += linear_quarter(-across) * one.replaced;
            left[1] += linear_quarter(-across) * one.moved;
            right[0] += linear_quarter(across) * one.replaced;
            right[1] += linear_quarter(across) * one.moved;
        }
        add_row<2>(linear_quarter(-down), linear_quarter(down), left, right, result);
    }
}

HD Halves<4> luma_of(float luma, float replaced, float moved) {
    return {{rounded_half(luma), rounded_half(replaced), rounded_half(moved), {0}}};
}

// What the sheets hold of one pixel of the crop: it, or the four in its place. Where chroma is doubled, luma is.
HD void sheet_pixel(const PasteJob& job, int size, int x, int y) {
    const Scratch scratch = scratch_of(job, size);
    const int pixel = y * size + x, upper_left = 4 * y * size + 2 * x;
    const Halves<4> lit = scratch.lit[pixel];
    if (!job.chroma_doubled) scratch.chroma[pixel] = {{lit.at[1], lit.at[2]}};
    if (!job.luma_doubled) {
        const Weights weights = weights_at(job, scratch, size, x, y);
        scratch.luma[pixel] = luma_of(float_of(lit.at[0]), weights.replaced, weights.moved);
        return;
    }
    float cubic[4][3], weights[4][2];
    doubled(scratch.lit, size, x, y, cubic);
    doubled_weights(job, scratch, size, x, y, weights);
    for (int at = 0; at < 4; ++at) {
        const int to = upper_left + (at >> 1) * 2 * size + (at & 1);
        scratch.luma[to] = luma_of(cubic[at][0], weights[at][0], weights[at][1]);
        if (job.chroma_doubled) scratch.chroma[to] = {{rounded_half(cubic[at][1]), rounded_half(cubic[at][2])}};
    }
}

// Mixes into one sample; what is replaced by nothing and moved by nothing keeps its byte.
HD void mix(unsigned char* at, float made, float replaced, float moved, float alpha) {
    const float old = *at;
    const float pasted = clamped(old + replaced * (made - old) + moved, 0.0f, 255.0f);
    *at = static_cast<unsigned char>(old + alpha * (pasted - old) + 0.5f);
}

HD unsigned char* sample_of(const Target& plane, int x, int y) {
    return plane.samples + static_cast<long long>(y) * plane.stride + x * plane.step;
}

// Four pixels of luma, fewer on the border of an odd picture, and the chroma sample in their middle, which weighs as
// little as the least of them. x and y count chroma samples from the region's corner.
HD void blend_quad(const PasteJob& job, int size, int x, int y) {
    const Scratch scratch = scratch_of(job, size);
    float least = 1.0f;
    LOOP for (int at = 0; at < 4; ++at) {
        const int column = 2 * x + (at & 1), row = 2 * y + (at >> 1);
        if (job.left + column >= job.right || job.top + row >= job.bottom) continue;
        const int scale = job.luma_doubled ? 2 : 1;
        float made[4];
        sample<4>(scratch.luma, scale * size, scale * job.first_sheet, job.of_luma, column, row, made);
        least = fminf(least, made[1]);
        if (made[1] == 0.0f && made[2] == 0.0f) continue;
        mix(sample_of(job.luma, job.left + column, job.top + row), made[0], made[1], made[2], job.alpha);
    }
    if (least <= 0.0f) return;
    const int scale = job.chroma_doubled ? 2 : 1;
    float made[2];
    sample<2>(scratch.chroma, scale * size, scale * job.first_sheet, job.of_chroma, x, y, made);
    const int column = job.left / 2 + x, row = job.top / 2 + y;
    mix(sample_of(job.blue, column, row), made[0], least, 0.0f, job.alpha);
    mix(sample_of(job.red, column, row), made[1], least, 0.0f, job.alpha);
}
