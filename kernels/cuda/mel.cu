// The columns of every session in two launches, with spectrum [sessions, columns, 401] between them: grid.z is the
// session, y the column (four to a thread in the first launch), x the bin, then the band.
#include "mel.cuh"

extern "C" __global__ void __launch_bounds__(256, 3) mel_spectra(
    const MelJob* jobs, const Turn* turns, const float* window, float* spectrum, int columns
) {
    const int bin = blockIdx.x * blockDim.x + threadIdx.x;
    const int first = (blockIdx.y * blockDim.y + threadIdx.y) * MEL_TOGETHER;
    const MelJob& job = jobs[blockIdx.z];
    if (bin >= MEL_BINS || first >= job.count) return;
    mel_amplitudes(job, turns, window, spectrum + blockIdx.z * columns * MEL_BINS, first, bin);
}

extern "C" __global__ void __launch_bounds__(256, 3) mel_bands(
    const MelJob* jobs, const Band* bands, const float* weights, const float* spectrum, int columns
) {
    const int band = blockIdx.x * blockDim.x + threadIdx.x, column = blockIdx.y * blockDim.y + threadIdx.y;
    const MelJob& job = jobs[blockIdx.z];
    if (band >= MEL_BANDS || column >= job.count) return;
    mel_band(job, bands, weights, spectrum + blockIdx.z * columns * MEL_BINS, column, band);
}
