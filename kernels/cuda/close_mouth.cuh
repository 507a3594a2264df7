// `kernels.mouth`: a mouth shut by a warp down the columns of the crop, each pixel from somewhere in its own column.
#pragma once

#include "mouth_job.cuh"

constexpr float UPPER_LIP_SHARE = 0.15f, JAW_SHARE = 0.75f, SHUT_PX = 0.5f;
// Columns whose widest gap one of them knows.
constexpr int GROUP = 16;

// How the pixels of one column move.
struct MouthColumn {
    float upper_y, upper_drop;  // where the upper lip's edge goes, and how far that is down
    float lower_y, lower_drop;
    float chin_y, jaw_drop;
    float fade_above;  // how fast the upper lip's motion dies away above it
    float closes;      // what the gaps of the GROUP columns from here on lose at most; only in every GROUP-th column
};
static_assert(sizeof(MouthColumn) == 32, "eight floats");

struct MouthGap {
    float upper_y, lower_y;
    float left;  // of the gap, when the mouth is closed

    HD float closes() const { return lower_y - upper_y - left; }
    HD float to_upper_y() const { return upper_y + UPPER_LIP_SHARE * closes(); }
    HD float lower_drop() const { return to_upper_y() + left - lower_y; }
};

// Linear between points from left to right, and as high as the first and the last beyond them. Where they turn back,
// the last of them that goes on from the left to the right of x counts.
HD float curve(const Point* knots, int count, float x) {
    if (x >= knots[count - 1].x) return knots[count - 1].y;
    if (!(x >= knots[0].x)) return knots[0].y;
    int here = count - 2;
    LOOP while (here > 0 && !(knots[here].x <= x)) --here;
    const Point from = knots[here], to = knots[here + 1];
    return from.y + (x - from.x) * ((to.y - from.y) / (to.x - from.x));
}

HD float middle_x(const MouthJob& job) {
    return (job.points[UPPER_INNER].x + job.points[UPPER_INNER + INNER_COUNT - 1].x) * 0.5f;
}

HD float half_width_px(const MouthJob& job) {
    return fmaxf((job.points[UPPER_INNER + INNER_COUNT - 1].x - job.points[UPPER_INNER].x) * 0.5f, 2.0f);
}

HD MouthGap gap_at(const MouthJob& job, float x) {
    const float upper = curve(job.points + UPPER_INNER, INNER_COUNT, x);
    const float lower = fmaxf(curve(job.points + LOWER_INNER, INNER_COUNT, x), upper);
    const float away = fminf(fabsf(x - middle_x(job)) / half_width_px(job), 1.0f);
    return {upper, lower, fminf(lower - upper, job.opening_px * (1.0f - powf(away, 2.2f)))};
}

HD float widest_closed(const MouthJob& job, int first, int size) {
    const float middle = middle_x(job);
    if (!(0.0f <= middle && middle < size - 1)) return 0.0f;
    float most = 0.0f;
    LOOP for (int x = first; x < first + GROUP && x < size; ++x) most = fmaxf(most, gap_at(job, x).closes());
    return most;
}

HD MouthColumn read_column(const MouthJob& job, int size, int x) {
    const float middle = middle_x(job), half = half_width_px(job);
    const MouthGap gap = gap_at(job, x), in_middle = gap_at(job, rintf(within(middle, 0.0f, size - 1.0f)));
    const float away = (x - middle) / (1.9f * half), square = away * away;
    const float jaw = JAW_SHARE * in_middle.lower_drop() * expf(-square * square);
    MouthColumn column;
    column.upper_y = gap.to_upper_y();
    column.upper_drop = gap.to_upper_y() - gap.upper_y;
    column.lower_y = gap.to_upper_y() + gap.left;
    column.lower_drop = gap.lower_drop();
    column.chin_y = curve(job.points + JAW, JAW_COUNT, x) + jaw;
    column.jaw_drop = jaw;
    column.fade_above = 1.0f / (0.9f * half);
    column.closes = x % GROUP ? 0.0f : widest_closed(job, x, size);
    return column;
}

// How far down the pixel moves that comes to lie in row y.
HD float drop_at(const MouthColumn& column, int size, float y) {
    if (y < (column.upper_y + column.lower_y) * 0.5f)
        return column.upper_drop * within(1.0f + (y - column.upper_y) * column.fade_above, 0.0f, 1.0f);
    // From the lip to the chin its motion turns into the jaw's, in proportion; under the chin that dies away.
    const float span = fmaxf(column.chin_y - column.lower_y, 1.0f);
    if (y < column.lower_y + span)
        return column.lower_drop + (column.jaw_drop - column.lower_drop) * ((y - column.lower_y) / span);
    return column.jaw_drop * within(1.0f - (y - column.chin_y) / (0.35f * size), 0.0f, 1.0f);
}

HD bool closes(const MouthColumn* columns, int size) {
    LOOP for (int x = 0; x < size; x += GROUP)
        if (columns[x].closes >= SHUT_PX) return true;
    return false;
}

// Writes one pixel of one face. whole: T [3, size, size]; input: T [6, size, size], of which 3..5 are written.
template <typename T>
HD void close_mouth_pixel(const MouthColumn* columns, const T* whole, T* input, int size, int x, int y) {
    const int plane = size * size, at = y * size + x;
    const float drop = closes(columns, size) ? drop_at(columns[x], size, y) : 0.0f;
    // Rows from 0 on: the fraction is cut off as the floor is.
    const float row = within(y - drop, 0.0f, size - 1.0f);
    const int first = static_cast<int>(row), next = clamped(first + 1, 0, size - 1);
    const float share = row - first;
    for (int channel = 0; channel < 3; ++channel) {
        const T* from = whole + channel * plane + x;
        T* to = input + (3 + channel) * plane + at;
        if (drop == 0.0f) {
            *to = from[y * size];
            continue;
        }
        const float above = float_of(from[first * size]), below = float_of(from[next * size]);
        store(to, above + share * (below - above));
    }
}
