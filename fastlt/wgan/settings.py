"""What the networks of all images have in common."""

from __future__ import annotations

from dataclasses import dataclass

from fastlt.errors import UserError

HALVINGS = 5  # layers of stride 2 from a picture to the smallest map
STRIDE = 1 << HALVINGS
SAVED = 3  # last iterations whose pictures are kept


@dataclass(frozen=True)
class Settings:
    """The defaults are those of ML-WGAN-GP for Corel-5k.

    Raises UserError for sizes that cannot be halved five times down to 2 x 2, and for fewer iterations than pictures.
    """

    iterations: int = 1001
    critic_steps: int = 5  # before each step of the generator
    penalty: float = 10.0
    height: int = 128
    width: int = 192
    channels: int = 64  # of the largest map; each halving of the map doubles them
    noise: int = 100  # numbers that a picture is made from
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)  # of Adam
    vertical_flip: float = 0.1  # share of the iterations that see the real picture upside down
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations < SAVED:
            raise UserError(f"iterations is {self.iterations}; {SAVED} at least, whose pictures are kept")
        if any(side % STRIDE or side < 2 * STRIDE for side in (self.height, self.width)):
            raise UserError(
                f"size is {self.height}x{self.width}; give height x width, multiples of {STRIDE} from {2 * STRIDE} on"
            )

    @property
    def smallest(self) -> tuple[int, int]:
        """Height and width of the smallest map."""
        return self.height // STRIDE, self.width // STRIDE

    @property
    def widths(self) -> list[int]:
        """Channels of every map from the picture's 3 to the smallest map's."""
        return [3, *(self.channels << level for level in range(HALVINGS))]

    @property
    def weights(self) -> int:
        """Of both networks of one image."""
        layers = 16 * sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))
        ends = self.smallest[0] * self.smallest[1] * self.widths[-1] * (self.noise + 1)
        norms = 2 * (2 * sum(self.widths[1:]))
        return 2 * layers + ends + norms

    @property
    def memory(self) -> int:
        """Bytes that training takes for each image, about: weights, gradients, Adam's moments, maps and columns."""
        maps = sum(c * (self.height >> i) * (self.width >> i) for i, c in enumerate(self.widths))
        return 16 * self.weights + 200 * maps
