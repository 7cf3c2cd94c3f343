"""Images that are optimised by their frequencies and by colours as photos have them, so that a gradient makes no noise.

Gradient ascent on pixels puts most of what it gains into the highest frequencies. Preconditioned as here, each frequency and
each direction of colour moves about as much as it varies in photos. Source: Olah, Mordvintsev and Schubert 2017, "Feature
Visualization", https://distill.pub/2017/feature-visualization; constants as in lucid, named at each.
"""

import torch
from torch import Tensor

# Standard deviation of the spectrum that an optimisation starts from: an image of almost nothing but grey.
# Source: `fft_image` in lucid/optvis/param/spatial.py, as for `DECAY_POWER` and `DIVISOR`.
SPECTRUM_STD = 0.01
DECAY_POWER = 1.0  # a photo's amplitudes fall about as 1 / frequency
DIVISOR = 4.0
# Square root of the covariance of ImageNet's colours. Source: `color_correlation_svd_sqrt` in lucid/optvis/param/color.py.
COLOUR_CORRELATION_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


def start_spectrum(num_images: int, size_px: int, generator: torch.Generator) -> Tensor:
    """What is optimised: real and imaginary parts, float [num_images, 3, size, size // 2 + 1, 2], small and drawn."""
    return SPECTRUM_STD * torch.randn(num_images, 3, size_px, size_px // 2 + 1, 2, generator=generator)


def images_of(spectrum: Tensor, size_px: int) -> Tensor:
    """The images, float [num_images, 3, size, size] in (0, 1); differentiable."""
    scale = _scale_of_frequencies(size_px).to(spectrum.device)
    planes = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(size_px, size_px)) / DIVISOR
    root = torch.tensor(COLOUR_CORRELATION_ROOT, device=spectrum.device)
    correlated = torch.einsum("rc,nchw->nrhw", root / root.norm(dim=0).max(), planes)
    return correlated.sigmoid()


def _scale_of_frequencies(size_px: int) -> Tensor:
    """How much a step moves each frequency, [size, size // 2 + 1]: less where photos have less; energy as of pixels."""
    frequencies = torch.hypot(torch.fft.fftfreq(size_px)[:, None], torch.fft.rfftfreq(size_px)[None])
    return size_px / frequencies.clamp(min=1 / size_px) ** DECAY_POWER
