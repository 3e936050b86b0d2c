"""The entrypoint that MindSpore Hub's client, and hubpkg, call to make the network."""

from mindcv.models import create_model


def create_network(name, num_classes=2, in_channels=1):
    """MindCV's ``resnet18``: images of shape (B, in_channels, H, W) to logits of shape (B, num_classes)."""
    if name != "resnet18_mindcv":
        raise ValueError(f"create_network expects the name 'resnet18_mindcv', found {name!r}")
    return create_model("resnet18", num_classes=num_classes, in_channels=in_channels)
