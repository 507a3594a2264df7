// The points of one face's lips and jaw: all that `close_mouth.cu` and `draw_masks.cu` are told of it.
#pragma once

#include "portable.cuh"

struct Point {
    float x, y;
};

// Where in a job each run of points begins, and how many they are. The jaw is the outline without its three points on
// either cheek.
constexpr int UPPER_INNER = 0, LOWER_INNER = 11, OUTLINE = 22, JAW = 25, OUTER_LIPS = 41, NOSE = 61, MOUTH_POINTS = 63;
constexpr int INNER_COUNT = 11, OUTLINE_COUNT = 19, JAW_COUNT = 13, LIPS_COUNT = 20;
constexpr int MIDDLE_OF_LIP = 5;

// One face. The layout is repeated in `kernels/cuda/mouth_jobs.py`; a test compares the sizes.
struct MouthJob {
    Point points[MOUTH_POINTS];  // in pixels of the crop
    float opening_px;            // what is to be left of the gap between the lips
    float unused;
};
static_assert(sizeof(MouthJob) == 512, "jobs are rows of 128 floats");

// Between two numbers; the lower one where it is none.
HD float within(float value, float low, float high) { return fminf(fmaxf(value, low), high); }
