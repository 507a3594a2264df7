"""Following one face through a clip with the product's landmark networks and smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.smoothing import OneEuro
from models.landmarks import FaceMesh, LandmarkNetworks
from training.data.clips import Planes

Points = NDArray[np.float32]


class FaceFollower:
    """The largest face of each picture, smoothed as in the live path; forgets everything when the face is lost.

    Args:
        networks: Shared between followers; they keep no state between pictures.
    """

    def __init__(self, networks: LandmarkNetworks) -> None:
        self._networks = networks
        self._mesh: FaceMesh | None = None
        self._smoothing = OneEuro()

    def find(self, planes: Planes) -> Points | None:
        """Landmarks [478, 2] in pixels, unsmoothed, or None without a face."""
        found = self._networks.follow(planes, [self._mesh])[0] if self._mesh else None
        if found is None:
            self._smoothing = OneEuro()
            meshes = self._networks.find(planes)
            found = meshes[0] if meshes else None
        self._mesh = found
        return found.points[:, :2].copy() if found else None

    def blendshapes(self) -> NDArray[np.float32]:
        """MediaPipe's 52 weights of the face last found, float32 [52].

        Raises:
            ValueError: No face was found, or the networks were loaded without blendshapes.
        """
        if self._mesh is None:
            raise ValueError("no face was found in the last picture")
        return self._networks.blendshapes(self._mesh)

    def smooth(self, pts_ns: int, landmarks: Points) -> Points:
        """The landmarks that crop and paste see."""
        return self._smoothing(landmarks, pts_ns)
