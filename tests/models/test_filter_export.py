"""An exported filter draws what torch draws of the network as it was trained, or it is not there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.filter_catalogue import load_filter
from models.filter_export import CHECKPOINT_FILE, FilterJob, export_filter
from models.filter_graphs import AsTrained, FilterSamples, ServedFilter, as_served, in_cells, pictures
from models.filter_networks import FilterNetwork, load_filter_weights, rebuild, save_filter_weights
from models.gate import ExportError, measure_parity
from tests.models.filters import SIZE, frames, job, layouts, oasis, planes, resnet, tiny, unet

pytestmark = pytest.mark.unit


def _export(network: FilterNetwork, what: FilterJob, run: int = 1) -> None:
    export_filter(network, what, calibration=frames(8, seed=1, run=run), gate=frames(8, seed=2, run=run))


def _parity_db(
    folder: Path, network: FilterNetwork, precision: str, how: AsTrained | None = None, run: int = 1
) -> float:
    samples = frames(8, seed=3, run=run)
    expected = pictures(ServedFilter(as_served(network, SIZE, how), SIZE), samples)
    loaded = load_filter(folder.name, precision, folders=[folder.parent])
    return measure_parity(expected, pictures(loaded, samples), 0.0).psnr_db


@pytest.mark.parametrize("make", [tiny, unet, resnet, lambda: resnet("batch"), lambda: unet("instance")])
def test_what_is_loaded_draws_what_torch_draws(make: type[FilterNetwork], tmp_path: Path) -> None:
    network = make()
    _export(network, job(tmp_path / "drawn"))
    assert _parity_db(tmp_path / "drawn", network, "fp32") >= 45


def test_a_u_net_in_int8_is_near_torch(tmp_path: Path) -> None:
    network = unet()
    _export(network, job(tmp_path / "drawn", ("int8",)))
    assert _parity_db(tmp_path / "drawn", network, "int8") >= 35


def test_a_filter_on_planes_is_shown_bytes_and_draws_them(tmp_path: Path) -> None:
    network = planes()
    samples = [FilterSamples(in_cells(frames(8, seed=seed).frames)) for seed in (1, 2, 3)]
    what = replace(job(tmp_path / "drawn", ("fp32", "int8")), source="planes")
    export_filter(network, what, calibration=samples[0], gate=samples[1])
    expected = pictures(ServedFilter(as_served(network, SIZE), SIZE), samples[2])
    for precision, limit_db in (("fp32", 45), ("int8", 35)):
        loaded = load_filter("drawn", precision, folders=[tmp_path])
        assert str(loaded.inputs["frame"]) == "uint8 [N, 16, 24, 24]"
        assert measure_parity(expected, pictures(loaded, samples[2]), 0.0).psnr_db >= limit_db
        loaded.close()
    with pytest.raises(ExportError, match="samples are float32"):
        export_filter(network, what, calibration=frames(8, seed=1), gate=frames(8, seed=2))
    with pytest.raises(ExportError, match=r"the input frame is uint8 \[N, 16, 24, 24\], expected float32"):
        export_filter(network, replace(what, source="picture"), calibration=samples[0], gate=samples[1])


def test_a_residual_filter_in_int8_keeps_the_picture_itself_in_floats(shipped: Path) -> None:
    # 256 steps over [-1, 1] alone would be 53 dB from the picture; the difference to it takes a part of them.
    assert _parity_db(shipped / "steady", tiny("previous", residual=True), "int8") >= 45


def test_a_state_is_carried_by_the_engine_as_by_torch(shipped: Path, tmp_path: Path) -> None:
    assert load_filter("steady", folders=[shipped]).manifest.recurrent
    assert _parity_db(shipped / "steady", tiny("previous", residual=True), "fp32", run=8) >= 45
    _export(tiny("recurrent"), job(tmp_path / "longer"), run=4)
    assert _parity_db(tmp_path / "longer", tiny("recurrent"), "fp32", run=8) >= 45


def test_batch_norm_with_the_statistics_of_the_picture_draws_what_training_draws(tmp_path: Path) -> None:
    network, how = unet(), AsTrained(statistics="picture")
    _export(network, job(tmp_path / "picture", ("fp32",), how))
    assert load_filter("picture", folders=[tmp_path]).manifest.normalisation == "picture"
    samples = frames(4, seed=5)
    network.train()
    for drop in network.drop:
        drop.eval()
    with torch.no_grad():
        drawn = torch.cat([network(torch.from_numpy(samples.frames[i : i + 1])) for i in range(4)])
    found = pictures(load_filter("picture", folders=[tmp_path]), samples)
    expected = ((drawn + 1) / 2).numpy()
    assert measure_parity(expected, found, 0.0).psnr_db >= 45
    folded = pictures(ServedFilter(as_served(unet(), SIZE), SIZE), samples)
    assert measure_parity(expected, folded, 0.0).psnr_db < 45


def test_a_pinned_dropout_drops_half_and_the_same_of_every_picture(tmp_path: Path) -> None:
    network, how = unet(), AsTrained(statistics="picture", dropout="pinned", seed=7)
    _export(network, job(tmp_path / "pinned", ("fp32",), how))
    loaded = load_filter("pinned", folders=[tmp_path])
    assert (loaded.manifest.dropout, loaded.manifest.seed) == ("pinned", 7)
    samples = frames(4, seed=5)
    assert np.array_equal(pictures(loaded, samples), pictures(loaded, samples))
    assert _parity_db(tmp_path / "pinned", network, "fp32", how) >= 45
    other = AsTrained(statistics="picture", dropout="pinned", seed=8)
    assert _parity_db(tmp_path / "pinned", network, "fp32", other) < 45


def test_a_layout_is_drawn_with_the_noise_of_the_filter_and_spectral_norm_folded(tmp_path: Path) -> None:
    network = oasis()
    what = replace(job(tmp_path / "layout"), source="layout", classes=("a", "b", "c", "d", "e"))
    export_filter(network, what, calibration=layouts(8, seed=1), gate=layouts(8, seed=2))
    loaded = load_filter("layout", folders=[tmp_path])
    samples = layouts(4, seed=3)
    beside = loaded.start()
    drawn = np.concatenate([loaded.draw(samples.frames[i : i + 1], beside)[0] for i in range(4)])
    noise = torch.from_numpy(beside["z"]).expand(4, -1)
    with torch.no_grad():
        expected = network(torch.from_numpy(samples.frames), noise).numpy()
    assert measure_parity((expected + 1) / 2, (drawn + 1) / 2, 0.0).psnr_db >= 45
    assert expected.std() > 0.1


def test_what_is_stored_in_half_precision_is_what_the_gate_compared(tmp_path: Path) -> None:
    network = tiny()
    _export(network, job(tmp_path / "half"))
    stored = load_filter_weights(tmp_path / "half" / CHECKPOINT_FILE)
    assert stored.config == network.config
    assert _parity_db(tmp_path / "half", stored, "fp32") >= 60


def test_a_frozen_frame_gives_a_frozen_picture(shipped: Path) -> None:
    loaded = load_filter("steady", "int8", folders=[shipped])
    frame, beside, drawn = frames(1, seed=4).frames, loaded.start(), []
    for _ in range(4):
        picture, beside = loaded.draw(frame, beside)
        drawn.append(picture)
    assert not np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[1], drawn[2])
    assert np.array_equal(drawn[2], drawn[3])


def test_a_network_that_the_gate_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    network = tiny()
    with torch.no_grad():
        network.head.weight.fill_(torch.nan)
    with pytest.raises(ExportError, match=r"fp32 is refused: .* dB against torch on 8 inputs"):
        _export(network, job(tmp_path / "broken"))
    assert list((tmp_path / "broken").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precisions": ("fp16",)}, r"precisions are \['fp16'\], expected some of"),
        ({"size_px": (60, 96)}, r"size_px is \[60, 96\], expected multiples of 8"),
        ({"size_px": (64, 64)}, r"samples are float32 \[8, 3, 64, 96\], expected float32 \[N, 3, 64, 64\]"),
        ({"region": "sky"}, r"region is 'sky', expected one of frame, face. Nothing was written"),
        ({"title": "two\nlines"}, r"title is 'two\\nlines', expected one line"),
        ({"source": "layout"}, r"classes are \[\] with source 'layout'"),
    ],
)
def test_a_job_that_cannot_be_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    wanted = {
        field: getattr(job(tmp_path / "refused"), field)
        for field in FilterJob.__dataclass_fields__
        if field not in change
    }
    with pytest.raises(ExportError, match=message):
        _export(tiny(), FilterJob(**wanted, **change))  # type: ignore[arg-type]


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    few = FilterSamples(frames(2, seed=0).frames)
    with pytest.raises(ExportError, match="2 calibration and 8 gate samples, expected at least 8 of each"):
        export_filter(tiny(), job(tmp_path / "few"), calibration=few, gate=frames(8, seed=0))


def test_weights_survive_their_file_and_a_foreign_header_is_refused(tmp_path: Path) -> None:
    network = unet()
    save_filter_weights(tmp_path / "unet.safetensors", network, {"step": 3}, storage="float32")
    again = load_filter_weights(tmp_path / "unet.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match="family is 'vae', expected one of tiny, planes, unet, resnet, oasis"):
        rebuild("vae", {})
