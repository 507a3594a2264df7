"""What lips do while phones are said: co-articulation by dominance functions, fitted on real mouths.

Every phone has a mouth of its own and a dominance that rises before it and falls after it; the mouth at any time is the
mean of the phones' mouths, weighted by their dominance then. A consonant that needs the lips (p, b, m, f, v) dominates,
one that does not (t, k, h) takes the mouth of its neighbours.

Source: M. M. Cohen and D. W. Massaro, "Modeling coarticulation in synthetic visual speech", 1993, with one dominance
for opening and one for width; their parameters were set by hand, these are fitted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.phones import SILENT, Phone

Track = NDArray[np.float32]

# Where the fit starts, and what it stays at for a phone that the material never says:
# opening above the closed mouth in shares of the outer-eye distance, width over the person's median, dominance.
PRIORS: dict[str, tuple[float, float, float]] = {
    SILENT: (0.005, 1.0, 0.7),
    **dict.fromkeys(("P", "B", "M"), (-0.01, 0.98, 4.0)),
    **dict.fromkeys(("F", "V"), (0.01, 1.0, 3.0)),
    **dict.fromkeys(("W",), (0.03, 0.86, 2.5)),
    **dict.fromkeys(("UW", "UH"), (0.04, 0.88, 2.0)),
    **dict.fromkeys(("OW", "OY"), (0.07, 0.9, 2.0)),
    **dict.fromkeys(("AO",), (0.10, 0.93, 2.0)),
    **dict.fromkeys(("AA", "AH", "AW", "AY", "AE"), (0.12, 1.0, 2.0)),
    **dict.fromkeys(("EH", "EY", "ER"), (0.09, 1.02, 1.6)),
    **dict.fromkeys(("IY", "IH", "Y"), (0.06, 1.05, 1.5)),
    **dict.fromkeys(("SH", "ZH", "CH", "JH"), (0.05, 0.92, 1.8)),
    **dict.fromkeys(("R",), (0.05, 0.92, 1.2)),
    **dict.fromkeys(("S", "Z"), (0.04, 1.02, 1.2)),
    **dict.fromkeys(("T", "D", "N", "L", "TH", "DH"), (0.06, 1.02, 0.8)),
    **dict.fromkeys(("K", "G", "NG", "HH"), (0.07, 1.0, 0.5)),
}
NAMES = tuple(PRIORS)
RATE_HZ = 14.0
FIT_STEPS = 400
FIT_RATE = 0.02
# Pull towards the priors, in fitted squared spreads: a phone heard a hundred times hardly feels it.
PRIOR_WEIGHT = 2e-3
SPREAD = (0.05, 0.06)
"""Of opening and width scale over real speech, so that both count alike."""


@dataclass(frozen=True, slots=True)
class Said:
    """One recording whose mouth was seen, to fit on.

    Attributes:
        person: Whose mouth; persons open theirs more or less widely.
        phones: What was said when.
        times_s: float [T].
        mouths: float32 [T, 2], opening above the closed mouth, width over the person's median; NaN where not known.
    """

    person: str
    phones: Sequence[Phone]
    times_s: NDArray[np.float64]
    mouths: Track


@dataclass(frozen=True, slots=True)
class Articulation:
    """The fitted model.

    Attributes:
        mouths: float32 [P, 2], each phone's opening and width scale, in the order of `NAMES`.
        dominance: float32 [P, 2], natural logarithm of its weight for opening and for width.
        rates: float32 [P, 2, 2], natural logarithm of the rate in 1/s before and after it, for opening and width.
    """

    mouths: Track
    dominance: Track
    rates: Track

    def track(self, phones: Sequence[Phone], times_s: NDArray[np.float64]) -> Track:
        """Opening and width scale at some times, float32 [T, 2]; openings are not below 0."""
        values = (torch.from_numpy(self.mouths), torch.from_numpy(self.dominance), torch.from_numpy(self.rates))
        mouths = _track(values, _tensors(phones, times_s)).numpy()
        mouths[:, 0] = mouths[:, 0].clip(0)
        return np.asarray(mouths, np.float32)

    def save(self, path: Path) -> None:
        """Write as JSON, one row a phone."""
        rows = {
            name: {"mouth": mouth, "dominance": dominance, "rates": rates}
            for name, mouth, dominance, rates in zip(
                NAMES, self.mouths.tolist(), self.dominance.tolist(), self.rates.tolist(), strict=True
            )
        }
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def prior() -> Articulation:
    """The model before any fit."""
    values = np.array([PRIORS[name] for name in NAMES], np.float32)
    dominance = np.log(np.repeat(values[:, 2:], 2, 1))
    rates = np.full((len(NAMES), 2, 2), np.log(RATE_HZ), np.float32)
    return Articulation(values[:, :2].copy(), dominance.astype(np.float32), rates)


def load_articulation(path: Path) -> Articulation:
    """Read what `Articulation.save` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    fields = (np.array([rows[name][key] for name in NAMES], np.float32) for key in ("mouth", "dominance", "rates"))
    return Articulation(*fields)


