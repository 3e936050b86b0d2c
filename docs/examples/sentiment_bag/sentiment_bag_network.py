"""A bag of words: the mean of a sentence's word vectors, and a linear layer."""

import mindspore
from mindspore import nn, ops


class BagOfWords(nn.Cell):
    """Logits from the mean of word vectors.

    Args:
        vocab_size: how many words there are, 0 included, which stands for none.
        num_classes: number of logits.
        dim: size of a word's vector.

    Inputs:
        numbers of words, int32 of shape (B, words).

    Outputs:
        logits, (B, num_classes).
    """

    def __init__(self, vocab_size, num_classes, dim=16):
        super().__init__()
        self.words = nn.Embedding(vocab_size, dim)
        self.head = nn.Dense(dim, num_classes)

    def construct(self, numbers):
        there = ops.cast(numbers > 0, mindspore.float32).expand_dims(-1)  # (B, words, 1)
        total = (self.words(numbers) * there).sum(1)  # (B, dim)
        return self.head(total / ops.maximum(there.sum(1), 1.0))
