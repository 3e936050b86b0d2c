"""The entrypoint that MindSpore Hub's client, and hubpkg, call to make the network."""

from diabetes_mlp_network import Progression


def create_network(name, num_outputs=1, input_shape=(10,)):
    """The network called ``diabetes_mlp``: measurements, float32 of shape (B, 10), to predictions of shape (B, 1)."""
    if name != "diabetes_mlp":
        raise ValueError(f"create_network expects the name 'diabetes_mlp', found {name!r}")
    return Progression(input_shape[0], num_outputs)
