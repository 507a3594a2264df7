"""A face made of numbers: ICT-FaceKit's neutral mesh, its identity and expression shapes, and the parts it is made of.

Lengths are the model's own, about centimetres; x points to the subject's left, y up, z out of the face.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components, dijkstra

from training.data.clips import MaterialError

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]
Weights = Mapping[str, float]

MESH_FILE, INDEX_FILE = "ict_facekit_compact.npz", "vertex_indices.json"
# Runs of vertices in ICT-FaceKit's order (its README, "Model geometry"); what is not named here (back of the head,
# tear fluid, lashes) is left out: the portrait brings its own.
PART_RUNS = {
    "skin": (0, 9409),
    "socket": (11248, 13294),
    "lids": (13294, 14062),
    "gums": (14062, 17039),
    "teeth": (17039, 21451),
    "eye_left": (21451, 23021),
    "eye_right": (23021, 24591),
}
# Within the gums, from this vertex on comes the tongue, but for the uvula far behind it.
_TONGUE_FIRST, _TONGUE_ROOT_Z = 16312, 3.3
# MediaPipe's point for each of the 68 landmarks of the index file (the order of iBUG's 300-W).
# fmt: off
MEDIAPIPE_68 = (
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)
# Lip contours from the subject's right corner to the left: MediaPipe's points, and the numbers among the 68 on the way.
LIP_CONTOURS = (
    ((61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291), (48, 49, 50, 51, 52, 53, 54)),
    ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291), (48, 59, 58, 57, 56, 55, 54)),
    ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (60, 61, 62, 63, 64)),
    ((78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308), (60, 67, 66, 65, 64)),
)
# fmt: on


@dataclass(frozen=True)
class HeadModel:
    """The mesh, cut down to what a portrait cannot bring itself.

    Attributes:
        neutral: float32 [V, 3].
        expressions: float32 [57, V, 3] offsets, in the order of `names`.
        names: Of the expressions, such as "jawOpen".
        identities: float32 [100, V, 3] offsets.
        triangles: int32 [T, 3].
        parts: Vertex numbers of each part of `PART_RUNS`.
        landmarks: int32 [68] vertices.
        contour_vertices: int32 [C], vertices along the lips ...
        contour_points: int32 [C], ... and the MediaPipe points that belong to them.
        lower: bool [V], what the jaw carries rather than the skull.
        tongue: float32 [V], 1 at the tip of the tongue, 0 at its root and elsewhere.
        from_lips: float32 [V], way along the skin from the line where the lips meet; negative inside the mouth.
    """

    neutral: Floats
    expressions: Floats
    names: tuple[str, ...]
    identities: Floats
    triangles: Indices
    parts: dict[str, Indices]
    landmarks: Indices
    contour_vertices: Indices
    contour_points: Indices
    lower: NDArray[np.bool_]
    tongue: Floats
    from_lips: Floats

    def weights(self, named: Weights) -> Floats:
        """Named weights as float32 [57]; a name without side sets both sides.

        Raises:
            KeyError: There is no such shape.
        """
        vector = np.zeros(len(self.names), np.float32)
        for name, value in named.items():
            found = [i for i, each in enumerate(self.names) if each in (name, f"{name}_L", f"{name}_R")]
            if not found:
                raise KeyError(f"no expression shape {name}; there are {', '.join(self.names)}")
            vector[found] = value
        return vector

    def shaped(self, neutral: Floats, weights: Floats) -> Floats:
        """Vertices [V, 3] of a person's neutral face under expression weights [57]."""
        used = np.flatnonzero(weights)
        return np.asarray(neutral + np.tensordot(weights[used], self.expressions[used], 1), np.float32)


