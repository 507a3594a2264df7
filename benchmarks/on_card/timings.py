"""Every kernel over more and more faces: bytes, the time that a copy of as many takes, the time it takes, their ratio.

In the same run: the same crop and paste by torch's own operations on the card, and by OpenCV on the processor.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks.harness import percentiles
from benchmarks.on_card.scene import Scene, Sizes
from kernels.crop import crop_face, in_crop
from kernels.cuda.device import Device, DeviceMemoryFull
from kernels.mouth import close_mouth
from kernels.paste import mouth_mask, paste_face, resting_mask
from kernels.yuv import yuv_to_rgb_matrix

FACES = (1, 8, 32, 64, 128)
ONE_FACE = Sizes(1)


def run(
    device: Device,
    copy_gb_s: float | None,
    sizes: Sizes = ONE_FACE,
    *,
    faces: Sequence[int] = FACES,
    repeats: int = 100,
) -> list[dict[str, Any]]:
    """Time all kernels.

    Args:
        device: The card.
        copy_gb_s: Bytes read and written a second by a copy on the card; None where that was not measured.
        sizes: What the scenes are made of, but for the number of faces.
        faces: How many faces go in a launch.
        repeats: How often each is timed.
    """
    rows = []
    for count in faces:
        try:
            scene = Scene(device, replace(sizes, faces=count))
        except DeviceMemoryFull as error:
            rows.append({"faces": count, "not_measured": str(error)})
            continue
        try:
            rows += _of_scene(scene, copy_gb_s, repeats)
        finally:
            scene.close()
    return rows


def _of_scene(scene: Scene, copy_gb_s: float | None, repeats: int) -> list[dict[str, Any]]:
    device, rows = scene.device, []
    scene.generate()
    scene.everything()
    device.synchronise()
    together = {**scene.operations(), "all of them": scene.everything}
    least = {**scene.least_bytes, "all of them": sum(scene.least_bytes.values())}
    for name, work in together.items():
        # As serving runs it: recorded once, launched as one.
        graph = device.capture(work)
        for _ in range(3):
            graph.launch()
        ms = percentiles([device.timed(graph.launch) for _ in range(repeats)])
        graph.close()
        floor_ms = None if copy_gb_s is None else least[name] / copy_gb_s / 1e6
        rows.append(
            {
                "kernel": name,
                "faces": scene.sizes.faces,
                "crop_px": scene.sizes.crop_px,
                "bytes": least[name],
                "ms": asdict(ms),
                "floor_ms": floor_ms,
                "share_of_copy": None if floor_ms is None else floor_ms / ms.p50,
            }
        )
    rows.append(_by_torch(scene, repeats))
    return rows


def _by_torch(scene: Scene, repeats: int) -> dict[str, Any]:
    """The crop by operations of torch: three planes sampled, a matrix, masks and a stack."""
    import torch

    row: dict[str, Any] = {"kernel": "crop_face by torch", "faces": scene.sizes.faces, "crop_px": scene.sizes.crop_px}
    if not torch.cuda.is_available():
        return row | {"not_measured": f"torch {torch.__version__} sees no card"}
    work = _crop_by_torch(torch, scene)
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        work()
        last.record()
        last.synchronize()
        times.append(float(first.elapsed_time(last)))
    return row | {"ms": asdict(percentiles(times))}


def _crop_by_torch(torch: Any, scene: Scene) -> Callable[[], object]:  # noqa: ANN401 - the module
    size, kind = scene.sizes.crop_px, torch.float16 if scene.sizes.half else torch.float32
    functional = torch.nn.functional
    # Torch samples a batch only of pictures of one size: the whole frames, as who has no kernels of their own would.
    stacks = [np.stack([scene.planes[i % len(scene.planes)][p] for i in range(scene.sizes.faces)]) for p in range(3)]
    planes = [torch.from_numpy(stack).cuda()[:, None] for stack in stacks]
    matrix = torch.from_numpy(yuv_to_rgb_matrix(scene.sizes.colour).astype(np.float32)).cuda()
    grids = torch.from_numpy(np.stack([_grid(scene, i, size) for i in range(scene.sizes.faces)])).cuda()

    def work() -> object:
        sampled = [
            functional.grid_sample(plane.float(), grids, mode="bilinear", padding_mode="border", align_corners=False)
            for plane in planes
        ]
        yuv1 = torch.cat([*sampled, torch.ones_like(sampled[0])], dim=1)
        crop = (torch.einsum("rc,nchw->nrhw", matrix, yuv1).clamp(0, 255) / 255).to(kind)
        hidden = crop.clone()
        hidden[:, :, size // 2 :] = 0
        return torch.cat([crop, hidden], dim=1)

    return work


def _grid(scene: Scene, index: int, size: int) -> np.ndarray:
    (a, b, x), (c, d, y) = np.linalg.inv(
        np.vstack([scene.to_crops[index % len(scene.planes)].astype(np.float64), [0, 0, 1]])
    )[:2]
    rows, columns = np.mgrid[0:size, 0:size]
    across, down = a * columns + b * rows + x, c * columns + d * rows + y
    height, width = scene.sizes.height, scene.sizes.width
    return np.stack([(across + 0.5) * 2 / width - 1, (down + 0.5) * 2 / height - 1], axis=-1).astype(np.float32)


def by_processor(sizes: Sizes, repeats: int = 50) -> dict[str, Any]:
    """One face's crop, masks and paste by the form of this machine's processor, OpenCV and NumPy."""
    from benchmarks.harness import measure
    from benchmarks.kernels import Scene as Frame
    from benchmarks.kernels import prepare
    from benchmarks.pictures import copied

    given = prepare(Frame(sizes.height, sizes.width, sizes.face_px, 0.0), sizes.crop_px)
    planes = copied(given.planes)

    def work() -> None:
        crop = crop_face(planes, given.to_crop, sizes.crop_px)
        points = in_crop(given.landmarks, given.to_crop)
        close_mouth(crop, points)
        masks = mouth_mask(points, sizes.crop_px), resting_mask(points, sizes.crop_px)
        paste_face(planes, given.generated, crop, given.to_crop, masks[0], resting=masks[1])

    timed = measure("all of them by the processor", work, count=repeats)
    return {"kernel": timed.name, "faces": 1, "crop_px": sizes.crop_px, "ms": asdict(timed.ms)}
