"""The discriminators of Avocodo: their published sizes, what each hears, and how a decoder's own low rates join."""

import pytest
import torch
from torch import Tensor, nn

from foleyray.config import UserError
from foleyray.modules.discriminators import CollaborativeMultiBandDiscriminator, SubBandDiscriminator
from foleyray.modules.pqmf import Pqmf


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def _wave(batch: int = 2, num_samples: int = 8192, seed: int = 0) -> Tensor:
    return torch.randn(batch, num_samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def _size(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_published_sizes() -> None:
    combd, sbd = CollaborativeMultiBandDiscriminator(), SubBandDiscriminator()
    assert (_size(combd), _size(sbd)) == (16_450_294, 10_622_024)
    assert _size(combd) + _size(sbd) == 27_072_318
    assert [_size(judge) for judge in sbd.discriminators] == [4_280_450, 3_250_754, 2_217_218, 873_602]


def test_seven_judgements_with_the_features_of_their_layers() -> None:
    found = [*CollaborativeMultiBandDiscriminator(4)(_wave()), *SubBandDiscriminator(4)(_wave())]
    assert [tuple(score.shape) for score, _ in found] == [(2, places) for places in (30, 62, 126, 57, 57, 57, 8)]
    coarse = [(4, 2048), (16, 2048), (64, 512), (256, 128), (256, 32), (256, 32)]
    bands = [(16, 512), (32, 512), (64, 171), (64, 57), (64, 57)]
    expected = [[(channels, rate * places) for channels, places in coarse] for rate in (1, 2, 4)]
    expected += [bands] * 3 + [[(8, 64), (16, 64), (32, 22), (32, 8), (32, 8)]]
    assert [[tuple(feature.shape[1:]) for feature in features] for _, features in found] == expected


def test_a_real_wave_is_heard_by_its_lowest_bands() -> None:
    judges, wave = CollaborativeMultiBandDiscriminator(4), _wave()
    quarter, half = Pqmf(4, 192, 0.13, 10.0)(wave)[:, 0], Pqmf(2, 256, 0.25, 10.0)(wave)[:, 0]
    for judge, heard, (score, features) in zip(judges.discriminators, (quarter, half, wave), judges(wave), strict=True):
        alone = judge(heard)
        assert torch.equal(score, alone[0])
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(features, alone[1], strict=True))


def test_a_decoders_own_low_rates_come_before_the_bands() -> None:
    """So features of real waves, repeated along the batch, meet those of the same clips."""
    judges, wave, own = CollaborativeMultiBandDiscriminator(4), _wave(), [_wave(2, 2048, 1), _wave(2, 4096, 2)]
    plain, joint = judges(wave), judges(wave, own)
    for place in range(2):
        of_own = judges.discriminators[place](own[place])[0]
        assert torch.allclose(joint[place][0], torch.cat([of_own, plain[place][0]]), atol=1e-5)
        for both, of_bands in zip(joint[place][1], plain[place][1], strict=True):
            assert torch.allclose((both - of_bands.repeat(2, 1, 1))[2:], torch.zeros(()), atol=1e-5)
            assert not torch.allclose(both[:2], of_bands, atol=1e-3)
    assert torch.equal(joint[2][0], plain[2][0])


def test_a_perfect_decoder_has_the_features_of_the_real_wave() -> None:
    judges, wave = CollaborativeMultiBandDiscriminator(4), _wave()
    own = [bank(wave)[:, 0] for bank in judges.banks]
    for (_, real), (_, made) in zip(judges(wave)[:2], judges(wave, own)[:2], strict=True):
        for ours, theirs in zip(real, made, strict=True):
            assert torch.allclose(ours.repeat(2, 1, 1), theirs, atol=1e-5)


def test_each_sub_band_judge_hears_only_its_bands() -> None:
    """A high sine is beyond the first 6 and 11 of 16 bands; a low one is heard by all."""
    judges, wave = SubBandDiscriminator(4), _wave()
    time = torch.arange(8192) / 22_050
    for hz, heard in ((300, [True] * 4), (10_500, [False, False, True, True])):
        sine = 0.5 * torch.sin(2 * torch.pi * hz * time) * torch.hann_window(8192)
        changes = [
            (after[1][0] - before[1][0]).norm() / before[1][0].norm()
            for before, after in zip(judges(wave), judges(wave + sine), strict=True)
        ]
        assert [change.item() > 0.05 for change in changes] == heard
        assert all(change < 1e-3 for change, hears in zip(changes, heard, strict=True) if not hears)


@pytest.mark.parametrize("segment", [8192, 2048])
def test_the_last_judge_has_moments_as_channels_and_64_bands_as_places(segment: int) -> None:
    judges, wave = SubBandDiscriminator(4, segment), _wave(num_samples=segment)
    last, heard = judges.discriminators[3], Pqmf(64, 256, 0.1, 9.0)(wave).permute(0, 2, 1)
    assert last.convs[0].convs[0].in_channels == segment // 64
    assert torch.allclose(judges(wave)[3][0], last(heard)[0], atol=1e-6)


def test_another_length_is_refused() -> None:
    with pytest.raises(AssertionError, match="88064 samples, but the sub-band discriminator hears 8192"):
        SubBandDiscriminator(4)(_wave(1, 88_064))
    with pytest.raises(UserError, match="a segment of 1000 samples cannot be split into 64 bands; choose a multiple of 64"):
        SubBandDiscriminator(4, 1000)


def test_whole_clips_are_scored_by_the_rates_alone() -> None:
    scores = [score.shape for score, _ in CollaborativeMultiBandDiscriminator(4)(_wave(1, 88_064))]
    assert scores == [(1, 342), (1, 686), (1, 1374)]


@pytest.mark.parametrize("kind", [CollaborativeMultiBandDiscriminator, SubBandDiscriminator])
def test_a_clip_is_judged_alike_in_any_company(kind: type[nn.Module]) -> None:
    judges, wave = kind(4), _wave()
    for together, alone in zip(judges(wave), judges(wave[1:]), strict=True):
        assert torch.allclose(together[0][1:], alone[0], atol=1e-5)


def test_every_weight_and_every_sample_has_a_part_in_the_scores() -> None:
    wave, own = _wave().requires_grad_(), [_wave(2, 2048).requires_grad_(), _wave(2, 4096).requires_grad_()]
    judges = nn.ModuleList([CollaborativeMultiBandDiscriminator(4), SubBandDiscriminator(4)])
    found = [*judges[0](wave, own), *judges[1](wave)]
    torch.stack([score.square().mean() for score, _ in found]).sum().backward()
    for name, tensor in [*judges.named_parameters(), ("full", wave), ("quarter", own[0]), ("half", own[1])]:
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0, name


def test_banks_are_no_part_of_a_checkpoint() -> None:
    for judges in (CollaborativeMultiBandDiscriminator(4), SubBandDiscriminator(4)):
        assert set(judges.state_dict()) == {name for name, _ in judges.named_parameters()}