def fit_articulation(material: Iterable[Said], steps: int = FIT_STEPS) -> Articulation:
    """Fit every phone's mouth, dominance and rates by least squares, each person's scale of opening along with them."""
    said = list(material)
    start = prior()
    mouths, dominance, rates = (
        torch.from_numpy(each.copy()).requires_grad_() for each in (start.mouths, start.dominance, start.rates)
    )
    persons = sorted({each.person for each in said})
    scales = torch.zeros(len(persons), requires_grad=True)
    inputs = [_tensors(each.phones, each.times_s) for each in said]
    truths = [torch.from_numpy(each.mouths) for each in said]
    spread = torch.tensor(SPREAD)
    adam = torch.optim.Adam([mouths, dominance, rates, scales], FIT_RATE)
    frames = sum(len(each.times_s) for each in said)
    for step in range(steps):
        adam.param_groups[0]["lr"] = FIT_RATE * (1 - step / steps)
        loss = PRIOR_WEIGHT * _distance((mouths, dominance, rates), start, spread)
        for each, tensors, truth in zip(said, inputs, truths, strict=True):
            drawn = _track((mouths, dominance, rates), tensors)
            scale = torch.stack([(scales[persons.index(each.person)] - scales.mean()).exp(), torch.ones(())])
            error = (drawn * scale - truth) / spread
            loss = loss + (error[~error.isnan()] ** 2).sum() / (2 * frames)
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    fitted = Articulation(*(each.detach().numpy() for each in (mouths, dominance, rates)))
    return _as_wide_as_seen(fitted, said)


def _as_wide_as_seen(fitted: Articulation, said: Sequence[Said]) -> Articulation:
    """Least squares draws every movement too small; give the mean person's movements their size back."""
    gain = np.ones(2)
    for column in range(2):
        seen: dict[str, list[Track]] = {}
        drawn: dict[str, list[Track]] = {}
        for each in said:
            known = ~np.isnan(each.mouths[:, column])
            seen.setdefault(each.person, []).append(each.mouths[known, column])
            drawn.setdefault(each.person, []).append(fitted.track(each.phones, each.times_s)[known, column])
        if min(sum(map(len, of)) for of in seen.values()):
            spreads = [np.mean([np.concatenate(of).std() for of in group.values()]) for group in (seen, drawn)]
            gain[column] = spreads[0] / max(spreads[1], 1e-6)
    rest = np.array([0.0, 1.0])
    return replace(fitted, mouths=(rest + (fitted.mouths - rest) * gain).astype(np.float32))


def _distance(values: tuple[Tensor, Tensor, Tensor], start: Articulation, spread: Tensor) -> Tensor:
    mouths, dominance, rates = values
    away = ((mouths - torch.from_numpy(start.mouths)) / spread).square().sum()
    away = away + (dominance - torch.from_numpy(start.dominance)).square().sum()
    return away + (rates - torch.from_numpy(start.rates)).square().sum()


def _tensors(phones: Sequence[Phone], times_s: NDArray[np.float64]) -> tuple[Tensor, Tensor, Tensor]:
    """Index of each phone [K], time before its start [T, K], time after its end [T, K]."""
    index = torch.tensor([NAMES.index(each.name) for each in phones])
    starts = torch.tensor([each.start_s for each in phones])
    ends = torch.tensor([each.end_s for each in phones])
    times = torch.from_numpy(np.asarray(times_s, np.float32))[:, None]
    # A phone is most itself from a third of its length on to two thirds.
    third = (ends - starts) / 3
    return index, (starts + third - times).clamp_min(0), (times - ends + third).clamp_min(0)


def _track(values: tuple[Tensor, Tensor, Tensor], times: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Weighted mean of the phones' mouths, [T, 2]."""
    mouths, dominance, rates = values
    index, before_s, after_s = times
    speed = rates[index].exp()
    fall = before_s[..., None] * speed[:, :, 0] + after_s[..., None] * speed[:, :, 1]
    weights = (dominance[index] - fall).softmax(1)
    return (weights * mouths[index]).sum(1)
