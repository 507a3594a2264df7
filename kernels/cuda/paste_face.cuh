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

HD Weights doubled_weights(const PasteJob& job, const Scratch& scratch, int size, int x, int y) {
    Weights sum = {0.0f, 0.0f};
    LOOP for (int at = 0; at < 4; ++at) {
        const int right = at & 1, down = at >> 1;
        const int column = clamped((x >> 1) + right * doubled_side(x), 0, size - 1);
        const int row = clamped((y >> 1) + down * doubled_side(y), 0, size - 1);
        const Weights one = weights_at(job, scratch, size, column, row);
        const float weight = linear_quarter(right) * linear_quarter(down);
        sum.replaced += weight * one.replaced;
        sum.moved += weight * one.moved;
    }
    return sum;
}

// One pixel of both sheets; x and y in pixels of a doubled one, of which a sheet that is not doubled has a quarter.
HD void sheet_pixel(const PasteJob& job, int size, int x, int y) {
    const Scratch scratch = scratch_of(job, size);
    const bool single = x < size && y < size && y >= job.first_sheet;
    const bool twice = (job.luma_doubled || job.chroma_doubled) && y >= 2 * job.first_sheet;
    float cubic[4] = {};
    if (twice) doubled<4>(scratch.lit, size, x, y, cubic);
    const Halves<4> plain = single ? scratch.lit[y * size + x] : Halves<4>{};
    if (job.luma_doubled ? twice : single) {
        const Weights weights =
            job.luma_doubled ? doubled_weights(job, scratch, size, x, y) : weights_at(job, scratch, size, x, y);
        const Half luma = job.luma_doubled ? rounded_half(cubic[0]) : plain.at[0];
        scratch.luma[y * (job.luma_doubled ? 2 * size : size) + x] = {
            {luma, rounded_half(weights.replaced), rounded_half(weights.moved), {0}}
        };
    }
    if (job.chroma_doubled ? twice : single) {
        const Half blue = job.chroma_doubled ? rounded_half(cubic[1]) : plain.at[1];
        const Half red = job.chroma_doubled ? rounded_half(cubic[2]) : plain.at[2];
        scratch.chroma[y * (job.chroma_doubled ? 2 * size : size) + x] = {{blue, red}};
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
