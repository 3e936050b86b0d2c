"""The entrypoint that MindSpore Hub's client, and hubpkg, call to make the network."""

import json
from pathlib import Path

from xcit_tiny_12_p16_224_network import XCiT

DEFAULTS = Path(__file__).with_name("create_network.json")  # in a package: what its checkpoint was trained for


def create_network(name, num_classes=None, in_channels=None, **options):
    """The network called ``name``.

    Args:
        name: ``xcit_tiny_12_p16_224``.
        num_classes: number of logits; default: the package's, or 1,000 outside a package.
        in_channels: channels of the images; default: the package's, or 3 outside a package.
        **options: other arguments of ``XCiT``.

    Returns:
        A ``mindspore.nn.Cell``: images of shape (B, in_channels, H, W), H and W multiples of 16, to logits.

    Raises:
        ValueError: for another name.
    """
    if name != "xcit_tiny_12_p16_224":
        raise ValueError(f"create_network expects the name 'xcit_tiny_12_p16_224', found {name!r}")
    try:
        defaults = json.loads(__loader__.get_data(str(DEFAULTS)))  # as whoever loads this module read it
    except FileNotFoundError:
        defaults = {}
    return XCiT(
        num_classes=defaults.get("num_classes", 1000) if num_classes is None else num_classes,
        in_channels=defaults.get("in_channels", 3) if in_channels is None else in_channels,
        **options,
    )
