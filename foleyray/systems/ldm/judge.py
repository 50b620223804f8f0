"""A discriminator of patches for the autoencoder, and how much its judgement weighs (Esser et al., 2021, equation 7)."""

import torch
from torch import Tensor, nn

LARGEST = 1e4


class PatchJudge(nn.Module):
    """log-mel (B, bands, frames) -> scores (B, 1, h, w), one a patch; PatchGAN with three halvings (Isola et al., 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for ins, outs, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers += [
                nn.Conv2d(width * ins, width * outs, 4, stride=stride, padding=1, bias=False),
                nn.InstanceNorm2d(width * outs, affine=True),
                nn.LeakyReLU(0.2),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(width * 8, 1, 4, padding=1))

    def forward(self, mel: Tensor) -> Tensor:
        scores: Tensor = self.body(mel.unsqueeze(1))
        return scores.float()


def adaptive_weight(error: Tensor, judgement: Tensor, last: Tensor) -> Tensor:
    """The factor that makes the judgement's gradient at the decoder's last weights as long as the error's; detached."""
    of_error, of_judgement = (torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (error, judgement))
    return (of_error / (of_judgement + 1e-4)).clamp(0, LARGEST).detach()
