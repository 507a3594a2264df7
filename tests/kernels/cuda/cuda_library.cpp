// Stands in for NVIDIA's driver library. Handles are checked on the way back: one that lost its upper half is found.
#define GRAPH ((void*)0x7fff12345678)
#define READY ((void*)0x7eee12345678)
#define STREAM ((void*)0x7ddd12345678)

extern "C" {
// 1 while work is recorded, 2 after it; 10, 100, 1000 for each graph that was destroyed, launched, given back.
int state = 0;

int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuDriverGetVersion(int* version) { *version = VERSION; return 0; }
int cuGetErrorName(int status, const char** name) { *name = "CUDA_ERROR_NO_DEVICE"; return status ? 0 : 1; }
int cuDeviceGet(int* device, int ordinal) { *device = 5; return ordinal ? 101 : 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? 12 : attribute == 76 ? 1 : -1;
    return device != 5;
}
int cuStreamBeginCapture_v2(void* stream, int mode) { state = 1; return stream != STREAM || mode != 1; }
int cuStreamEndCapture(void* stream, void** graph) {
    if (state != 1 || stream != STREAM) return 901;
    state = 2;
    *graph = CAPTURE ? nullptr : GRAPH;
    return CAPTURE;
}
int cuGraphInstantiateWithFlags(void** ready, void* graph, unsigned long long flags) {
    *ready = READY;
    return graph != GRAPH || flags;
}
int cuGraphDestroy(void* graph) { state += 10; return graph != GRAPH; }
int cuGraphLaunch(void* ready, void* stream) { state += 100; return ready != READY || stream != STREAM; }
int cuGraphExecDestroy(void* ready) { state += 1000; return ready != READY; }
int seen() { return state; }
}
