"""A network with one hidden layer for numbers that are far from 0."""

from mindspore import nn, ops


class Progression(nn.Cell):
    """What is normal, and by how much a patient differs from it.

    Args:
        measurements: how many there are of a patient.
        outputs: how many numbers are predicted.
        width: of the hidden layer.
        centre: the mean of what is predicted.
        spread: its standard deviation.

    Inputs:
        measurements, float32 of shape (B, measurements), each with a variance of 1 / 442 over the patients.

    Outputs:
        predictions, (B, outputs).
    """

    def __init__(self, measurements, outputs, width=32, centre=152.0, spread=77.0):
        super().__init__()
        self.hidden = nn.Dense(measurements, width)
        self.head = nn.Dense(width, outputs)
        self.centre, self.spread = centre, spread

    def construct(self, x):
        return self.centre + self.spread * self.head(ops.relu(self.hidden(21.0 * x)))  # 21 = 442 ** 0.5
