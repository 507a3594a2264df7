// `kernels.detail`: where a generated picture says nothing new, the original's own fine structure stays.
#pragma once

#include "paste_job.cuh"

constexpr float NEW_LEVELS = 20.0f;

// Mirrored about the first and the last, which are not repeated.
HD int reflected(int at, int count) {
    if (count == 1) return 0;
    at = at < 0 ? -at : at;
    return at < count ? at : 2 * (count - 1) - at;
}

struct Blur {
    const float *from, *weights;
    int side, radius;
    bool across, squared;
};

HD float blurred(const Blur& how, int x, int y) {
    float sum = 0.0f;
    for (int step = -how.radius; step <= how.radius; ++step) {
        const int column = how.across ? reflected(x + step, how.side) : x;
        const int row = how.across ? y : reflected(y + step, how.side);
        const float value = how.from[row * how.side + column];
        sum += how.weights[step + how.radius] * (how.squared ? value * value : value);
    }
    return sum;
}

// First row of the picture that light is read off at which the blur of a pass (0 to 3) needs.
HD int first_blurred(int size, int soft_radius, int near_radius, int pass) {
    const int weighed = mask_row(size) / read_scale(size) - 1;
    const int first = weighed - (pass < 3 ? near_radius : 0) - (pass < 1 ? soft_radius : 0);
    return first < 0 ? 0 : first;
}

// Change along rows, along columns; its energy along rows, along columns.
HD void blur_pixel(
    const PasteJob& job, const Table& table, int size, int soft_radius, int near_radius, int pass, int x, int y
) {
    const Scratch scratch = scratch_of(job, size);
    const bool across = pass % 2 == 0;
    const int side = size / read_scale(size);
    const Blur how = {
        across ? scratch.change : scratch.between,
        pass < 2 ? table.soft : table.near,
        side,
        pass < 2 ? soft_radius : near_radius,
        across,
        pass == 2,
    };
    const float value = blurred(how, x, y);
    float* to = across ? scratch.between : pass == 1 ? scratch.change : scratch.kept;
    to[y * side + x] = pass == 3 ? expf(value * (-1.0f / (NEW_LEVELS * NEW_LEVELS))) : value;
}

// A plane that was read off at half size, or not, at a pixel of the crop.
HD float at_full_size(const float* plane, int size, int x, int y) {
    if (read_scale(size) == 1) return plane[y * size + x];
    const int side = size / 2;
    float sum = 0.0f;
    for (int at = 0; at < 4; ++at) {
        const int right = at & 1, down = at >> 1;
        const int column = clamped((x >> 1) + (x & 1 ? right : -right), 0, side - 1);
        const int row = clamped((y >> 1) + (y & 1 ? down : -down), 0, side - 1);
        sum += linear_quarter(right) * linear_quarter(down) * plane[row * side + column];
    }
    return sum;
}
