// NVIDIA's driver as FFmpeg loads it (libcuda.so.1, libnvcuvid.so.1, libnvidia-encode.so.1), in the host's memory:
// contexts, memory, copies, a decoder that "decodes" a ramp, and an encoder whose access units say what it was given.
// It is there to see what FFmpeg and PyAV do; what a card does, it does not show.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

namespace {
constexpr int ok = 0, invalid_context = 201, invalid_value = 1;
constexpr int primary = 0x1000;
thread_local std::vector<uintptr_t> current;
std::map<uint64_t, std::pair<size_t, uintptr_t>> rooms;
int mapped_now = 0, decoded = 0;

struct Copy {
    size_t src_x, src_y;
    int src_type;
    const char* src_host;
    uint64_t src_device;
    void* src_array;
    size_t src_pitch, dst_x, dst_y;
    int dst_type;
    char* dst_host;
    uint64_t dst_device;
    void* dst_array;
    size_t dst_pitch, width, height;
};

struct Decoder {
    size_t width, height;
    std::map<int, int> numbers;
};

struct Caps {
    int codec, chroma;
    unsigned depth, reserved[3];
    unsigned char supported, units;
    unsigned short formats;
    unsigned max_width, max_height, max_blocks;
    unsigned short min_width, min_height;
};
}  // namespace

extern "C" {
int cuInit(unsigned) { return ok; }
int cuDeviceGet(int* device, int index) { *device = index; return ok; }
int cuDeviceGetCount(int* count) { *count = 1; return ok; }
int cuDeviceGetAttribute(int* value, int, int) { *value = 512; return ok; }
int cuGetErrorName(int, const char** name) { *name = "ERROR_OF_THE_STAND_IN"; return ok; }
int cuGetErrorString(int, const char** text) { *text = "an error of the stand-in"; return ok; }

// The primary context is in use, with other flags than FFmpeg's, as after pycuda or torch.
int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) { *flags = 0; *active = 1; return ok; }
int cuDevicePrimaryCtxRetain(uintptr_t* context, int) { *context = primary; return ok; }
int cuCtxCreate_v2(uintptr_t* context, unsigned, int) {
    static uintptr_t next = primary;
    current.push_back(*context = ++next);
    return ok;
}
int cuCtxPushCurrent_v2(uintptr_t context) { current.push_back(context); return ok; }
int cuCtxPopCurrent_v2(uintptr_t* context) {
    if (current.empty()) return invalid_context;
    *context = current.back();
    current.pop_back();
    return ok;
}
int cuCtxGetCurrent(uintptr_t* context) { *context = current.empty() ? 0 : current.back(); return ok; }

int cuMemAlloc_v2(uint64_t* address, size_t size) {
    if (current.empty()) return invalid_context;
    void* room = std::malloc(size);
    std::memset(room, 0xCB, size);
    *address = reinterpret_cast<uint64_t>(room);
    rooms[*address] = {size, current.back()};
    return ok;
}
int cuMemFree_v2(uint64_t address) {
    if (!rooms.erase(address)) return invalid_value;
    std::free(reinterpret_cast<void*>(address));
    return ok;
}
int cuMemcpy2DAsync_v2(const Copy* copy, void*) {
    const char* from = copy->src_type == 1 ? copy->src_host : reinterpret_cast<const char*>(copy->src_device);
    char* to = copy->dst_type == 1 ? copy->dst_host : reinterpret_cast<char*>(copy->dst_device);
    for (size_t row = 0; row < copy->height; ++row)
        std::memcpy(to + (row + copy->dst_y) * copy->dst_pitch + copy->dst_x,
                    from + (row + copy->src_y) * copy->src_pitch + copy->src_x, copy->width);
    return ok;
}

int cuStreamSynchronize(void*) { return ok; }

int cuvidGetDecoderCaps(Caps* caps) {
    caps->supported = caps->units = 1;
    caps->formats = 0xFFFF;
    caps->max_width = caps->max_height = 8192;
    caps->max_blocks = 1 << 20;
    caps->min_width = caps->min_height = 16;
    return ok;
}
int cuvidCreateDecoder(void** decoder, const unsigned long* asked) {
    *decoder = new Decoder{asked[0], asked[1], {}};
    return ok;
}
int cuvidDestroyDecoder(void* decoder) { delete static_cast<Decoder*>(decoder); return ok; }
int cuvidDecodePicture(void* decoder, const int* picture) {
    static_cast<Decoder*>(decoder)->numbers[picture[2]] = decoded++;
    return ok;
}
// Sample (row, column) of picture n: 16 + n + row + 2 * column, in luma and in the rows of pairs behind it.
int cuvidMapVideoFrame64(void* decoder, int index, uint64_t* address, unsigned* pitch, void*) {
    auto* own = static_cast<Decoder*>(decoder);
    *pitch = own->width + 96;
    auto* surface = static_cast<unsigned char*>(std::malloc(*pitch * own->height * 3 / 2));
    for (size_t row = 0; row < own->height * 3 / 2; ++row)
        for (size_t column = 0; column < *pitch; ++column)
            surface[row * *pitch + column] = 16 + own->numbers[index] + row + 2 * column;
    *address = reinterpret_cast<uint64_t>(surface);
    ++mapped_now;
    return ok;
}
int cuvidUnmapVideoFrame64(void*, uint64_t address) {
    std::free(reinterpret_cast<void*>(address));
    --mapped_now;
    return ok;
}

