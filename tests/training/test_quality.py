"""The quality judge learns to tell pictures apart, and what it tells a generator points the right way."""

import pytest
import torch

from training.quality import QualityJudge, feature_loss, judge_loss

pytestmark = pytest.mark.unit


def _pictures(seed: int, *, sharp: bool) -> torch.Tensor:
    torch.manual_seed(seed)
    picture = torch.rand(6, 3, 96, 96)
    return picture if sharp else torch.nn.functional.avg_pool2d(picture, 5, 1, 2)


def test_it_learns_to_tell_sharp_from_blurred() -> None:
    torch.manual_seed(0)
    judge = QualityJudge()
    adam = torch.optim.Adam(judge.parameters(), 2e-3)
    for step in range(25):
        loss = judge_loss(judge(_pictures(step, sharp=False))[0], judge(_pictures(step, sharp=True))[0])
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        blurred, sharp = (judge(_pictures(99, sharp=each))[0].mean() for each in (False, True))
    assert sharp - blurred > 0.5


def test_it_looks_at_the_mouth_alone() -> None:
    judge = QualityJudge().eval()
    picture = _pictures(1, sharp=True)
    elsewhere = picture.clone()
    elsewhere[:, :, :48] = 0
    elsewhere[:, :, :, :20] = 0
    mouth = picture.clone()
    mouth[:, :, 60:80, 40:60] = 0
    with torch.no_grad():
        scores = [judge(each)[0] for each in (picture, elsewhere, mouth)]
    assert torch.equal(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])


def test_equal_pictures_have_equal_features() -> None:
    judge = QualityJudge().eval()
    with torch.no_grad():
        sharp, blurred = (judge(_pictures(1, sharp=each))[1] for each in (True, False))
    assert feature_loss(sharp, sharp) == 0
    assert feature_loss(sharp, blurred) > 0.01


def test_the_judge_wants_photographs_above_one_and_drawings_below_minus_one() -> None:
    assert judge_loss(torch.tensor([-2.0]), torch.tensor([2.0])) == 0
    assert judge_loss(torch.tensor([0.0]), torch.tensor([0.0])) == 2
