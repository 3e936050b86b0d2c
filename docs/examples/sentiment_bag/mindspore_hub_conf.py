"""The entrypoint that MindSpore Hub's client, and hubpkg, call to make the network."""

from sentiment_bag_network import BagOfWords


def create_network(name, num_classes=2, vocab_size=34, input_shape=(12,)):
    """The network called ``sentiment_bag``: numbers of words, int32 of shape (B, 12), to logits of shape (B, 2)."""
    if name != "sentiment_bag":
        raise ValueError(f"create_network expects the name 'sentiment_bag', found {name!r}")
    del input_shape  # sentences of any length will do
    return BagOfWords(vocab_size, num_classes)