def load_head_model(folder: Path) -> HeadModel:
    """Read the mesh.

    Args:
        folder: Holds `ict_facekit_compact.npz` and `vertex_indices.json`.

    Raises:
        MaterialError: A file is missing.
    """
    for name in (MESH_FILE, INDEX_FILE):
        if not (folder / name).is_file():
            raise MaterialError(f"{folder} has no {name}; pass the material folder with --material")
    with np.load(folder / MESH_FILE) as stored:
        neutral, faces = stored["neutral"], stored["faces"]
        expressions, identities = stored["expr"].astype(np.float32), stored["ident"].astype(np.float32)
        names = tuple(str(each) for each in stored["expr_names"])
    triangles = np.concatenate([faces[:, :3], faces[faces[:, 3] >= 0][:, [0, 2, 3]]])
    landmarks = np.array(json.loads((folder / INDEX_FILE).read_text("utf-8"))["idx_to_landmark_verts"], np.int32)
    kept = np.concatenate([np.arange(*run) for run in PART_RUNS.values()])
    number = np.full(len(neutral), -1, np.int32)
    number[kept] = np.arange(len(kept))
    triangles = number[triangles]
    triangles = triangles[(triangles >= 0).all(1)]
    jaw = np.linalg.norm(expressions[names.index("jawOpen")][kept], axis=1)
    contour_vertices, contour_points = _lip_contours(neutral[kept], triangles, number[landmarks])
    return HeadModel(
        neutral=neutral[kept],
        expressions=expressions[:, kept],
        names=names,
        identities=identities[:, kept],
        triangles=triangles,
        parts={name: number[np.arange(*run)] for name, run in PART_RUNS.items()},
        landmarks=number[landmarks],
        contour_vertices=contour_vertices,
        contour_points=contour_points,
        lower=jaw > 0.5 * jaw.max(),
        tongue=_tongue(neutral)[kept],
        from_lips=_from_lips(neutral[kept], triangles, number[landmarks], number[PART_RUNS["socket"][0]]),
    )


class Normals:
    """Unit normals of a mesh whose triangles stay."""

    def __init__(self, triangles: NDArray[np.int32], vertices: int) -> None:
        rows = triangles.ravel()
        columns = np.repeat(np.arange(len(triangles)), 3)
        self._triangles = triangles
        self._sum = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(vertices, len(triangles)))

    def __call__(self, vertices: Floats) -> Floats:
        """float32 [V, 3]; zero where no triangle is."""
        first, second, third = (vertices[self._triangles[:, k]] for k in range(3))
        summed = self._sum @ np.cross(second - first, third - first)
        return np.asarray(summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-9), np.float32)


def edge_graph(vertices: Floats, triangles: Indices) -> coo_array:
    """Edges of the mesh with their lengths, as a sparse [V, V]."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    lengths = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1) + 1e-6
    return coo_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(vertices), len(vertices)))


def _lip_contours(neutral: Floats, triangles: Indices, landmarks: Indices) -> tuple[Indices, Indices]:
    """Vertices on the lips for MediaPipe's points between the landmarks, by share of the way along the edges."""
    graph = edge_graph(neutral, triangles).tocsr()
    vertices: list[int] = []
    points: list[int] = []
    for contour, stations in LIP_CONTOURS:
        at = [contour.index(MEDIAPIPE_68[station]) for station in stations]
        for (first, start), (last, stop) in pairwise(zip(stations, at, strict=True)):
            path, length = _shortest_path(graph, int(landmarks[first]), int(landmarks[last]))
            for k in range(start + 1, stop):
                share = (k - start) / (stop - start)
                vertices.append(path[int(np.abs(length - share * length[-1]).argmin())])
                points.append(contour[k])
    return np.array(vertices, np.int32), np.array(points, np.int32)


def _tongue(neutral: Floats) -> Floats:
    share = np.zeros(len(neutral), np.float32)
    top = slice(_TONGUE_FIRST, PART_RUNS["gums"][1])
    forward = neutral[top, 2] - _TONGUE_ROOT_Z
    share[top] = np.clip(forward / forward.max(), 0, 1)
    return share


def _from_lips(neutral: Floats, triangles: Indices, landmarks: Indices, inside: int) -> Floats:
    """Signed way from the closed loop where upper and lower lip meet; `inside` is any vertex behind it."""
    graph = edge_graph(neutral, triangles).tocsr()
    stations = [int(landmarks[k]) for k in (60, 61, 62, 63, 64, 65, 66, 67, 60)]
    loop = sorted({vertex for start, stop in pairwise(stations) for vertex in _shortest_path(graph, start, stop)[0]})
    off_loop = np.ones(len(neutral))
    off_loop[loop] = 0
    cut = diags_array(off_loop) @ graph @ diags_array(off_loop)
    cut.eliminate_zeros()
    _, label = connected_components(cut, directed=False)
    way = dijkstra(graph, directed=False, indices=loop, min_only=True)
    return np.asarray(np.where(label == label[inside], -way, way), np.float32)


def _shortest_path(graph: coo_array, start: int, stop: int) -> tuple[list[int], NDArray[np.float64]]:
    """Vertices from start to stop along the edges, and the length of the way to each."""
    distance, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [stop]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    path.reverse()
    return path, distance[path]