// An access unit of the encoder's: an IDR slice's header byte, and in letters what the encoder was given.
using Unit = char[256];

// The fields that are looked at, at the head of the structures of nvEncodeAPI.h.
struct Bitstream { unsigned version, size, heap, reserved; void* buffer; };
struct Resource {
    unsigned version, type, width, height, pitch, sub;
    unsigned char* address;
    void* registered;
    unsigned format, usage;
};
struct Mapping {
    unsigned version, sub;
    void* input;
    Resource* registered;
    void* mapped;
    unsigned format;
};
struct Picture {
    unsigned version, width, height, pitch, flags, index;
    uint64_t time, duration;
    Resource* input;
    Unit* output;
    void* event;
    unsigned format, structure, type;
};
struct Lock {
    unsigned version, options;
    Unit* output;
    void* offsets;
    unsigned index, status, slices, size;
    uint64_t time, duration;
    void* data;
    unsigned type, structure, quantiser;
};

static std::map<Unit*, Picture> waiting;
static int registered_now = 0;

static int nothing() { return ok; }
static int open_session(void*, void** encoder) { *encoder = &waiting; return ok; }
static int count_one(void*, unsigned* count) { *count = 1; return ok; }
static int give_h264(void*, unsigned char* guid, unsigned, unsigned* count) {
    static const unsigned char h264[16] = {0x62, 0x27, 0xc8, 0x6b, 0x63, 0x4e, 0xa4, 0x4c,
                                           0xaa, 0x85, 0x1e, 0x50, 0xf3, 0x21, 0xf6, 0xbf};
    std::memcpy(guid, h264, 16);
    *count = 1;
    return ok;
}
static int give_caps(void*, uint64_t, uint64_t, const void*, int* value) { *value = 4096; return ok; }
static int make_bitstream(void*, Bitstream* asked) { asked->buffer = std::malloc(sizeof(Unit)); return ok; }
static int drop_bitstream(void*, void* buffer) { std::free(buffer); return ok; }
static int register_resource(void*, Resource* asked) {
    asked->registered = new Resource(*asked);
    ++registered_now;
    return ok;
}
static int unregister_resource(void*, Resource* resource) { delete resource; --registered_now; return ok; }
static int map_resource(void*, Mapping* asked) {
    asked->mapped = asked->registered;
    asked->format = asked->registered->format;
    return ok;
}
static int encode_picture(void*, Picture* picture) {
    if (!picture->input) return ok;
    const Resource& from = *picture->input;
    // Pairs where NVENC looks for them: behind the rows that were registered.
    const int first = from.address[0], pair = from.address[from.pitch * from.height];
    char* unit = *picture->output;
    std::memcpy(unit, "\0\0\0\1\x65", 5);
    std::snprintf(unit + 5, sizeof(Unit) - 5, "%ux%u, format %u, flags %u: %d %d", from.width, from.height,
                  from.format, picture->flags, first, pair);
    waiting[picture->output] = *picture;
    return ok;
}
static int lock_bitstream(void*, Lock* lock) {
    const Picture& picture = waiting.at(lock->output);
    lock->size = 5 + std::strlen(*lock->output + 5);
    lock->data = lock->output;
    lock->time = picture.time, lock->duration = picture.duration;
    lock->type = picture.flags & 2 ? 3 : 0;
    return ok;
}

int NvEncodeAPIGetMaxSupportedVersion(unsigned* version) { *version = 0xFFFF; return ok; }
int NvEncodeAPICreateInstance(void** functions) {
    void** calls = functions + 1;
    for (int index = 0; index < 42; ++index) calls[index] = reinterpret_cast<void*>(nothing);
    calls[1] = reinterpret_cast<void*>(count_one);
    calls[4] = reinterpret_cast<void*>(give_h264);
    calls[7] = reinterpret_cast<void*>(give_caps);
    calls[14] = reinterpret_cast<void*>(make_bitstream);
    calls[15] = reinterpret_cast<void*>(drop_bitstream);
    calls[16] = reinterpret_cast<void*>(encode_picture);
    calls[17] = reinterpret_cast<void*>(lock_bitstream);
    calls[25] = reinterpret_cast<void*>(map_resource);
    calls[29] = reinterpret_cast<void*>(open_session);
    calls[30] = reinterpret_cast<void*>(register_resource);
    calls[31] = reinterpret_cast<void*>(unregister_resource);
    return ok;
}

int stand_in_registered() { return registered_now; }
int stand_in_decoded() { return decoded; }
int stand_in_mapped() { return mapped_now; }
int stand_in_rooms() { return static_cast<int>(rooms.size()); }
// The context that an address was allocated in; 0 where it lies in no room of the card's.
uintptr_t stand_in_context_of(uint64_t address, size_t size) {
    for (const auto& [start, room] : rooms)
        if (start <= address && address + size <= start + room.first) return room.second;
    return 0;
}
}
