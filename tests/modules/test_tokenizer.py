"""The multi-scale VQ-VAE: its published size, its grid, and codes there and back."""

import pytest
import torch
from torch import Tensor, nn

from foleyray.config import UserError
from foleyray.modules.scaling import MelScale
from foleyray.modules.tokenizer import Tokenizer, TokenizerSettings

SMALL = TokenizerSettings(channels=8, residual_channels=4, residual_blocks=1, words=32, width=8)


def _size(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _mel(seed: int = 0, bands: int = 80, frames: int = 344) -> Tensor:
    return torch.rand(2, bands, frames, generator=torch.Generator().manual_seed(seed)) * 13 - 11.5


def _tokenizer(settings: TokenizerSettings = SMALL) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(settings, num_classes=7).eval()


def test_the_published_size() -> None:
    with torch.device("meta"):
        net, with_head = Tokenizer(TokenizerSettings(), 7), Tokenizer(TokenizerSettings(class_weight=0.01), 7)
    assert [_size(part) for part in (net.encoder, net.projection, net.decoder)] == [1_910_784, 8_256, 288_257]
    assert _size(net) == 2_207_297 and _size(with_head) == 2_207_297 + 455
    assert net.quantiser.codebook.shape == (512, 64)


def test_shapes_of_the_published_size() -> None:
    net, mel = _tokenizer(TokenizerSettings()), _mel()
    with torch.no_grad():
        assert [branch(mel.unsqueeze(1)).shape for branch in net.encoder.branches] == [(2, 128, 20, 86)] * 4
        reading = net(mel)
    assert reading.latents.shape == (2, 64, 20, 86) and reading.mel.shape == mel.shape
    codes = reading.quantised.codes
    assert codes.shape == (2, 20, 86) and codes.min() >= 0 and codes.max() < 512


@pytest.mark.parametrize(("halvings", "grid"), [(2, (20, 86)), (3, (10, 43))])
def test_grid_and_channels_follow_the_halvings(halvings: int, grid: tuple[int, int]) -> None:
    settings = SMALL.model_copy(update={"halvings": halvings})
    codes = _tokenizer(settings).encode(_mel())
    assert codes.shape[1:] == settings.grid(80, 344) == grid
    assert _tokenizer(settings).decode(codes).shape == (2, 80, 344)


def test_other_mels_have_other_grids() -> None:
    assert TokenizerSettings().grid(1152, 300) == (288, 75)
    codes = _tokenizer().encode(_mel(bands=12, frames=8))
    assert codes.shape == (2, 3, 2) and _tokenizer().decode(codes).shape == (2, 12, 8)


def test_a_mel_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(UserError, match="80 bands and 345 frames cannot be halved 2 times; both must be multiples of 4"):
        _tokenizer().encode(_mel(frames=345))
    with pytest.raises(UserError, match="multiples of 16"):
        TokenizerSettings(halvings=4).grid(80, 344)


@pytest.mark.parametrize(("setting", "said"), [({"kernels": [3, 4]}, "must be even"), ({"channels": 33}, "multiple of 2")])
def test_branches_that_would_not_add_up_are_refused(setting: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        TokenizerSettings.parse(setting, "test")


def test_decoding_codes_is_the_reconstruction() -> None:
    for settings in (SMALL, SMALL.model_copy(update={"scale": MelScale()})):
        net, mel = _tokenizer(settings), _mel()
        with torch.no_grad():
            reading = net(mel)
            assert torch.equal(net.encode(mel), reading.quantised.codes)
            torch.testing.assert_close(net.decode(net.encode(mel)), reading.mel, rtol=0, atol=0)


def test_rows_are_bands_from_the_lowest_and_columns_are_time() -> None:
    net, mel = _tokenizer(), _mel()
    low_end = mel.clone()
    low_end[:, :4, -4:] += 5.0
    with torch.no_grad():
        moved = (net.latents(low_end) - net.latents(mel)).abs().sum(dim=1) > 0
        codes = net.encode(mel)
        other = codes.clone()
        other[:, 0, -1] = (codes[:, 0, -1] + 1) % 32
        sounding = net.decode(other) != net.decode(codes)
    assert moved[:, 0, -1].all() and not moved[:, 10:].any() and not moved[:, :, :43].any()
    assert sounding[:, :4, -4:].any() and not sounding[:, 40:].any() and not sounding[:, :, :172].any()


def test_codes_are_extracted_in_evaluation_mode_and_change_nothing() -> None:
    net = _tokenizer()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert torch.equal(net.encode(_mel()), net.encode(_mel()))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with pytest.raises(AssertionError, match="evaluation mode"):
        net.train().encode(_mel())


def test_a_scale_reaches_both_ends_of_the_nets() -> None:
    net, scale = _tokenizer(SMALL.model_copy(update={"scale": MelScale(low=-12.0, high=2.0)})), MelScale(low=-12.0, high=2.0)
    plain = _tokenizer()
    mel = _mel()
    with torch.no_grad():
        assert torch.equal(net.latents(mel), plain.latents(scale.to_unit(mel)))
        made = plain.decode(net.encode(mel))
        torch.testing.assert_close(net.decode(net.encode(mel)), made * 7 - 5)
        net.decoder[-1].bias.fill_(-3.0)
        assert net.decode(net.encode(mel)).min() < -12, "what lies below the scale must not be cut off: it has to learn"
